"""CSV a block at a time: Arrow reads what is well-formed, a slow reader what is not, so that no good row is lost.

A stray quote must not swallow the rows behind it. So blocks with quotes are checked (an opening one stands
at the start of a field, a closing one at its end) before Arrow gets them. Where the check fails, the slow
reader takes a record at a time, and behind a bad one goes on with the next line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from p5t5.core.errors import UserError
from p5t5.data.sources.batches import BAD_QUOTE, NOT_UTF8, WRONG_FIELDS, BadRow, Batch, open_bytes

BLOCK = 1 << 24  # bytes read at a time
LONGEST_RECORD = 1 << 22  # a quote that is still open after that many bytes was never closed
SEPARATORS = ",;\t|"
_QUOTE, _NEWLINE = 34, 10
_OPEN, _MISPLACED = "open", "misplaced"
_ENCODED = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class Layout:
    """How to read a file: the names of all its columns, which are wanted, and which of those hold one line.

    ``encoded``: wanted columns in which values repeat; they come dictionary-encoded.
    """

    names: tuple[str, ...]
    separator: str
    wanted: tuple[str, ...]
    one_line: tuple[str, ...] = ()
    encoded: tuple[str, ...] = ()
    has_header: bool = True

    @property
    def one_line_places(self) -> list[int]:
        return [self.names.index(name) for name in self.one_line]


def read_header(path: Path, separator: str | None) -> tuple[list[str], str]:
    """The names in the first line, and the separator (the commonest of SEPARATORS in it unless given)."""
    with open_bytes(path) as file:
        line = file.readline(1 << 20)
    if not line.strip():
        raise UserError(f"{path} is empty: the first line must name the columns.")
    if b"\r" in line.rstrip(b"\r\n"):
        raise UserError(f"{path}: its lines end in CR alone; convert them, with `tr '\\r' '\\n'` say.")
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line 1 is {NOT_UTF8} ({error}); {REMEDIES[NOT_UTF8]}.") from error
    separator = separator or max(SEPARATORS, key=text.count)
    found = _record(text, 0, separator)
    if isinstance(found, str):
        raise UserError(f"{path}, line 1: {BAD_QUOTE} in the names of the columns; mend the line.")
    return found[0], separator


REMEDIES = {
    WRONG_FIELDS: "give the row as many fields as the header has, or name another --separator",
    BAD_QUOTE: 'close it, or double quotes that are part of the text (5"" disk)',
    NOT_UTF8: "save the file as UTF-8 (iconv -f latin1 -t utf-8)",
}


def csv_batches(path: Path, layout: Layout, size: int | None = None) -> Iterator[Batch]:
    """The rows of the wanted columns, in order. Memory: a few blocks (of ``size`` bytes). Raises UserError for an unreadable file."""
    with open_bytes(path) as file:
        line, rest = 1, b""
        if layout.has_header:
            line += file.readline().count(b"\n")
        while True:
            data = file.read(size or BLOCK)
            block = rest + data
            if not block:
                return
            batch, used = _parse(block, layout, line, last=not data)
            if batch.rows or batch.bad:
                yield batch
            line += block.count(b"\n", 0, used)
            rest = block[used:]
            if not data:
                return


def _parse(block: bytes, layout: Layout, line: int, last: bool) -> tuple[Batch, int]:
    """The batch of the whole records at the start of ``block``, and how many bytes they take."""
    quoted = b'"' in block
    if quoted:
        end, sound = _sound_part(np.frombuffer(block, np.uint8), layout.separator, last)
    else:
        end, sound = (len(block) if last else block.rfind(b"\n") + 1), True
    if not end and not last and len(block) < LONGEST_RECORD:
        return Batch({}, 0, str), 0
    if not end or not sound or block.count(b"\r", 0, end) != block.count(b"\r\n", 0, end):
        return _parse_slowly(block, layout, line, last)
    body = block if end == len(block) else memoryview(block)[:end]
    ordinals: list[int] = []
    try:
        table = _arrow(body, layout, quoted, None)
        if table is None:  # numbers of bad rows are known only without threads
            table = _arrow(body, layout, quoted, ordinals)
        assert table is not None
    except (pa.ArrowException, UnicodeError):
        return _parse_slowly(block, layout, line, last)
    columns = {name: table.column(name).combine_chunks() for name in layout.wanted}
    if quoted and any(_holds_newline(columns[name]) for name in layout.one_line):
        return _parse_slowly(block, layout, line, last)
    lines = _Lines(block[:end], quoted, line, np.array(ordinals, np.int64))
    bad = [BadRow(number, WRONG_FIELDS, text) for number, text in lines.bad()] if ordinals else []
    return Batch(columns, table.num_rows, lambda row: f"line {lines.of(row)}", bad), end


def _arrow(body, layout: Layout, quoted: bool, bad: list[int] | None) -> pa.Table | None:
    """The block as Arrow has it, or None where ``bad`` is None and there are rows for it."""
    met = []

    def skip(row) -> str:
        met.append(row.number)
        return "skip"

    table = pa.csv.read_csv(
        pa.BufferReader(pa.py_buffer(body)),
        pa.csv.ReadOptions(
            column_names=list(layout.names), use_threads=bad is None, block_size=len(body) + 1
        ),
        pa.csv.ParseOptions(
            delimiter=layout.separator, newlines_in_values=quoted, invalid_row_handler=skip
        ),
        pa.csv.ConvertOptions(
            column_types={name: _ENCODED if name in layout.encoded else pa.string() for name in layout.wanted},
            include_columns=list(layout.wanted),
            strings_can_be_null=False,
        ),
    )  # fmt: skip
    if bad is None:
        return None if met else table
    bad += [number - 1 for number in met]
    return table


def _sound_part(block: np.ndarray, separator: str, last: bool) -> tuple[int, bool]:
    """How many bytes the whole records take, and whether every quote in them stands where one may."""
    quotes = np.flatnonzero(block == _QUOTE)
    newlines = np.flatnonzero(block == _NEWLINE)
    ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    end = int(ends[-1]) + 1 if len(ends) else 0
    if last:
        if len(quotes) % 2:
            return end, False
        end = len(block)
    elif len(block) - end > LONGEST_RECORD and len(quotes) % 2:
        return end, False
    quotes = quotes[quotes < end]
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, block[opening - 1], _NEWLINE)
    after = np.where(closing + 1 < len(block), block[np.minimum(closing + 1, len(block) - 1)], _NEWLINE)
    around = np.array([ord(separator), _NEWLINE, _QUOTE], np.uint8)
    # CR may only follow where LF follows it; _parse sees to that for the block as a whole.
    sound = np.isin(before, around).all() and np.isin(after, np.append(around, np.uint8(13))).all()
    return end, bool(sound)


def _holds_newline(column: pa.Array) -> bool:
    values = column.dictionary if isinstance(column, pa.DictionaryArray) else column
    return bool(pc.any(pc.match_substring(values, "\n")).as_py())


class _Lines:
    """Which line of the file a row of a block stands on; worked out when somebody asks."""

    def __init__(self, body: bytes, quoted: bool, first: int, bad: np.ndarray) -> None:
        self._body, self._quoted, self._first, self._bad = body, quoted, first, bad
        self._known: tuple[np.ndarray, np.ndarray] | None = None

    def of(self, row: int) -> int:
        _, lines = self._records()
        return int(np.delete(lines, self._bad)[row])

    def bad(self) -> list[tuple[int, str]]:
        """(line, text) of the rows that Arrow refused."""
        starts, lines = self._records()
        return [
            (
                int(lines[n]),
                self._body[starts[n] : starts[n] + 200].splitlines()[0].decode("utf-8", "replace"),
            )
            for n in self._bad
        ]

    def _records(self) -> tuple[np.ndarray, np.ndarray]:
        """(byte, line) at which each record that is not blank starts."""
        if self._known is None:
            block = np.frombuffer(self._body, np.uint8)
            newlines = np.flatnonzero(block == _NEWLINE)
            ends = newlines
            if self._quoted:
                quotes = np.flatnonzero(block == _QUOTE)
                ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
            starts = np.concatenate([[0], ends + 1])
            starts = starts[starts < len(block)]
            first = block[starts]
            blank = (first == _NEWLINE) | (
                (first == 13) & (block[np.minimum(starts + 1, len(block) - 1)] == _NEWLINE)
            )
            starts = starts[~blank]
            self._known = starts, self._first + np.searchsorted(newlines, starts)
        return self._known


def _parse_slowly(block: bytes, layout: Layout, line: int, last: bool) -> tuple[Batch, int]:
    """As ``_parse``, a record at a time: a bad one costs its first line, and reading goes on with the next."""
    text = block.decode("latin-1")  # bytes as characters: no place is lost to what is not UTF-8
    places = [layout.names.index(name) for name in layout.wanted]
    rows: list[list[str]] = []
    lines: list[int] = []
    bad: list[BadRow] = []
    start = broken = 0
    while start < len(text):
        end_of_line = text.find("\n", start)
        if end_of_line < 0:
            if not last and len(text) - start < LONGEST_RECORD:
                break
            end_of_line = len(text)
        if text[start:end_of_line] in ("", "\r"):
            start, line = end_of_line + 1, line + 1
            continue
        record = _record(text, start, layout.separator)
        if record is _OPEN and not last and len(text) - start < LONGEST_RECORD:
            break  # the quote may be closed in the next block
        cells, end = record if isinstance(record, tuple) else ([], end_of_line + 1)
        reason = _fault(cells, isinstance(record, tuple), end > end_of_line + 1, layout)
        if reason and end > end_of_line + 1:
            broken = end
        elif start < broken and text.count('"', start, end_of_line) % 2:
            reason = BAD_QUOTE  # the rest of a record that held a line end where none may be
        if not reason:
            try:
                rows.append([_utf8(cells[place]) for place in places])
                lines.append(line)
            except UnicodeDecodeError:
                reason = NOT_UTF8
        if reason:
            shown = (
                text[start : min(end_of_line, start + 200)]
                .removesuffix("\r")
                .encode("latin-1")
                .decode("utf-8", "replace")
            )
            bad.append(BadRow(line, reason, shown))
            end = end_of_line + 1
        line += text.count("\n", start, end)
        start = end
    columns = {
        name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(layout.wanted)
    }
    return Batch(columns, len(rows), lambda row: f"line {lines[row]}", bad), min(start, len(text))


def _fault(cells: list[str], closed: bool, several_lines: bool, layout: Layout) -> str:
    """Why a record is none, or ""."""
    if not closed:
        return BAD_QUOTE
    if len(cells) != len(layout.names):
        return BAD_QUOTE if several_lines else WRONG_FIELDS
    if several_lines and any("\n" in cells[place] for place in layout.one_line_places):
        return BAD_QUOTE
    return ""


def _utf8(cell: str) -> str:
    return cell if cell.isascii() else cell.encode("latin-1").decode("utf-8")


def _record(text: str, start: int, separator: str) -> tuple[list[str], int] | str:
    """The fields of the record at ``start`` and where the next begins, or what is wrong with its quotes:
    _OPEN when the text ends in a quoted field, _MISPLACED when text follows the closing quote.

    Quotes count at the start of a field only (RFC 4180); elsewhere they are text.
    """
    fields: list[str] = []
    place = start
    while True:
        if text.startswith('"', place):
            parts, place = [], place + 1
            while True:
                close = text.find('"', place)
                if close < 0:
                    return _OPEN
                parts.append(text[place:close])
                place = close + 1
                if not text.startswith('"', place):
                    break
                parts.append('"')
                place += 1
            fields.append("".join(parts))
            place += text.startswith("\r\n", place) or (
                text[place : place + 1] == "\r" and place + 1 == len(text)
            )
        else:
            newline = text.find("\n", place)
            stop = newline if newline >= 0 else len(text)
            found = text.find(separator, place, stop)
            end = found if found >= 0 else stop
            fields.append(text[place:end].removesuffix("\r") if found < 0 else text[place:end])
            place = end
        if place >= len(text):
            return fields, place
        if text[place] == "\n":
            return fields, place + 1
        if not text.startswith(separator, place):
            return _MISPLACED
        place += len(separator)
