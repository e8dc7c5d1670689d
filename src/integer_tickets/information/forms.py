"""Ways to write the weights of a matrix; the one that takes the fewest bits is named before the message."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from integer_tickets.information.coder import Coder, adaptive, choice, following, measured, numbers

Integers = NDArray[np.int64]

SMALL = 16
"""Symbols, at most, whose frequencies behind each other are worth learning; of more not even those alone may be."""


def neighbours(mask: NDArray[np.bool_]) -> Integers:
    """For each weight that lives, in order: the number of the living one above it in its column, else -1."""
    order = np.where(mask, np.cumsum(mask).reshape(mask.shape) - 1, -1)
    return np.concatenate([np.full_like(order[:1], -1), order[:-1]])[mask]


def symbols(
    coder: Coder, source: Integers | None, size: int, count: int, above: Integers | None, beside: Integers | None
) -> Integers:
    """`size` symbols below `count`, by their frequencies or in whatever form is shorter.

    above: the neighbours of each in a table, whose rows are what a word is like. Those of a layer may swap places,
    and a code that looks at neighbours would take other bits then. beside: the same place of the prior ticket.
    """

    def away(own: Coder, origin: Integers) -> Integers:
        """By the lengths in bits of the distances from an origin."""
        return numbers(own, None if source is None else source - origin, size) + origin

    alone = partial(adaptive, values=source, contexts=np.zeros(size, int), alphabet=count)
    forms: list[Callable[[Coder], Integers]] = [alone]
    if count > SMALL:
        forms.append(partial(away, origin=np.full(size, count // 2)))
    elif above is not None:
        forms.append(partial(following, values=source, earlier=above, alphabet=count))
    if beside is not None:
        forms += [partial(away, origin=beside), *([partial(alone, contexts=beside)] if count <= SMALL else [])]
    best = int(np.argmin([measured(form) for form in forms])) if source is not None else None
    return forms[choice(coder, best, len(forms))](coder)
