"""JSON lines: an object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.sources.batches import NOT_JSON, NOT_UTF8, BadRow, Batch, open_bytes

ROWS = 1 << 16  # of a batch
NO_ID = "\x00"  # what a list or an object becomes where one value is wanted: no id, no number
_SURROGATE = re.compile("[\ud800-\udfff]")


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """(line, object) of every line that is not blank, or (line, BadRow)."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if number == 1 and re.match(rb"\s*\[\s*(\{|$)", line):
                raise UserError(
                    f"{path}, line 1: this is a JSON array; write one object a line (jq -c '.[]' FILE)."
                )
            yield number, _object(line, number)


def _object(line: bytes, number: int) -> dict[str, Any] | BadRow:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return BadRow(number, NOT_UTF8, line[:200].decode("utf-8", "replace").rstrip())
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else BadRow(number, NOT_JSON, line[:200].decode("utf-8").rstrip())


def first_names(path: Path, rows: int) -> list[str]:
    """The keys of the first objects, in the order in which they are met."""
    found = (row for _, row in islice(json_rows(path), rows))
    return list(dict.fromkeys(name for row in found if isinstance(row, dict) for name in row))


def json_batches(path: Path, wanted: Iterable[str], one_line: Iterable[str]) -> Iterator[Batch]:
    """The wanted values as strings; lists are joined by commas except in ``one_line`` columns (no id there)."""
    wanted, single = list(wanted), set(one_line)
    rows = json_rows(path)
    while piece := list(islice(rows, ROWS)):
        good = [(line, row) for line, row in piece if isinstance(row, dict)]
        bad = [row for _, row in piece if isinstance(row, BadRow)]
        columns = {
            name: pa.array([_text(row.get(name), name in single) for _, row in good], pa.string())
            for name in wanted
        }
        lines = [line for line, _ in good]
        yield Batch(columns, len(good), lambda row, lines=lines: f"line {lines[row]}", bad)  # type: ignore[misc]


def _text(value: Any, single: bool) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, str):
        # Arrow holds UTF-8; half a character pair becomes a control character, which no id may hold.
        return value if value.isascii() else _SURROGATE.sub("\x01", value)
    if isinstance(value, (list, dict)):
        if single:
            return NO_ID
        parts = value if isinstance(value, list) else value.values()
        return ", ".join(text for part in parts if (text := _text(part, False)))
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return str(int(value))
    return str(value)
