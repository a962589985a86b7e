"""CSV a block at a time: Arrow reads what is well-formed, a slow reader what is not, so that no good row is lost.

A stray quote must not swallow the rows behind it. So blocks with quotes are checked (an opening one stands
at the start of a field, a closing one at its end) before Arrow gets them. Where the check fails, the slow
reader takes a record at a time, and behind a bad one goes on with the next line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from p5t5.data.sources.batches import BAD_QUOTE, NOT_UTF8, WRONG_FIELDS, BadRow, Batch
from p5t5.data.sources.csv_records import OPEN, WHITESPACE, Dialect, records
from p5t5.data.sources.opening import open_bytes

BLOCK = 1 << 24  # bytes read at a time
LONGEST_RECORD = 1 << 22  # a quote that is still open after that many bytes was never closed
_NEWLINE = 10
_UNIT = b"\x1f"
_TRAILING = "\x00"  # the empty field behind a trailing separator
csv.field_size_limit(max(csv.field_size_limit(), 2 * LONGEST_RECORD))
_ENCODED = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class Layout:
    """How to read a file: the names of all its columns, which are wanted, and which of those hold one line.

    ``encoded``: wanted columns in which values repeat; they come dictionary-encoded.
    """

    names: tuple[str, ...]
    dialect: Dialect
    wanted: tuple[str, ...]
    one_line: tuple[str, ...] = ()
    encoded: tuple[str, ...] = ()

    @property
    def one_line_places(self) -> list[int]:
        return [self.names.index(name) for name in self.one_line]

    def fault(self, cells: list[str], several_lines: bool) -> str:
        """Why a record is none, or ""."""
        width = len(self.names)
        if len(cells) != width and not (self.dialect.trailing and len(cells) == width + 1 and not cells[-1]):
            return BAD_QUOTE if several_lines else WRONG_FIELDS
        if several_lines and any("\n" in cells[place] for place in self.one_line_places):
            return BAD_QUOTE
        return ""


REMEDIES = {
    WRONG_FIELDS: "give the row as many fields as the header has, or name another --separator",
    BAD_QUOTE: 'close it, or double quotes that are part of the text (5"" disk), or say --quote none where quotes are text',
    NOT_UTF8: "name the file's encoding (--encoding cp1252, say), or save it as UTF-8",
}


def csv_batches(path: Path, layout: Layout, size: int | None = None) -> Iterator[Batch]:
    """The rows of the wanted columns, in order. Memory: a few blocks (of ``size`` bytes). Raises UserError for an unreadable file."""
    dialect = layout.dialect
    with open_bytes(path, dialect.encoding) as file:
        line, rest, heads = 1, b"", dialect.skip + dialect.has_header
        if not dialect.cr_lines:
            for _ in range(heads):
                line += file.readline().count(b"\n")
        while True:
            data = file.read(size or BLOCK)
            block = rest + (data.replace(b"\r", b"\n") if dialect.cr_lines else data)
            if not block:
                return
            if dialect.cr_lines and line <= heads:
                block = b"\n" * heads + block.split(b"\n", heads)[-1]
            batch, used = _parse(block, layout, line, last=not data)
            if batch.rows or batch.bad:
                yield batch
            line += block.count(b"\n", 0, used)
            rest = block[used:]
            if not data:
                return


def _parse(block: bytes, layout: Layout, line: int, last: bool) -> tuple[Batch, int]:
    """The batch of the whole records at the start of ``block``, and how many bytes they take."""
    dialect = layout.dialect
    quote = dialect.quote.encode()
    quoted = bool(quote) and quote in block
    if not dialect.is_simple or (quoted and len(quote) > 1):
        return _parse_slowly(block, layout, line, last)
    if quoted:
        end, sound = _sound_part(np.frombuffer(block, np.uint8), dialect, last)
    else:
        end, sound = (len(block) if last else block.rfind(b"\n") + 1), True
    if not end and not last and len(block) < LONGEST_RECORD:
        return Batch({}, 0, str), 0
    if dialect.comment and sound:
        sound = re.search(rb"^" + re.escape(dialect.comment.encode()), block, re.MULTILINE) is None
    if not end or not sound or block.count(b"\r", 0, end) != block.count(b"\r\n", 0, end):
        return _parse_slowly(block, layout, line, last)
    body, separator = _one_byte_separator(block, end, dialect)
    ordinals: list[int] = []
    try:
        table = _arrow(body, separator, layout, quoted, None)
        if table is None and dialect.trailing:
            return _parse_slowly(block, layout, line, last)
        if table is None:  # numbers of bad rows are known only without threads
            table = _arrow(body, separator, layout, quoted, ordinals)
        assert table is not None
    except (pa.ArrowException, UnicodeError):
        return _parse_slowly(block, layout, line, last)
    columns = {name: table.column(name).combine_chunks() for name in layout.wanted}
    if quoted and any(_holds_newline(columns[name]) for name in layout.one_line):
        return _parse_slowly(block, layout, line, last)
    lines = _Lines(block[:end], dialect.quote if quoted else "", line, np.array(ordinals, np.int64))
    bad = [BadRow(number, WRONG_FIELDS, text) for number, text in lines.bad()] if ordinals else []
    return Batch(columns, table.num_rows, lambda row: f"line {lines.of(row)}", bad), end


def _one_byte_separator(block: bytes, end: int, dialect: Dialect) -> tuple[bytes | memoryview, str]:
    """The first ``end`` bytes, and the separator in them: one that takes several bytes becomes a control character."""
    separator = dialect.separator.encode()
    if dialect.separator == WHITESPACE:
        body = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", block[:end])
        return re.sub(rb"[ \t]+", _UNIT, body), _UNIT.decode()
    if len(separator) > 1:
        return block[:end].replace(_UNIT, b" ").replace(separator, _UNIT), _UNIT.decode()
    return (block if end == len(block) else memoryview(block)[:end]), dialect.separator


def _arrow(body, separator: str, layout: Layout, quoted: bool, bad: list[int] | None) -> pa.Table | None:
    """The block as Arrow has it, or None where ``bad`` is None and there are rows for it."""
    met = []

    def skip(row) -> str:
        met.append(row.number)
        return "skip"

    dialect = layout.dialect
    table = pa.csv.read_csv(
        pa.BufferReader(pa.py_buffer(body)),
        pa.csv.ReadOptions(
            column_names=[*layout.names, *([_TRAILING] if dialect.trailing else [])],
            use_threads=bad is None,
            block_size=len(body) + 1,
        ),
        pa.csv.ParseOptions(
            delimiter=separator,
            quote_char=dialect.quote if quoted else False,
            newlines_in_values=quoted,
            invalid_row_handler=skip,
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


def _sound_part(block: np.ndarray, dialect: Dialect, last: bool) -> tuple[int, bool]:
    """How many bytes the whole records take, and whether every quote in them stands where one may."""
    quote = ord(dialect.quote)
    quotes = np.flatnonzero(block == quote)
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
    around = np.array([ord(dialect.separator), _NEWLINE, quote], np.uint8)
    # CR may only follow where LF follows it; _parse sees to that for the block as a whole.
    sound = np.isin(before, around).all() and np.isin(after, np.append(around, np.uint8(13))).all()
    return end, bool(sound)


def _holds_newline(column: pa.Array) -> bool:
    values = column.dictionary if isinstance(column, pa.DictionaryArray) else column
    return bool(pc.any(pc.match_substring(values, "\n")).as_py())


class _Lines:
    """Which line of the file a row of a block stands on; worked out when somebody asks."""

    def __init__(self, body: bytes, quote: str, first: int, bad: np.ndarray) -> None:
        self._body, self._quote, self._first, self._bad = body, quote, first, bad
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
            if self._quote:
                quotes = np.flatnonzero(block == ord(self._quote))
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
    pieces = text.split("\n")
    if not last and (len(pieces) > 1 or len(block) < LONGEST_RECORD):
        pieces.pop()  # the rest of the line is in the next block
    starts = np.concatenate([[0], np.cumsum([len(piece) + 1 for piece in pieces], dtype=np.int64)])
    places = [layout.names.index(name) for name in layout.wanted]
    rows: list[list[str]] = []
    lines: list[int] = []
    bad: list[BadRow] = []
    end, broken = len(pieces), 0
    quote = layout.dialect.quote
    for first, behind, cells, reason in records(pieces, layout.dialect, layout.fault):
        if reason == OPEN:
            if not last and len(text) - starts[first] < LONGEST_RECORD:
                end = first
                break  # the quote may be closed in the next block
            reason = BAD_QUOTE
        elif reason and behind > first + 1:
            broken = behind
        elif first < broken and quote and pieces[first].count(quote) % 2:
            reason = BAD_QUOTE  # the rest of a record that held a line end where none may be
        if not reason:
            try:
                rows.append([_utf8(cells[place]) for place in places])
                lines.append(line + first)
            except UnicodeDecodeError:
                reason = NOT_UTF8
        if reason:
            shown = pieces[first][:200].removesuffix("\r").encode("latin-1").decode("utf-8", "replace")
            bad.append(BadRow(line + first, reason, shown))
    columns = {
        name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(layout.wanted)
    }
    return Batch(columns, len(rows), lambda row: f"line {lines[row]}", bad), min(int(starts[end]), len(text))


def _utf8(cell: str) -> str:
    return cell if cell.isascii() else cell.encode("latin-1").decode("utf-8")
