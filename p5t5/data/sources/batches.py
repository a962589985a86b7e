"""What every reader of a file yields: some rows, where they stand, and the rows that could not be read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa

from p5t5.core.errors import UserError

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


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, gzipped or not, without UTF-8's byte order mark. UserError where they end too soon."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            start = file.read(3)
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise UserError(f"{path} is UTF-16 text; save it as UTF-8 (iconv -f utf-16 -t utf-8).")
            file.seek(3 if start == b"\xef\xbb\xbf" else 0)
            yield file  # type: ignore[misc]
    except (OSError, EOFError, zlib.error) as error:
        remedy = "; it is damaged or was cut off: copy it again" if path.suffix.lower() == ".gz" else ""
        raise UserError(f"{path} cannot be read: {error}{remedy}.") from error
