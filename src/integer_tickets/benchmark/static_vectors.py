"""Model2Vec (doi 10.5281/zenodo.17270888): a vector for each token, averaged; trained with its classifier on labels.

Its package is no dependency of the project; ImportError where it is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from integer_tickets.benchmark.fasttext import Classifier
from integer_tickets.errors import UserError
from integer_tickets.integer.rounding import Array

SIZES = (256, 64, 16)  # numbers of a vector, the first ones: they are ordered by principal components


def classifiers(path: str, texts: Mapping[str, Sequence[str]], labels: Mapping[str, Array]) -> Iterator[Classifier]:
    """One of each size, its vectors quantized to 8 bits after training; the selection split stops it.

    path: what Model2Vec has distilled from an encoder, a folder or an id on the hub. bits: 8 for each number of a
    vector and each byte of the vocabulary, 32 for each number of the classifier and weight of a token. Raises UserError
    where there is no such model.
    """
    from model2vec import StaticModel
    from model2vec.model import quantize_model
    from model2vec.train import StaticModelForClassification

    names = {split: [str(label) for label in own] for split, own in labels.items()}
    for size in SIZES:
        try:
            static: Any = StaticModel.from_pretrained(path, dimensionality=size, force_download=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: no model of Model2Vec with {size} numbers a vector: {error}") from None
        model: Any = StaticModelForClassification.from_static_model(model=static)
        model.fit(
            texts["train"], names["train"], X_val=texts["selection"], y_val=names["selection"], device="cpu",
        )  # fmt: skip
        whole = model.to_pipeline()
        whole.model = quantize_model(whole.model, quantize_to="int8")
        numbers = sum(layer.weight.size + layer.bias.size for layer in whole.head.layers)
        numbers += 0 if whole.model.weights is None else whole.model.weights.size  # one a token, where there are such
        vocabulary = sum(len(token.encode()) for token in whole.model.tokens)
        says = {split: whole.predict(own).astype(np.int64) for split, own in texts.items() if split != "train"}
        yield Classifier(
            f"Model2Vec, {size} numbers", 8 * (whole.model.embedding.size + vocabulary) + 32 * numbers, says
        )
