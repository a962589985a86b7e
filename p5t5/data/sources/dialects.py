"""How a text table writes its rows, found by looking at its beginning: separator, quotes, header and the lines before it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from p5t5.core.errors import UserError
from p5t5.data.sources import encodings
from p5t5.data.sources.csv_records import WHITESPACE, Dialect, records
from p5t5.data.sources.header import comma_names, is_header, is_known_name, names_of, without_comment
from p5t5.data.sources.known_layouts import known_names
from p5t5.data.sources.opening import first_bytes, open_bytes, plain_suffix

SEPARATORS = (",", "\t", ";", "|", "::", "||", "\x01", "^", "~", WHITESPACE)
NAMES = {"\t": "tab", WHITESPACE: "blanks", "\x01": "\\x01"}
_WORDS = {
    "tab": "\t",
    "\\t": "\t",
    "space": WHITESPACE,
    "blank": WHITESPACE,
    "whitespace": WHITESPACE,
    "\\x01": "\x01",
}
LOOKED_AT = 1 << 18  # bytes
_LINES = 400
_MOST_SKIPPED = 50  # lines of titles and comments before a header
_COMMENTS = ("#", "%", "//")


@dataclass(frozen=True)
class DialectOptions:
    """What a user said of a file's dialect; None: look at the file.

    ``header``: the names of the columns, "none" (the first line is a row) or "first" (it holds the names).
    ``quote``, ``escape``, ``comment``: "none" for none.
    """

    separator: str | None = None
    header: str | None = None
    quote: str | None = None
    escape: str | None = None
    encoding: str | None = None
    skip_lines: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        for name in ("quote", "escape"):
            value = getattr(self, name)
            if value is not None and value != "none" and (len(value) != 1 or not value.isascii()):
                raise UserError(f"--{name} {value!r}: must be one ASCII character, or none.")
        if self.escape not in (None, "none", "\\"):
            raise UserError(f"--escape {self.escape!r}: must be \\ (a backslash) or none.")
        if self.separator == "":
            raise UserError("--separator '': must not be empty.")
        if self.skip_lines is not None and self.skip_lines < 0:
            raise UserError("--skip_lines must be 0 or more.")


@dataclass(frozen=True)
class TextTable:
    """A table's dialect and the names of its columns; ``notes``: what is not as usual, in words."""

    dialect: Dialect
    names: tuple[str, ...]
    notes: tuple[str, ...]


def look_at(path: Path, said: DialectOptions = DialectOptions()) -> TextTable:
    """The dialect of a text table. Raises UserError where the file is empty or what was said does not fit it."""
    encoding = (
        encodings.checked(said.encoding) if said.encoding else encodings.detect(first_bytes(path, 1 << 20))
    )
    with open_bytes(path, encoding) as file:
        start = file.read(LOOKED_AT)
    lines, cr_lines = _lines(start)
    if not any(line.strip() for line in lines):
        raise UserError(f"{path} is empty: there is no row in it.")
    dialect = Dialect(encoding=encoding, cr_lines=cr_lines, comment=_said(said.comment, ""))
    notes = [] if encoding == "utf-8" else [f"encoding {encoding} (--encoding names another)"]
    first = _first_line(lines) if said.skip_lines is None else said.skip_lines
    marked = None
    if said.skip_lines is None and first < len(lines):
        marked = re.fullmatch(r"\s*sep=(.+?)\r?", lines[first])
    separator = _WORDS.get(said.separator or "", said.separator)
    if marked and separator is None:
        separator, first = marked.group(1), first + 1
    body = lines[first:]
    tab_first = plain_suffix(path) in (".tsv", ".tab")
    dialect = replace(dialect, separator=separator or _separator(body, tab_first))
    dialect = _quoting(body, dialect, said)
    if said.skip_lines is None:
        first += _titles(body, dialect)
    if first >= len(lines):
        raise UserError(f"--skip_lines {first}: {path} has no line behind them that is looked at.")
    dialect = replace(dialect, skip=first)
    if first > 0 and any(line.strip() for line in lines[:first]) and said.skip_lines is None:
        notes.append(f"skipped before the table: {_shown(lines[:first])} (--skip_lines {first})")
    return _named(path, lines[first:], dialect, said, notes)


def _lines(start: bytes) -> tuple[list[str], bool]:
    """The whole lines of a file's beginning (bytes as characters, without LF), and whether they end in CR alone."""
    text = start.decode("latin-1")
    cr_lines = "\r" in text and "\n" not in text
    if cr_lines:
        text = text.replace("\r", "\n")
    lines = text.split("\n")
    if (len(start) == LOOKED_AT and len(lines) > 1) or not lines[-1]:
        lines.pop()
    return lines[: _LINES + _MOST_SKIPPED], cr_lines


def _first_line(lines: Sequence[str]) -> int:
    return next(number for number, line in enumerate(lines) if line.strip())


def _said(value: str | None, default: str) -> str:
    return default if value is None else "" if value == "none" else value


def _shown(lines: Sequence[str]) -> str:
    return "; ".join(repr(_text(line)[:40]) for line in [line for line in lines if line.strip()][:2])


def _text(line: str) -> str:
    return line.strip().encode("latin-1").decode("utf-8", "replace")


def _rows(lines: Sequence[str], dialect: Dialect) -> list[tuple[int, list[str]]]:
    """(first line, cells) of the records that are well-formed."""
    return [(first, cells) for first, _, cells, reason in records(lines[:_LINES], dialect) if not reason]


def _width(counts: Sequence[int]) -> int:
    """The commonest number of fields, the larger one of two as common."""
    found = Counter(counts)
    return max(found, key=lambda width: (found[width], width)) if found else 0


def _separator(lines: Sequence[str], tab_first: bool) -> str:
    """The separator that cuts most lines, and the first of them, into the same number of fields: the larger the better."""
    best, best_score, best_share = ("\t" if tab_first else ","), 0.0, 0.0
    filled = [line for line in lines[:_LINES] if line.strip()]
    for separator in SEPARATORS:
        if not any(
            (separator if separator != WHITESPACE else " ") in line or "\t" in line for line in filled
        ):
            continue
        if separator == WHITESPACE and best_share > 0.6:
            break  # another one cuts nearly all lines: these are blanks in texts and times
        for quote in ('"', "") if len(separator) == 1 and separator != WHITESPACE else ("",):
            counts = [len(cells) for _, cells in _rows(filled, Dialect(separator, quote, spaced=bool(quote)))]
            width = _width(counts)
            if width < 2 or not counts:
                continue
            share = sum(count == width for count in counts) / len(filled)
            # Among the first lines is the header, behind titles perhaps; it may lack the name of a row's number.
            heads = any(count == width or count == width - 1 > 1 for count in counts[:3])
            steady = 0.7 * share + 0.3 * heads
            score = steady * (1 + 0.1 * min(width, 10)) + 0.15 * (tab_first and separator == "\t")
            score -= 0.01 * (not quote) + (0.15 if separator in ("^", "~") else 0)
            if score > best_score:
                best, best_score, best_share = separator, score, share
    return best


def _faults(lines: Sequence[str], dialect: Dialect) -> int:
    """Lines that are in no good record (of the commonest width)."""
    lines = lines[:_LINES]
    good: list[tuple[int, int]] = []  # (lines, fields)
    for first, behind, cells, reason in records(lines, dialect):
        if not reason:
            good.append((behind - first, len(cells)))
    width = _width([fields for _, fields in good])
    filled = sum(bool(line.strip()) for line in lines)
    return filled - sum(number for number, fields in good if fields == width and (width > 1 or filled == 1))


def _quoting(lines: Sequence[str], dialect: Dialect, said: DialectOptions) -> Dialect:
    """The dialect with its quote and escape characters, and whether blanks stand before quotes."""
    default = "" if dialect.separator in ("::", "||", "\x01", WHITESPACE) else '"'
    dialect = replace(dialect, quote=_said(said.quote, default), escape=_said(said.escape, ""))
    text = "\n".join(lines[:_LINES])
    if said.quote is None and not dialect.quote and '"' in text:
        quoted = replace(dialect, quote='"')
        if _faults(lines, quoted) < _faults(lines, dialect):
            dialect = quoted
    if not dialect.quote or dialect.quote not in text:
        return dialect
    if said.escape is None and "\\" + dialect.quote in text:
        escaped = replace(dialect, escape="\\")
        if _faults(lines, escaped) < _faults(lines, dialect):
            return escaped
    spaced = replace(dialect, spaced=True)
    if any(
        cell[:1] == " " and cell.lstrip()[:1] == dialect.quote
        for _, cells in _rows(lines, dialect)
        for cell in cells
    ) and (_faults(lines, spaced) <= _faults(lines, dialect)):
        dialect = spaced
    if said.quote is None and dialect.separator not in (",", ";") and not _is_quoting(lines, dialect):
        return replace(dialect, quote="", spaced=False)
    return dialect


def _is_quoting(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether quotes are more than text here: all rows are well-formed with them, or not all are without.

    Names of columns in quotes, and doubled quotes in a quoted field, say that they are.
    """
    header = next((line for line in lines if line.strip()), "").strip()
    cells = header.split(dialect.separator)
    if all(len(cell) > 1 and cell[0] == cell[-1] == dialect.quote for cell in cells):
        return True
    plain = replace(dialect, quote="", spaced=False)
    return not _faults(lines, dialect) or _faults(lines, plain) > 0


def _titles(lines: Sequence[str], dialect: Dialect) -> int:
    """How many lines before the table are titles or comments: fewer fields than the rows have, or a comment's sign."""
    rows = _rows(lines, dialect)
    width = _width([len(cells) for _, cells in rows[-max(1, len(rows) * 9 // 10) :]])
    if width < 2:
        return 0
    last = 0  # lines to leave out
    for place, (first, cells) in enumerate(rows[:_MOST_SKIPPED]):
        if place + 1 == len(rows) or (last < first and lines[last].strip()):
            break  # what cannot be read is no title
        filled = [cell for cell in cells if cell.strip()]
        behind = rows[place + 1][0]
        if (
            (
                lines[first].startswith(_COMMENTS)
                and not (
                    len(cells) == width
                    and (place + 1 == len(rows) or not lines[behind].startswith(_COMMENTS))
                )
            )
            or len(cells) == 1
            or (len(filled) == 1 and len(cells) == width > 2 and filled[0] == cells[0])
            or (len(cells) < width - 1 and len(rows[place + 1][1]) == width and len(rows) > place + 2)
        ):
            last = behind
        else:
            break
    return last if last < len(lines) else 0


def _named(
    path: Path, lines: Sequence[str], dialect: Dialect, said: DialectOptions, notes: list[str]
) -> TextTable:
    found = _rows(lines, dialect)
    rows = [[_text_cell(cell) for cell in cells] for _, cells in found]
    if not rows or any(line.strip() for line in lines[: found[0][0]]):
        raise UserError(
            f"{path}, line {dialect.skip + 1}: a quote is opened and not closed in the names of the columns; mend the line, "
            "or say --quote none where quotes are text."
        )
    first, rest = without_comment(rows[0], said.header), rows[1:]
    width = _width([len(cells) for cells in rest]) or len(first)
    given = comma_names(said.header)
    if given is not None:
        has_header, names = False, given
        if width == len(names) + 1 and all(not cells[-1] for cells in rows if len(cells) == width):
            dialect = replace(dialect, trailing=True)
        elif len(names) != len(first):
            raise UserError(
                f"--header: {len(names)} names, but line {dialect.skip + 1} of {path} has {len(first)} fields "
                f"(separator {shown_separator(dialect.separator)})."
            )
    else:
        known = known_names(path, dialect.separator, len(first)) if not is_known_name(first[0]) else None
        has_header = said.header == "first" or (
            said.header != "none" and known is None and is_header(first, rest)
        )
        if not has_header:
            first = rows[0]
        names, trailing = names_of(first, rest, width, has_header)
        dialect = replace(dialect, trailing=trailing)
        if known is not None and not has_header:
            names = known
            notes.append(
                f"{path.name} has no header; its columns are {', '.join(names)}, as its name says (--header)"
            )
        elif not has_header:
            shown = ", ".join(repr(cell[:20]) for cell in first[:4]) + (", …" if len(first) > 4 else "")
            notes.append(
                f"{path.name} has no header: its first line is a row ({shown}), its columns are called "
                f"{names[0]} … {names[-1]}; name them with --header NAME,NAME,… (or say --header first)"
            )
    dialect = replace(dialect, has_header=has_header)
    notes += _said_of(dialect, plain_suffix(path), said)
    return TextTable(dialect, tuple(names), tuple(notes))


def _text_cell(cell: str) -> str:
    return cell.strip() if cell.isascii() else cell.encode("latin-1").decode("utf-8", "replace").strip()


def shown_separator(separator: str) -> str:
    return NAMES.get(separator, repr(separator))


def _said_of(dialect: Dialect, suffix: str, said: DialectOptions) -> list[str]:
    """What is not as in a plain CSV or TSV, with the option that says otherwise."""
    facts: list[tuple[bool, str]] = [
        (
            said.separator is None and dialect.separator not in (",", ";", "\t"),
            f"the separator is {shown_separator(dialect.separator)} (--separator names another)",
        ),
        (
            said.quote is None and not dialect.quote and dialect.separator in (",", ";", "\t", "|"),
            "quotes are text (if not: --quote '\"')",
        ),
        (said.escape is None and bool(dialect.escape), "a backslash escapes quotes (if not: --escape none)"),
        (dialect.trailing, "rows end in a separator with nothing behind it"),
        (dialect.spaced, "blanks before quotes are left out"),
    ]
    return [text for holds, text in facts if holds]
