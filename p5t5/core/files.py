"""Files that are written whole or not at all, folders whose content is not replaced unasked, and digests."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError

# A file that only finished work leaves → what a folder with it is.
MARKS = {
    "p5t5.json": "a p5t5 model",
    "interactions.parquet": "a data folder",
    "config.json": "a model",
    "model.safetensors": "a model",
    "tokenizer.json": "a tokenizer",
    "results.json": "results",
    "README.md": "a README",
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` (its folder is made) to write a file to, which takes its place at the end.

    Where the block raises, the temporary file is removed and ``path`` stays what it was. Its rights are kept; a new file
    gets the usual ones.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, and of this process; the suffix stays, for writers that go by it.
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        if path.exists():
            shutil.copymode(path, temporary)
        else:
            make_readable(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | Path, content: str | bytes) -> None:
    """Writes a text (as UTF-8, line ends as they are) or bytes to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def make_readable(path: str | Path) -> None:
    """The usual rights of a new file (0666 less the umask): some libraries write what nobody else may read (0600)."""
    os.chmod(path, 0o666 & ~_umask())


def _umask() -> int:
    """The process's umask; setting it, the other way to read it, would show in other threads' files."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("Umask:")).split()[1], 8)
    except (OSError, StopIteration):
        mask = os.umask(0o022)
        os.umask(mask)
        return mask


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text, by libyaml where it is built in (ten times as fast). Raises yaml.YAMLError."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def digest(content: str | bytes) -> str:
    """16 hex digits of BLAKE2b: tells contents apart; not against people who forge them."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def sha256(path: str | Path) -> str:
    """64 hex digits: the SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def finished_work(folder: str | Path) -> str | None:
    """What lies in ``folder`` that must not be replaced unasked, as in "a p5t5 model (p5t5.json)"; None if nothing does."""
    found = next((name for name in MARKS if (Path(folder) / name).exists()), None)
    return None if found is None else f"{MARKS[found]} ({found})"


def check_free(folder: str | Path, remedy: str) -> None:
    """UserError, which ends with the ``remedy``, where --out is a file or holds finished work."""
    if Path(folder).is_file():
        raise UserError(f"--out {folder} is a file: name a folder.")
    if work := finished_work(folder):
        raise UserError(f"--out {folder} holds {work} already: name another folder, or {remedy}.")
