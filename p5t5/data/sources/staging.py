"""What a user names → local files: globs, members of archives, sheets of Excel files, and what fsspec reaches."""

from __future__ import annotations

import atexit
import glob
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from p5t5.core.errors import UserError
from p5t5.data.sources.excel import is_workbook, sheet_as_csv
from p5t5.data.sources.opening import compression

_NO_TABLES = ("readme", "license", "licence", "changelog", "manifest", "__macosx", ".ds_store", "checksum")


@cache
def _scratch() -> Path:
    """A folder of this process, gone when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="p5t5-files-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def scratch_file(name: str, suffix: str = "") -> Path:
    """A new path whose last part is ``name`` (with another ending, where one is given)."""
    folder = Path(tempfile.mkdtemp(dir=_scratch()))
    return folder / (Path(name).stem + suffix if suffix else name)


def is_remote(named: str | Path) -> bool:
    """Whether it names something that fsspec reaches: hf://…, s3://…, https://…"""
    return isinstance(named, str) and "://" in named


def local_files(named: str | Path) -> list[Path]:
    """The local files of a name: itself, what a glob matches, an archive's member (``FILE.zip/MEMBER``), a fetched copy.

    A name always becomes the same files. Raises UserError where there is none, or an archive holds several tables.
    """
    if is_remote(named):
        return [_unpacked(path, "") for path in _fetched(str(named))]
    path = Path(named)
    if path.exists():
        return [_unpacked(path, "")]
    for parent in path.parents:
        if parent.is_file():
            return [_unpacked(parent, str(path.relative_to(parent)))]
    if not glob.has_magic(str(named)):
        return [path]
    matches = sorted(Path(match) for match in glob.glob(str(named), recursive=True))
    if not matches:
        raise UserError(f"no file matches {named}.")
    return [_unpacked(match, "") for match in matches]


@cache
def _fetched(url: str) -> tuple[Path, ...]:
    import fsspec

    try:
        filesystem, place = fsspec.core.url_to_fs(url)
        found = (
            sorted(filesystem.glob(place))
            if glob.has_magic(place) and not url.startswith("http")
            else [place]
        )
        if not found:
            raise UserError(f"no file matches {url}.")
        copies = []
        for remote in found:
            copy = scratch_file(PurePosixPath(str(remote).split("?")[0]).name or "download")
            filesystem.get_file(remote, str(copy))
            if not copy.is_file():
                raise UserError(f"{url} is a folder; name the files in it, as in {url.rstrip('/')}/*.csv.")
            copies.append(copy)
        return tuple(copies)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"{url} needs another package: {error}.") from error
    except Exception as error:  # each file system has its own kinds of errors
        raise UserError(f"{url} cannot be fetched: {type(error).__name__}: {error}.") from error


@cache
def _unpacked(path: Path, member: str) -> Path:
    """The table in an archive or workbook; the path itself for any other file."""
    if not path.is_file():
        return path
    if zipfile.is_zipfile(path) and path.open("rb").read(2) == b"PK":
        if is_workbook(path):
            return sheet_as_csv(path, member, scratch_file(path.name, ".csv"))
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            return _extracted(path, member, names, lambda name: archive.open(name))
    if _is_tar(path):
        with tarfile.open(path) as tar:
            names = [entry.name for entry in tar.getmembers() if entry.isfile()]
            return _extracted(path, member, names, lambda name: tar.extractfile(name))  # type: ignore[arg-type, return-value]
    if member:
        raise UserError(f"there is no file {path / member}: {path} is neither a folder nor an archive.")
    return path


def _is_tar(path: Path) -> bool:
    named = path.name.lower().endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"))
    try:
        return (named or bool(compression(path) == "" and path.stat().st_size >= 512)) and tarfile.is_tarfile(
            path
        )
    except (OSError, EOFError):
        return False


def _extracted(path: Path, member: str, names: list[str], opened: Callable[[str], IO[bytes]]) -> Path:
    """The member as a file of its own."""
    tables = [name for name in names if not any(word in name.lower() for word in _NO_TABLES)]
    found = [name for name in tables if name == member or name.endswith("/" + member)] if member else tables
    if len(found) != 1:
        shown = ", ".join(tables[:12]) + (", …" if len(tables) > 12 else "")
        what = f"no {member}" if member and not found else f"{len(found) or 'no'} files"
        example = tables[0] if tables else "MEMBER"
        raise UserError(
            f"{path} holds {what}; in it are {shown or 'none'}. Name one, as in {path}/{example}."
        )
    copy = scratch_file(PurePosixPath(found[0]).name)
    try:
        with opened(found[0]) as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise UserError(f"{path}: {found[0]} cannot be unpacked: {error}.") from error
    return _unpacked(copy, "")


def from_python(value: Any, name: str = "data") -> Path:
    """A table of Python (a ``datasets.Dataset``, a pandas DataFrame, an Arrow table) as a Parquet file of this process.

    Raises UserError for anything else, and for a DatasetDict, which holds several tables.
    """
    path = scratch_file(f"{name}.parquet")
    if isinstance(value, Mapping) and value and all(hasattr(part, "to_parquet") for part in value.values()):
        raise UserError(
            f"there are several tables ({', '.join(map(str, value))}); give one, as in data[{next(iter(value))!r}]."
        )
    try:
        if isinstance(value, pa.Table):
            pq.write_table(value, path)
        elif isinstance(value, pd.DataFrame):
            value.to_parquet(path, index=False)
        elif hasattr(value, "to_parquet"):
            value.to_parquet(str(path))
        else:
            raise UserError(
                f"a {type(value).__name__} is no table; give a path, a datasets.Dataset, a DataFrame or an Arrow table."
            )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UserError(f"the {type(value).__name__} cannot be written as Parquet: {error}") from error
    return path


def members(path: Path) -> list[str]:
    """The names of the files in a folder (relative to it), or in an archive; [] for anything else."""
    if path.is_dir():
        return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return sorted(entry.filename for entry in archive.infolist() if not entry.is_dir())
    if path.is_file() and _is_tar(path):
        with tarfile.open(path) as tar:
            return sorted(entry.name for entry in tar.getmembers() if entry.isfile())
    return []
