"""A figure with the table that it shows: drawn for the report, kept as rows for `dvc plots`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """`draw` makes the figure of `frame`; `title` says what it shows, `sentence` what to look for in it."""

    name: str
    title: str
    sentence: str
    frame: pd.DataFrame
    draw: Callable[[pd.DataFrame], Figure]


def shown(pictures: Iterable[Picture]) -> Iterator[str]:
    """The figures in Markdown, each with its sentence."""
    for picture in pictures:
        yield f"![{picture.title}](figures/{picture.name}.svg)"
        yield f"*{picture.title}.* {picture.sentence}"
