"""Free text made safe, once, where records are made."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import pandas as pd

_PLAIN = re.compile(r"[!-;=-~]+(?: [!-;=-~]+)*")  # printable ASCII without "<", single spaces
_UNSPACED_BRACKET = re.compile(r"<(?=\S)")
_DROPPED_CATEGORIES = ("Cc", "Cf", "Cs")  # controls, bidi and zero-width formats, lone surrogates


def clean_text(text: str) -> str:
    """Free text made safe to put in a prompt; idempotent.

    NFKC, one space for any white space, no control, bidi or zero-width characters, ``▁`` → ``_`` and
    a space behind each ``<``: no reserved token (``</s>``, ``<extra_id_3>``, ``<item_17>``, a byte
    piece ``<0x0A>``) can be spelled by what people wrote (traps.md 17).
    """
    if _PLAIN.fullmatch(text):
        return text
    # Drop before NFKC: a zero-width character may stand between a letter and its accent.
    spaced = "".join(" " if char.isspace() else char for char in text)
    kept = "".join(char for char in spaced if unicodedata.category(char) not in _DROPPED_CATEGORIES)
    text = unicodedata.normalize("NFKC", kept).replace("\u2581", "_")
    return " ".join(_UNSPACED_BRACKET.sub("< ", text).split())


def clean_column(values: Iterable[Any]) -> list[str]:
    """Cleaned strings; None and NaN become ""."""
    return ["" if value is None or value != value else clean_text(str(value)) for value in values]


def unescape_html(text: str) -> str:
    """``&quot;`` → ``"``; shop data are often escaped twice (``&amp;reg;``)."""
    while "&" in text and (plain := html.unescape(text)) != text:
        text = plain
    return text


def clean_ids(column: pd.Series) -> pd.Series:
    """Ids as stripped strings; missing ones as "". Integers that a missing one made floats (7.0) are 7."""
    whole = pd.api.types.is_float_dtype(column)
    values = [
        ""
        if value is None or value != value
        else str(int(value) if whole and value == int(value) else value).strip()
        for value in column
    ]
    return pd.Series(values, index=column.index, dtype=object)
