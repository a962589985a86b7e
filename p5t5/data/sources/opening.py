"""The bytes of a file as UTF-8 text, whatever compressed it and whatever its encoding: recognized by content, not by name."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from p5t5.core.errors import UserError

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_NAMED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # starts like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHUNK = 1 << 20
_UNREADABLE = "p5t5.unreadable"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no text in the encoding become one that is no UTF-8, so that the row is counted as bad."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_UNREADABLE, _mark)


class _AsUtf8(io.RawIOBase):
    """``source`` (bytes in ``encoding``) read as UTF-8."""

    def __init__(self, source: IO[bytes], encoding: str) -> None:
        self._source, self._ready, self._begun = source, b"", False
        self._decoder = codecs.getincrementaldecoder(encoding)(_UNREADABLE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        ended = False
        while not self._ready and not ended:
            data = self._source.read(_CHUNK)
            ended = not data
            text = self._decoder.decode(data, final=ended)
            if text and not self._begun:
                text, self._begun = text.removeprefix("\ufeff"), True
            self._ready = text.encode("utf-8", "surrogatepass")
        number = min(len(buffer), len(self._ready))
        buffer[:number], self._ready = self._ready[:number], self._ready[number:]
        return number


def compression(path: Path) -> str:
    """What compressed a file ("gzip", "bzip2", "xz", "zstd"), by its first bytes; "" for nothing."""
    with open(path, "rb") as file:
        start = file.read(6)
    return next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), "")


@contextmanager
def open_bytes(path: Path, encoding: str = "utf-8") -> Iterator[IO[bytes]]:
    """The text of a file as UTF-8, unpacked, without a byte order mark (which overrules ``encoding``).

    Raises UserError where the file cannot be read or ends too soon.
    """
    kind = ""
    try:
        kind = compression(path)
        with _unpacked(path, kind) as file:
            start = file.peek(4)[:4]  # type: ignore[attr-defined]
            for mark, name in _BOMS:
                if start.startswith(mark):
                    file.read(len(mark))
                    encoding = name
                    break
            if codecs.lookup(encoding).name == "utf-8":
                yield file
            else:
                yield io.BufferedReader(_AsUtf8(file, encoding), _CHUNK)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        remedy = "; it is damaged or was cut off: copy it again" if kind else ""
        raise UserError(f"{path} cannot be read: {error}{remedy}.") from error


def _unpacked(path: Path, kind: str) -> IO[bytes]:
    if kind == "gzip":
        return io.BufferedReader(gzip.open(path, "rb"), _CHUNK)
    if kind == "bzip2":
        return io.BufferedReader(bz2.open(path, "rb"), _CHUNK)
    if kind == "xz":
        return io.BufferedReader(lzma.open(path, "rb"), _CHUNK)
    if kind == "zstd":
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), _CHUNK)
    return open(path, "rb")


def plain_suffix(path: Path) -> str:
    """The ending of a name without that of its compression, in lower case: ".csv" of ratings.CSV.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _NAMED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def first_bytes(path: Path, number: int) -> bytes:
    """The beginning of a file, unpacked, in the encoding that it has. UserError where it cannot be read."""
    kind = ""
    try:
        kind = compression(path)
        with _unpacked(path, kind) as file:
            return file.read(number)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        remedy = "; it is damaged or was cut off: copy it again" if kind else ""
        raise UserError(f"{path} cannot be read: {error}{remedy}.") from error
