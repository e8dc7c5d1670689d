"""The engines by name. All give the same logits, bit for bit, so the choice is one of speed alone."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from integer_tickets.errors import UserError
from integer_tickets.integer import native_engine
from integer_tickets.integer.flat import LARGEST_INDEX
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.rounding import Array
from integer_tickets.integer.tokenizer import Input, Tokenizer

ENGINES = ("native", "onnx", "reference", "torch", "torch:cuda")
"""C, where a compiler is found; ONNX Runtime; NumPy; PyTorch on the processor and on a GPU, which takes long to load.

The first that runs is the default.
"""


class Engine(Protocol):
    """int32 logits (batch, classes) of sentences given as token ids. One that can show its tensors takes `trace`."""

    def __call__(self, network: IntegerNetwork, batch: Sequence[Sequence[int]], /) -> Array: ...


def engines() -> list[str]:
    """Names of the engines that run here, the default first. Imports torch, where it is installed, to see a GPU."""
    return [name for name in ENGINES if _lacks(name) is None]


def engine(name: str | None = None, threads: int = 1) -> Engine:
    """The engine of that name, or the default. Raises UserError if there is none or it does not run here.

    threads: of the engines native and onnx, at least 1; torch uses as many as PyTorch is told to.
    """
    if threads < 1:
        raise UserError(f"{threads} threads: expected 1 or more")
    name = name or next(own for own in ENGINES if _lacks(own) is None)
    if name not in ENGINES:
        raise UserError(f"no engine {name!r}; here run {', '.join(engines())}")
    lacks = _lacks(name)
    if lacks is not None:
        raise UserError(f"engine {name!r} needs {lacks}; here run {', '.join(engines())}")
    module = name if name == "reference" else f"{name.partition(':')[0]}_engine"
    run: Callable[..., Array] = import_module(f"integer_tickets.integer.{module}").logits
    if name == "torch:cuda":
        return partial(run, device="cuda")
    return partial(run, threads=threads) if name in ("native", "onnx") and threads > 1 else run


def text_logits(
    network: IntegerNetwork, tokenizer: Tokenizer, texts: Sequence[Input], name: str | None = None, threads: int = 1
) -> Array:
    """int32 logits (texts, classes) by an engine; the native one reads text in C, too."""
    run = engine(name, threads)
    own = run.func if isinstance(run, partial) else run
    if own is native_engine.logits and tokenizer.size <= LARGEST_INDEX:
        return native_engine.text_logits(network, tokenizer, texts, threads)
    return run(network, tokenizer.encode_batch(texts))


def _lacks(name: str) -> str | None:
    """What an engine needs and does not find here."""
    if name == "native":
        return native_engine.available()
    if name == "onnx" and None in map(find_spec, ("onnx", "onnxruntime")):
        return "onnx and onnxruntime, which are not installed (the extra `peers`)"
    if name.startswith("torch") and find_spec("torch") is None:
        return "torch, which is not installed"
    if name == "torch:cuda" and not import_module("torch").cuda.is_available():
        return "a GPU that PyTorch can use, and there is none"
    return None
