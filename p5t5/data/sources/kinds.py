"""What kind of file something is, by its first bytes: endings only decide where those do not."""

from __future__ import annotations

import re
from pathlib import Path

from p5t5.core.errors import UserError
from p5t5.data.sources.opening import first_bytes, plain_suffix

_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_BINARY = {b"PAR1": "parquet", b"ARROW1": "arrow"}
# What is not read: what it is, and what to do.
_REFUSED = {
    b"SQLite format 3": "an SQLite database; export the table: sqlite3 -header -csv FILE 'select * from …' > table.csv",
    b"\x89HDF": "an HDF5 file; write the table as Parquet or CSV with the program that made it",
    b"%PDF": "a PDF; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls); save it as .xlsx or CSV",
    b"Obj\x01": "an Avro file; write it as Parquet or CSV",
    b"ORC": "an ORC file; write it as Parquet or CSV",
    b"\x93NUMPY": "a NumPy array; write it as CSV with column names",
    b"RDX": "an R data file; in R: write.csv(x, 'table.csv', row.names = FALSE)",
    b"version https://git-lfs": "a Git LFS pointer, not the data; fetch it with git lfs pull",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
}  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x02-\x05][^\n]")
_PAGE = re.compile(rb"\s*<(?:!doctype|html|\?xml|head)\b", re.IGNORECASE)


def kind_of(path: Path) -> str:
    """ "text", "json", "parquet" or "arrow". UserError for a folder, a missing file, and for what we do not read."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the files in it, as in '{path}/*.csv'.")
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    start = first_bytes(path, 1 << 16)
    for magic, kind in _BINARY.items():
        if start.startswith(magic):
            return kind
    suffix = plain_suffix(path)
    if suffix in (".parquet", ".arrow", ".feather") and start:
        return "parquet" if suffix == ".parquet" else "arrow"  # whose reader says what is wrong
    for magic, what in _REFUSED.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {what}.")
    if _PICKLE.match(start):
        raise UserError(
            f"{path} is a pickle, which may run anything and is never opened; write it as Parquet or CSV where it was made."
        )
    if _PAGE.match(start) and suffix not in (".csv", ".tsv"):
        raise UserError(
            f"{path} is a web page or XML, not a table; was the download refused? Save the table as CSV."
        )
    return "json" if _is_json(start, suffix) else "text"


def _is_json(start: bytes, suffix: str) -> bool:
    text = start.removeprefix(b"\xef\xbb\xbf").replace(b"\x00", b"").lstrip(b"\xff\xfe").lstrip()
    if suffix in _JSON_SUFFIXES:
        lines = [line.lstrip() for line in text.splitlines() if line.strip()]
        return (
            text[:1] in (b"", b"{", b"[")
            or any(line.startswith(b"{") for line in lines)
            or not _has_fields(lines)
        )
    return re.match(rb"\{\s*(?:[\"']|\}|u['\"]|$)|\[\s*(?:\{|\[|$)", text) is not None and suffix not in (
        ".csv",
        ".tsv",
    )


def _has_fields(lines: list[bytes]) -> bool:
    """Whether all lines hold a separator: a table under a wrong name."""
    return len(lines) > 1 and any(
        all(mark in line for line in lines[:-1]) for mark in (b",", b"\t", b";", b"|")
    )
