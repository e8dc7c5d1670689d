"""The page on the speed of training, from what stages/training_speed.py measured."""

from collections.abc import Callable, Mapping
from typing import Any

Rows = list[dict[str, Any]]

INTRODUCTION = """# How fast training is

Measured by `python -m stages.training_speed`; another machine gives other numbers. Contestants take turns in
interleaved rounds of one process with the same threads, shapes and warm-up; times are medians. Ratios of times are
better below 1, ratios of speeds above. Losing cases are shown like the others. Freed memory stays with the process, so
that no contestant pays for fresh pages: forms with large tensors gain most by it.
"""


def page(found: Mapping[str, Any]) -> str:
    """Markdown of all parts that have been measured."""
    parts = [INTRODUCTION]
    for name, (title, text, body) in SECTIONS.items():
        if found.get(name, {}).get("rows"):
            parts.append(f"## {title}\n\n{text}\n\n{body(found[name]['rows'])}\n\n{where(found[name]['machine'])}\n")
    return "\n".join(parts)


def where(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in sorted(machine["versions"].items()) if value != "absent")
    return f"*{machine['processor']}, {machine['cores']} cores; Python {machine['python']}, {versions}.*"


def markdown_table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _attention(rows: Rows) -> str:
    names = list(dict.fromkeys(row["name"] for row in rows))
    shapes = list(dict.fromkeys((row["threads"], row["batch"], row["heads"], row["n"], row["d"]) for row in rows))
    by_place = {(row["name"], row["threads"], row["batch"], row["n"]): row for row in rows}
    body = []
    for threads, batch, heads, n, d in shapes:
        cells = [by_place.get((name, threads, batch, n)) for name in names]
        times = [f"{cell['median_ms']:.2f} ({cell['ratio']:.2f})" if cell else "" for cell in cells]
        body.append([f"{batch}, {heads}, {n}, {d}", threads, *times])
    return markdown_table(["batch, heads, n, d", "threads", *names], body)


def _quantization(rows: Rows) -> str:
    body = [
        [row["corpus"], row["name"], f"{row['median_ms']:.2f}", f"{row['ratios']['float']:.2f}",
         f"{row['ratios']['float bf16']:.2f}" if "float bf16" in row["ratios"] else ""] for row in rows
    ]  # fmt: skip
    return markdown_table(["corpus", "step", "ms", "over float32", "over bf16 products"], body)


def _profile(rows: Rows) -> str:
    models = list(dict.fromkeys((row["corpus"], row["model"]) for row in rows))
    parts = list(dict.fromkeys(row["part"] for row in rows))
    by_place = {(row["corpus"], row["model"], row["part"]): row for row in rows}
    body = []
    for part in parts:
        cells = [by_place[(*model, part)] for model in models]
        body.append([part, *(f"{cell['ms']:.2f} ({100 * cell['share']:.0f} %)" for cell in cells)])
    return markdown_table(["ms a step (share)", *(f"{corpus}, {model}" for corpus, model in models)], body)


def _trainer(rows: Rows) -> str:
    body = [
        [row["name"], row["batch"], row["threads"], f"{row['tokens_per_second']:,}", f"{row['ratio']:.2f}"]
        for row in rows
    ]
    return markdown_table(["training loop", "batch", "threads", "tokens/s", "over Hugging Face float32"], body)


def _ladder(rows: Rows) -> str:
    header = ["pruned", "level", "density %", "steps", "seconds", "minutes since the start", "selection accuracy %"]
    names = {"weight": "weights", "structure": "structure"}
    body = [
        [names[row["pattern"]], row["level"], f"{100 * row['density']:.1f}", row["steps"], f"{row['own_seconds']:.0f}",
         f"{row['seconds'] / 60:.1f}", f"{100 * row['selection_accuracy']:.2f}"] for row in rows
    ]  # fmt: skip
    return markdown_table(header, body)


def _structure(rows: Rows) -> str:
    body = [
        [row["shape"], f"{row['batch']} x {row['tokens']}", row["attention"], f"{100 * row['density']:.1f}",
         row["heads"], row["pairs"], row["neurons"], f"{row['median_ms']:.2f}"] for row in rows
    ]  # fmt: skip
    return markdown_table(
        ["shape", "sentences x tokens", "attention", "density %", "heads", "pairs", "neurons", "ms a step"], body
    )


def _autocast(rows: Rows) -> str:
    body = [[row["attention"], row["seed"], f"{100 * row['float32']:.2f}", f"{100 * row['bf16']:.2f}"] for row in rows]
    return markdown_table(["attention", "seed", "float32 %", "bf16 products %"], body)


def _gpu(rows: Rows) -> str:
    body = [
        [f"{row['batch']}, {row['heads']}, {row['n']}, {row['d']}", row["attention"], f"{row['forward_ms']:.3f}",
         f"{row['both_ms']:.3f}", f"{100 * row['both_of_limit']:.0f}" if "both_of_limit" in row else ""] for row in rows
    ]  # fmt: skip
    return markdown_table(
        ["batch, heads, n, d", "attention", "forward ms", "both ms", "% of the vector units' limit"], body
    )


def _pipeline(rows: Rows) -> str:
    body = [[row["items"], row["jobs"], f"{row['seconds'] / 60:.1f}"] for row in rows]
    return markdown_table(["items", "at a time", "minutes"], body)


SECTIONS: dict[str, tuple[str, str, Callable[[Rows], str]]] = {
    "attention": (
        "Attention alone",
        "Forward and backward pass in milliseconds, and in brackets the ratio to `scaled_dot_product_attention` with "
        "the same padding mask (sentences of 3/4 n to n tokens), float32. `fused` is the C kernel, by instruction set; "
        "`baseline` is SSE2, what it is on any x86-64 machine.",
        _attention,
    ),
    "quantization": (
        "Quantization-aware steps",
        "A whole training step whose forward pass computes the integers of the finished network, beside float steps of "
        "the same shape: those of the default run (batches of 128 sentences of the built-in language, 32 wide, AVX2 as "
        "it pins) and of the `sst2` preset (128 sentences, 128 wide, native instructions, which trains with bf16 "
        "products: integer models in the backward pass only, as integers stay exact). One thread; means over the same "
        "8 batches.",
        _quantization,
    ),
    "profile": (
        "Where the time of a step goes",
        "By PyTorch's profiler, one thread, in batches of `train.batch` sentences (64 and 128); it slows small "
        "operations down, as the last row shows. Between operations: Python and NumPy, which pads, finds the tokens "
        "that occur and draws dropout masks. In the small default models the time goes into many small operations and "
        "what lies between them; on SST-2 into matrix products, which bf16 halves.",
        _profile,
    ),
    "trainer": (
        "Beside the Trainer of Hugging Face",
        "One epoch over 10,000 sentences of SST-2: a classifier of 2 layers, 128 wide, 4 heads, hidden 512, dropout "
        "0.1, the same token ids. The peer is `BertForSequenceClassification` (softmax SDPA) under `Trainer` with "
        "dynamic padding and `group_by_length`: made like ours as far as its configuration goes (ReLU, no dropout of "
        "attention weights, no clipping of gradients; it still has a pooler, token types, and gradients for its whole "
        "token table), and as it comes (GELU, dropout there too, clipping). Batches of 16 and 32 are those that BERT "
        "was tuned with (arXiv 1810.04805); the `sst2` preset has 128.",
        _trainer,
    ),
    "autocast": (
        "What products in bfloat16 do to accuracy",
        "Best selection accuracy of dense models on SST-2 after 3 epochs, with and without `runtime.autocast`.",
        _autocast,
    ),
    "ladder": (
        "A ladder of ten levels on SST-2",
        "Dense and nine levels of the Inhibitor, 3 epochs of train each (less the steps before the rewind point), then "
        "a ladder of structure, whose models shrink; one seed, one process on 2 threads, bf16 products, native "
        "instructions, batches of 128.",
        _ladder,
    ),
    "structure": (
        "Tickets that shrink",
        "A training step at each level of a ladder of heads, pairs (coordinates of a head's q and k) and neurons "
        "(`pattern: structure`; counts of both layers together), which are removed from the tensors: 2 layers, 32 wide "
        "with 64 neurons (default) and 128 wide with 512 (SST-2), without dropout, float32, one thread.",
        _structure,
    ),
    "gpu": (
        "On a GPU",
        "Attention in float32 without padding, by Triton and by peers.",
        _gpu,
    ),
    "pipeline": ("The default run", "All items of `dvc.yaml` by `integer-tickets run`.", _pipeline),
}
