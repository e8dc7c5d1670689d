"""Sparse, integer-only Inhibitor Transformers: load one with `load`, see what can run it with `engines`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integer_tickets.integer.engines import engines
    from integer_tickets.integer.ticket import Ticket, load, released

__all__ = ["Ticket", "engines", "load", "released"]

_HOME = {"Ticket": "ticket", "engines": "engines", "load": "ticket", "released": "ticket"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that the package itself costs nothing."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"integer_tickets.integer.{_HOME[name]}"), name)
