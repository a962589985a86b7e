"""JSON in the shapes that people have: an object a line (Python's dicts too), arrays, wrapped tables, pandas' orients."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError
from p5t5.data.sources import encodings
from p5t5.data.sources.batches import NOT_JSON, NOT_UTF8, BadRow
from p5t5.data.sources.json_shapes import rows_of_object
from p5t5.data.sources.opening import first_bytes, open_bytes

LOOKED_AT = 1 << 20  # bytes
_ARRAY = re.compile(rb"\s*\[\s*(?:\{|\[[^\[]|$|\n)")
_BETWEEN = re.compile(r"[\s,]*")

Rows = Iterator[tuple[int, "dict[str, Any] | BadRow"]]


@dataclass(frozen=True)
class JsonFile:
    """``rows()``: (line or number of the row, object) or (line, BadRow), from the beginning. ``place``: "line" or "row"."""

    rows: Callable[[], Rows]
    place: str
    notes: tuple[str, ...] = ()


def open_json(path: Path, encoding: str | None = None) -> JsonFile:
    """What shape of JSON a file is. UserError where it holds several tables, or none."""
    start = first_bytes(path, LOOKED_AT)
    encoding = encodings.checked(encoding) if encoding else encodings.detect(start)
    with open_bytes(path, encoding) as file:
        start = file.read(LOOKED_AT)
    lines = [line for line in start.split(b"\n") if line.strip()]
    first = lines[0] if lines else b""
    if _ARRAY.match(start) and not (len(lines) > 1 and _parsed(first) is not None):
        return JsonFile(lambda: _streamed(path, encoding), "row", ("a JSON array",))
    whole = len(start) < LOOKED_AT
    complete = lines if whole else lines[:-1]
    objects = sum(isinstance(_parsed(line), dict) for line in complete[:50])
    is_one = start.lstrip().startswith(b"{") and objects <= (len(complete) == 1 and whole)
    if is_one and (found := _single(path, encoding)) is not None:
        return found
    notes = () if objects or not _is_python(complete) else ("Python dicts, not JSON (read as literals)",)
    return JsonFile(lambda: _by_line(path, encoding, bool(notes)), "line", notes)


def _single(path: Path, encoding: str) -> JsonFile | None:
    """A file that is one object, or objects over several lines; None where it is neither."""
    with open_bytes(path, encoding) as file:
        text = file.read().decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except RecursionError:
        return None
    except ValueError as error:
        if "Extra data" not in str(error):
            return None
        return JsonFile(lambda: _streamed(path, encoding), "row", ("objects over several lines",))
    table = rows_of_object(value, path)
    if table is None:
        return None
    rows, note = table
    return JsonFile(lambda: iter(enumerate(rows, 1)), "row", (note,))


def _by_line(path: Path, encoding: str, is_python: bool) -> Rows:
    with open_bytes(path, encoding) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _object(line, number, is_python)


def _object(line: bytes, number: int, is_python: bool) -> dict[str, Any] | BadRow:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return BadRow(number, NOT_UTF8, line[:200].decode("utf-8", "replace").rstrip())
    row = _literal(text) if is_python else _json(text)
    return row if isinstance(row, dict) else BadRow(number, NOT_JSON, text[:200].rstrip())


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _literal(text: str) -> Any:
    """A Python literal (never code), None where it is none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _parsed(line: bytes) -> Any:
    return _json(line.decode("utf-8", "replace"))


def _is_python(lines: list[bytes]) -> bool:
    """Whether most of the first lines are Python's dicts."""
    first = [line.decode("utf-8", "replace") for line in lines[:20]]
    dicts = sum(line.lstrip().startswith("{") and isinstance(_literal(line), dict) for line in first)
    return dicts > len(first) / 2


def _streamed(path: Path, encoding: str) -> Rows:
    """The elements of an array, or objects one after the other, decoded as the text is read."""
    decoder = json.JSONDecoder()
    number = line = 0
    with open_bytes(path, encoding) as file:
        text, ended = "", False
        names: list[str] | None = None
        while True:
            place = _BETWEEN.match(text).end()  # type: ignore[union-attr]
            if not number and text[place : place + 1] == "[":
                place = _BETWEEN.match(text, place + 1).end()  # type: ignore[union-attr]
            done = place
            while place < len(text) and text[place] != "]":
                try:
                    value, place = decoder.raw_decode(text, place)
                except (ValueError, RecursionError) as error:
                    if not ended and not isinstance(error, RecursionError):
                        break
                    raise UserError(
                        f"{path}, row {number + 1} (line {line + text.count(chr(10), 0, place) + 1}): "
                        f"{NOT_JSON}: {text[place : place + 60]!r}; mend it, or write one object a line."
                    ) from error
                number += 1
                if isinstance(value, list):
                    names = names or [f"column_{n}" for n in range(1, len(value) + 1)]
                    value = dict(zip(names, value, strict=False))
                if isinstance(value, dict):
                    yield number, value
                else:
                    yield number, BadRow(number, NOT_JSON, str(value)[:200])
                place = done = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]
            if ended or text[place : place + 1] == "]":
                return
            line += text.count("\n", 0, done)
            data = file.read(LOOKED_AT)
            ended = not data
            try:
                rest = file.readline() if data else b""  # whole characters
                text = text[done:] + (data + rest).decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{path} is {NOT_UTF8} behind row {number}; name its --encoding.") from error


def first_rows(file: JsonFile, number: int) -> list[dict[str, Any]]:
    """The first objects."""
    return [row for _, row in islice(file.rows(), number) if isinstance(row, dict)]
