"""Fields of option dataclasses with the help text of the command line, and instances of them from keywords."""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from p5t5.core.errors import UserError


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field with a help text: ``steps: int = option(100, "how many")``."""
    if isinstance(default, (list, dict)):
        return dataclasses.field(
            default_factory=lambda: type(default)(default), metadata={"help": help, **more}
        )
    return dataclasses.field(default=default, metadata={"help": help, **more})


def required(help: str, **more: Any) -> Any:
    """A dataclass field that the command line (or the YAML file) must give."""
    return dataclasses.field(metadata={"help": help, **more})


def with_default(kind: Any, name: str, default: Any) -> Any:
    """A field of the dataclass ``kind`` once more, for a dataclass that inherits it, with another default."""
    return option(default, **next(f for f in dataclasses.fields(kind) if f.name == name).metadata)


def from_keywords(function: str, kinds: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
    """One instance of each dataclass in ``kinds`` from the keyword arguments of the API's ``function``.

    A text option also takes a path, a list (joined with commas) or a mapping (``{"rating/score": 1}``). A dataclass
    with a field ``given`` learns which options were named. Raises UserError for an option that does not exist, with
    the nearest name, and for a value of another type.
    """
    annotations: dict[str, Any] = {}
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        annotations |= {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}
    for name in values:
        if name not in annotations:
            near = difflib.get_close_matches(name, annotations, 1)
            hint = f" Did you mean {near[0]}?" if near else f" There are {', '.join(sorted(annotations))}."
            raise UserError(f"{function}(): there is no option {name!r}.{hint}")
    read = {name: _read(function, name, annotations[name], value) for name, value in values.items()}
    made = []
    for kind in kinds:
        own = [field for field in dataclasses.fields(kind) if field.init]
        made.append(kind(**{field.name: read[field.name] for field in own if field.name in read}))
        if hasattr(made[-1], "given"):
            made[-1].given = frozenset(read)
    return made


def as_text(value: Any) -> Any:
    """A list or mapping of a recipe or a keyword as the command line spells it; anything else as it is."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={number}" for name, number in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(str, sorted(value) if isinstance(value, (set, frozenset)) else value))
    return value


def rates(text: str | Mapping[str, float], option_name: str) -> dict[str, float] | None:
    """ "rating/score=1,sequential=2", or a mapping, → {task or family: number}; None if empty.

    A name without a number gets 1. Raises UserError, naming the option, for what is not a number.
    """
    found: dict[str, float] = {}
    for part in names(as_text(text)):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value or 1)
        except ValueError:
            raise UserError(f"{option_name}: {part!r} is not TASK=NUMBER, such as rating/score=1.") from None
    return found or None


def names(text: str) -> list[str]:
    """ "a, b" → ["a", "b"]."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _read(function: str, name: str, annotation: Any, value: Any) -> Any:
    """The value of one keyword argument, in the type that its field has."""
    kinds = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        if kind is bool and isinstance(value, (bool, np.bool_)):
            return bool(value)
        number = {int: numbers.Integral, float: numbers.Real}.get(kind)
        if number is not None and isinstance(value, number) and not isinstance(value, (bool, np.bool_)):
            return kind(value)
        if kind is str and isinstance(value, os.PathLike):
            return os.fspath(value)
        if kind is str and isinstance(as_text(value), str):
            return as_text(value)
        if typing.get_origin(kind) is list and isinstance(value, (list, tuple, np.ndarray)):
            return [str(one) for one in value]
    wanted = " or ".join(_spelled(kind) for kind in kinds)
    raise UserError(f"{function}(): {name} must be {wanted}, not {value!r} ({type(value).__name__}).")


def _spelled(kind: Any) -> str:
    known = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
    return "None" if kind is type(None) else known.get(kind, "a list")
