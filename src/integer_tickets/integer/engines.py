"""The engines by name. All give the same logits, bit for bit, so the choice is one of speed alone."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from integer_tickets.errors import UserError
from integer_tickets.integer.network import IntegerNetwork
from integer_tickets.integer.rounding import Array

_MODULES = {"reference": "reference", "torch": "torch_engine"}
_NEEDS = {"torch": "torch"}


class Engine(Protocol):
    """int32 logits (batch, classes) of sentences given as token ids. One that can show its tensors takes `trace`."""

    def __call__(self, network: IntegerNetwork, batch: Sequence[Sequence[int]], /) -> Array: ...


def engines() -> list[str]:
    """Names of the engines that run here, the default first."""
    return [name for name in _MODULES if name not in _NEEDS or find_spec(_NEEDS[name]) is not None]


def engine(name: str | None = None) -> Engine:
    """The engine of that name, or the default. Raises UserError if there is none or it does not run here."""
    available = engines()
    name = name or available[0]
    if name not in _MODULES:
        raise UserError(f"no engine {name!r}; here run {', '.join(available)}")
    if name not in available:
        raise UserError(
            f"engine {name!r} needs {_NEEDS[name]}, which is not installed; here run {', '.join(available)}"
        )
    run: Engine = import_module(f"integer_tickets.integer.{_MODULES[name]}").logits
    return run
