"""A fault that pydantic found in parameters, as one line for the user that names the parameter."""

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel


def explain(fault: Mapping[str, Any], root: type[BaseModel]) -> str:
    """`fault` is one of ValidationError.errors() of the model `root`."""
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields_at(root, fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
        return f"unknown parameter {place}" + (f"; did you mean {close[0]}?" if close else f"; known here: {known}")
    if fault["type"] == "missing":
        return f"parameter {place} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place}: {message}" if place else message
    return f"{place or 'parameters'} = {fault['input']!r}: {message[0].lower()}{message[1:]}"


def _fields_at(block: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The parameters that are known at a place; keys of mappings and places in lists lead nowhere new."""
    for part in location:
        if isinstance(part, str) and part in block.model_fields:
            block = _block_in(block.model_fields[part].annotation) or block
    return sorted(block.model_fields)


def _block_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_block_in, get_args(annotation))), None)
