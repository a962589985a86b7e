"""CSV a record at a time by the standard library, in any dialect: slow, and sure about what is a record and what not.

Lines are bytes as characters (latin-1), so that what is not UTF-8 costs a row and no more, and characters above 255
can stand for what Python's reader has no notion of: separators of several characters, escapes, a CR in a field.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from p5t5.data.sources.batches import BAD_QUOTE

WHITESPACE = " "  # as a separator: any number of blanks and tabs
OPEN = "open"  # instead of cells: the text ends in a quoted field
_CR, _ESCAPED_QUOTE, _ESCAPE, _ESCAPED_SEPARATOR, _SEPARATOR = (chr(256 + number) for number in range(5))


@dataclass(frozen=True)
class Dialect:
    """How a file writes its rows. ``quote``, ``escape``, ``comment``: "" for none.

    ``skip``: lines before the header (or the first row). ``trailing``: rows may end in a separator with nothing
    behind it. ``spaced``: blanks stand between separator and quote. ``cr_lines``: lines end in CR alone.
    """

    separator: str = ","
    quote: str = '"'
    escape: str = ""
    encoding: str = "utf-8"
    skip: int = 0
    has_header: bool = True
    trailing: bool = False
    spaced: bool = False
    comment: str = ""
    cr_lines: bool = False

    @property
    def is_simple(self) -> bool:
        """Whether a block can be cut at line ends and quotes, without reading field by field."""
        narrow = len(self.separator.encode()) == 1 and self.separator != WHITESPACE
        return not self.escape and not self.spaced and (narrow or not self.quote)


def records(
    lines: Sequence[str], dialect: Dialect, fault: Callable[[list[str], bool], str] = lambda *_: ""
) -> Iterator[tuple[int, int, list[str], str]]:
    """(first line, the line behind it, cells, "") of each record that is not blank; for a bad one the reason instead.

    ``fault(cells, several lines)``: why a record is none, or "". OPEN: the lines end in a quoted field. Behind a bad
    record reading goes on with its second line. Lines are without their LF.
    """
    separator = dialect.separator.encode().decode("latin-1")
    simple = len(separator) == 1 and separator != WHITESPACE
    escaped = re.compile(r"\\(?:[\"'\\]|" + re.escape(separator) + ")") if dialect.escape == "\\" else None
    back = {
        ord(_CR): "\r", ord(_ESCAPED_QUOTE): dialect.quote or '"', ord(_ESCAPE): dialect.escape,
        ord(_ESCAPED_SEPARATOR): separator, ord(_SEPARATOR): separator,
    }  # fmt: skip
    place = 0
    starts = False  # a record starts with the line that is asked for next

    def feed() -> Iterator[str]:
        nonlocal place, starts
        while place < len(lines):
            line = lines[place]
            place += 1
            if starts and dialect.comment and line.startswith(dialect.comment):
                line = ""
            starts = False
            if "\r" in line:
                line = line[:-1].replace("\r", _CR) + line[-1]  # but for CR LF
            if escaped is not None:
                line = escaped.sub(_for_escaped, line)
            if separator == WHITESPACE:
                line = re.sub(r"[ \t]+", _SEPARATOR, line.strip(" \t\r"))
            elif not simple:
                line = line.replace(separator, _SEPARATOR)
            yield line + "\n"

    def reader():
        return csv.reader(
            feed(),
            strict=True,
            delimiter=separator if simple else _SEPARATOR,
            quotechar=dialect.quote or None,
            quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
            skipinitialspace=dialect.spaced,
        )

    rows = reader()
    while place < len(lines):
        first, starts = place, True
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            is_open = place == len(lines) and "unexpected end" in str(error)
            yield first, first + 1, [], OPEN if is_open else BAD_QUOTE
            place, rows = first + 1, reader()
            continue
        if not cells:
            continue
        cells = [cell if cell.isascii() else cell.translate(back) for cell in cells]
        reason = fault(cells, place > first + 1)
        yield first, place, cells, reason
        if reason and place > first + 1:
            place, rows = first + 1, reader()


def _for_escaped(found: re.Match[str]) -> str:
    char = found.group()[1:]
    return _ESCAPED_QUOTE if char in "\"'" else _ESCAPE if char == "\\" else _ESCAPED_SEPARATOR
