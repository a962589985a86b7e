"""What every reader of a file yields: some rows, where they stand, and the rows that could not be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

WRONG_FIELDS = "wrong number of fields"
BAD_QUOTE = "a quote is opened and not closed"
NOT_UTF8 = "not UTF-8 text"
NOT_JSON = "not a JSON object"


class BadRow(NamedTuple):
    """``line``: from 1. ``text``: its beginning."""

    line: int
    reason: str
    text: str


@dataclass
class Batch:
    """Some rows: ``columns`` (Arrow, as the file has them), and ``place(row)``, "line 7" of the file."""

    columns: dict[str, pa.Array]
    rows: int
    place: Callable[[int], str]
    bad: list[BadRow] = field(default_factory=list)
