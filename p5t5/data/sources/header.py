"""Whether the first line of a table names its columns, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

from p5t5.data.sources.column_names import NAMES, plain_name

_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)
_MISSING = ("", "na", "n/a", "nan", "nat", "null", "none", "\\n", "-")
_KNOWN = {name for names in NAMES.values() for name in names.split()} | {
    "id", "genre", "genres", "category", "categories", "brand", "price", "year", "age", "gender", "author", "url",
    "publisher", "plays", "count", "quantity", "country", "city", "language", "type", "description", "tags", "tag",
}  # fmt: skip
_USERS_AND_ITEMS = set(NAMES["user_id"].split() + NAMES["item_id"].split())
_TYPED = re.compile(r"\w+:(?:token|float|token_seq|float_seq)")


def comma_names(header: str | None) -> list[str] | None:
    """The names in ``--header NAME,NAME,…``; None where it says none or first, or nothing."""
    return None if header in (None, "none", "first") else [name.strip() for name in header.split(",")]


def without_comment(cells: list[str], header: str | None) -> list[str]:
    """``# user, item`` names user and item."""
    if header is None and len(cells) > 1 and re.match(r"[#%]+\s*[^\W\d]", cells[0]):
        return [cells[0].lstrip("#% "), *cells[1:]]
    return cells


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether ``first`` names the columns of ``rows``: its cells look unlike those below them, or are known names.

    A cell that is met again below, or that looks as all below do (numbers, dates, codes), is data.
    """
    if all(_TYPED.fullmatch(cell) for cell in first) or not rows:
        return True
    if not first[0] and all(first[1:]):
        return True  # the index that pandas writes
    for_header = int(
        plain_name(first[0]) in _USERS_AND_ITEMS and first[0] not in [row[0] for row in rows if row]
    )
    for_row = 0
    for place, cell in enumerate(first):
        below = [row[place] for row in rows if place < len(row) and row[place].lower() not in _MISSING]
        if cell.lower() in _MISSING or not below:
            continue
        number = sum(_NUMBER.fullmatch(other) is not None for other in below) >= 0.9 * len(below)
        shapes = {_shape(other) for other in below}
        if number:
            is_number = _NUMBER.fullmatch(cell) is not None
            for_header, for_row = for_header + (not is_number), for_row + is_number
        elif cell in below and len(below) > 2:
            for_row += 1
        elif len(shapes) == 1 and len(below) > 2 and re.search(r"\d", below[0]):
            fits = _shape(cell) in shapes
            for_header, for_row = for_header + (not fits), for_row + fits
    known = sum(plain_name(cell) in _KNOWN for cell in first)
    if not for_header:
        return not for_row or (known > 1 and for_row < 2)
    return known > 0 or for_header >= for_row


def _shape(text: str) -> str:
    """ "2017-07-14" → "9-9-9", "anna1" → "a9"."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text))


def names_of(
    first: Sequence[str], rows: Sequence[Sequence[str]], width: int, has_header: bool
) -> tuple[list[str], bool]:
    """The columns' names (made up where there are none), and whether rows end in a separator too many."""
    empty_end = bool(rows) and all(not row[-1] for row in rows if len(row) == width)
    names = list(first) if has_header else [f"column_{number}" for number in range(1, len(first) + 1)]
    trailing = False
    if has_header and len(names) > 1 and not names[-1] and (width < len(names) or empty_end or not rows):
        names.pop()  # the header ends in a separator
        trailing = width > len(names)
    elif not has_header and len(names) > 2 and empty_end and not first[-1] and width == len(names):
        names.pop()
        trailing = True
    elif width == len(names) + 1 and empty_end:
        trailing = True
    elif has_header and width == len(names) + 1 and len(rows) > 1:
        names = ["row", *names]  # as R writes row names
    names = [re.sub(r":(?:token|float|token_seq|float_seq)$", "", name) for name in names]
    return [name or f"column_{number}" for number, name in enumerate(names, 1)], trailing


def is_known_name(name: str) -> bool:
    """Whether tables have columns of that name."""
    return plain_name(name) in _KNOWN
