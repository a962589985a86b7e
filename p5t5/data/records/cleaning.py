"""Free text made safe, once, where records are made."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_PLAIN = re.compile(r"[!-%'-;=-~]+(?: [!-%'-;=-~]+)*")  # printable ASCII without "<" and "&", single spaces
_EMPTY_OR_PLAIN = f"^(?:{_PLAIN.pattern})?$"  # for RE2, where $ is the end of the text
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
# HTML's tags, but for <s>: </s> is also the end of a sequence. Tags that end a line or a block become a space.
_TAG = re.compile(
    r"</?(?:(?P<block>br|p|div|li|ul|ol|tr|td|th|table|hr|h[1-6]|blockquote|pre|section|article|img|video|iframe|script|style)"
    r"|a|b|i|u|em|strong|span|font|small|big|sub|sup|code|tt|center|strike|del|ins|mark|cite|q|abbr|label|tbody|thead)"
    r"(?:\s[^<>]{0,2000}|/)?\s*/?>",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.{0,2000}?-->", re.DOTALL)
_UNSPACED_BRACKET = re.compile(r"<(?=\S)")
JOINERS = "\u200c\u200d"  # between letters of some scripts, and inside emoji
_NO_JOINERS = {ord(char): None for char in JOINERS}
_DROPPED_CATEGORIES = ("Cc", "Cf", "Cs")  # controls, bidi and zero-width formats, lone surrogates


def clean_text(text: str) -> str:
    """Free text made safe to put in a prompt; idempotent.

    Entities (``&amp;``, written twice too) and HTML's tags go. NFKC, one space for any white space, no control, bidi or zero-width characters, ``▁`` → ``_`` and
    a space behind each ``<``: no reserved token (``</s>``, ``<extra_id_3>``, ``<item_17>``, a byte
    piece ``<0x0A>``) can be spelled by what people wrote (traps.md 17).
    """
    if _PLAIN.fullmatch(text):
        return text
    text = without_markup(text)
    # Drop before NFKC: a zero-width character may stand between a letter and its accent.
    spaced = "".join(" " if char.isspace() else char for char in text)
    kept = "".join(char for char in spaced if unicodedata.category(char) not in _DROPPED_CATEGORIES)
    text = unicodedata.normalize("NFKC", kept).replace("\u2581", "_")
    if without_markup(text) != text:
        return clean_text(text)  # what NFKC or a dropped character has made one
    return " ".join(_UNSPACED_BRACKET.sub("< ", text).split())


def clean_column(values: Iterable[Any]) -> list[str]:
    """Cleaned strings; None and NaN become ""."""
    return ["" if value is None or value != value else clean_text(str(value)) for value in values]


def unescape_html(text: str) -> str:
    """``&quot;`` → ``"``; shop data are often escaped twice (``&amp;reg;``)."""
    while "&" in text and (plain := _ENTITY.sub(lambda found: html.unescape(found.group()), text)) != text:
        text = plain
    return text


def without_markup(text: str) -> str:
    """A text without HTML's entities and tags."""
    text = unescape_html(text)
    if "<" not in text:
        return text
    return _TAG.sub(lambda found: " " if found.group("block") else "", _COMMENT.sub(" ", text))


def text_array(column: Any) -> pa.Array:
    """A column (pandas or Arrow) as Arrow strings, cleaned; missing ones "". Plain rows never meet Python."""
    if not isinstance(column, (pa.Array, pa.ChunkedArray)):
        if not isinstance(getattr(column, "dtype", None), pd.ArrowDtype):
            return pa.array(clean_column(column), pa.large_string())
        column = pa.array(column)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    strings = pc.fill_null(column.cast(pa.large_string()), "")
    odd = np.flatnonzero(~not_odd(strings))
    if not len(odd):
        return strings
    cleaned = [clean_text(text) for text in strings.take(pa.array(odd)).to_pylist()]
    mask = np.zeros(len(strings), bool)
    mask[odd] = True
    return pc.replace_with_mask(strings, pa.array(mask), pa.array(cleaned, pa.large_string()))


def not_odd(strings: pa.Array) -> np.ndarray:
    """bool [n]: which strings are clean at first sight (printable ASCII without "<" and "&", single spaces)."""
    return pc.match_substring_regex(strings, _EMPTY_OR_PLAIN).to_numpy(zero_copy_only=False)


def clean_id(value: Any) -> str | None:
    """An id as a stripped string, other white space in it as spaces; "" where missing, None where it is no id.

    Integers that a missing one made floats (7.0) are 7. Invisible characters go, but for those that join letters and
    emoji (👩‍🚀). No id: a list, or what holds control characters.
    """
    if type(value) is str and value.isprintable():
        return value.strip()
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return ""
    if isinstance(value, (list, tuple, dict, set, np.ndarray)):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    text = str(value).strip()
    if not text.isprintable():  # of white space, only the plain space is
        text = "".join(" " if char.isspace() else char for char in text)
        text = "".join(char for char in text if char in JOINERS or unicodedata.category(char) != "Cf").strip()
    return text if is_id(text) else "" if not text.strip("".join(JOINERS)) else None


def is_id(text: str) -> bool:
    """Whether a string can be an id: not empty, and all of it can be printed."""
    plain = text.translate(_NO_JOINERS)
    return bool(plain) and plain.isprintable()


def id_categories(column: pd.Series) -> tuple[pd.Categorical, np.ndarray]:
    """A column of ids as categories in the order of the cleaned ids, and bool [n]: which rows hold no id.

    The code is −1 where an id is missing, or is none. Each distinct id is cleaned once.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        raw, codes = column.cat.categories.tolist(), column.cat.codes.to_numpy()
    else:
        try:
            codes, distinct = pd.factorize(column)
        except TypeError:  # a list among them cannot be hashed
            column = column.map(lambda value: "\x00" if isinstance(value, (list, dict)) else value)
            codes, distinct = pd.factorize(column)
        raw = list(distinct)
    cleaned = [clean_id(value) for value in raw]
    ids = sorted({text for text in cleaned if text})
    number = {text: place for place, text in enumerate(ids)}
    lookup = np.array([number.get(text or "", -1) for text in cleaned] + [-1], np.int32)
    unfit = np.array([text is None for text in cleaned] + [False], bool)
    return pd.Categorical.from_codes(lookup[codes], pd.Index(ids, dtype=object)), unfit[codes]


def without_unused(ids: pd.Categorical) -> pd.Categorical:
    """The same ids, categories that no row has left out (order kept)."""
    codes = ids.codes.astype(np.int32, copy=False)
    used = np.zeros(len(ids.categories), bool)
    used[codes] = True
    if used.all():
        return ids
    lookup = np.cumsum(used, dtype=np.int32) - 1
    return pd.Categorical.from_codes(lookup[codes], ids.categories[used])
