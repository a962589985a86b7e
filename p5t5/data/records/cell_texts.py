"""Cells of a side table as people mean them: lists as their elements, "null" and "NaN" as nothing."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

# What programs write where there is no text.
NO_TEXT = frozenset(
    ("nan", "null", "none", "<na>", "nat", "\\n", "n/a", "#n/a", "undefined", "(null)", "[null]")
)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMPY = re.compile(rf"\[\s*(?:{_QUOTED.pattern})(?:\s+(?:{_QUOTED.pattern}))+\s*\]")
_MOSTLY = 0.8  # of a column's filled cells that are lists, so that a film called [REC] stays one


def text_of_value(value: Any) -> str:
    """A cell as text: "" for nothing, the elements of a list (the names of its objects) between commas."""
    if isinstance(value, (list, tuple, set, np.ndarray)):
        texts = (text_of_value(part) for part in value)
        return ", ".join(dict.fromkeys(text for text in texts if text))
    if isinstance(value, dict):
        named = next(
            (value[key] for key in ("name", "title", "label") if isinstance(value.get(key), str)), None
        )
        return named if named is not None else text_of_value(list(value.values()))
    return "" if value is None or value != value else str(value)


def cell_texts(values: Iterable[Any], lists: bool = True) -> list[str]:
    """The texts of a column; ``lists``: where most of its cells are lists written out (``['a', 'b']``), their elements."""
    texts = [text_of_value(value) for value in values]
    texts = ["" if text.strip().lower() in NO_TEXT else text for text in texts]
    return _without_lists(texts) if lists else texts


def _without_lists(texts: Sequence[str]) -> list[str]:
    filled = {text for text in texts if text.strip()}
    listed = {text: found for text in filled if (found := _parsed(text.strip())) is not None}
    if len(listed) < _MOSTLY * len(filled) or not filled:
        return list(texts)
    return [text_of_value(listed[text]) if text in listed else text for text in texts]


def _parsed(text: str) -> list[Any] | tuple[Any, ...] | set[Any] | dict[str, Any] | None:
    """What a list or an object was before it was written out by Python or as JSON; None for any other text."""
    if text[:1] not in ("[", "{", "(") or text[-1:] not in ("]", "}", ")") or len(text) > 1 << 16:
        return None
    if _NUMPY.fullmatch(text):  # Python would take 'a' 'b' for one word
        return [part[1:-1] for part in _QUOTED.findall(text)]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)  # literals only, never code
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return _postgres(text)
    return value if isinstance(value, (list, tuple, set, dict)) else None


def _postgres(text: str) -> list[str] | None:
    """``{a,"b c"}``, as PostgreSQL writes an array."""
    inner = text[1:-1]
    if text[0] != "{" or ":" in inner or not inner:
        return None
    return [part.strip().strip('"') for part in inner.split(",")]
