"""MovieLens-100K: from the copy inside PyPI's ``recbole`` wheel, or from GroupLens' own files.

F. M. Harper and J. A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM TiiS 5, 4.
Research use only, no commercial use, no redistribution: the data are fetched, never shipped.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import Records
from p5t5.data.sources.options import MovieLensOptions, one_path

WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
LICENCE = "GroupLens: research use, no commercial use, no redistribution; cite Harper and Konstan 2015."
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

_YEAR_AT_END = re.compile(r"\((\d{4})\)(?: \(V\))?\s*$")
_ReadFile = Callable[[str], str | None]  # a file's text by the end of its path, None where there is none


def read(raw: str | Path | None = None) -> Records:
    """MovieLens-100K: 943 users, 1,682 films, 100,000 ratings (1 to 5) with times.

    ``raw`` is the recbole wheel, GroupLens' ml-100k.zip, or a folder with the files of either; without
    it the wheel is taken from the cache (``$P5T5_CACHE``, else ~/.cache/p5t5) or downloaded by pip.
    """
    path = fetch_wheel() if raw is None else Path(raw)
    files = _reader(path)
    if (text := files("u.data")) is not None:
        interactions, items, users = _grouplens(text, files)
        source = "MovieLens-100K, GroupLens' files (u.data, u.item, u.user)"
    elif (text := files("ml-100k.inter")) is not None:
        interactions, items, users = _recbole(text, files)
        source = f"MovieLens-100K, as in PyPI's {WHEEL}"
    else:
        raise UserError(
            f"{path}: neither u.data nor ml-100k.inter is in it; name ml-100k.zip or the recbole wheel."
        )
    return make_records("ml-100k", interactions, items, users, info={"source": source, "licence": LICENCE})


def fetch_wheel() -> Path:
    """The pinned wheel in the cache; downloaded there first if need be (never installed)."""
    cache = Path(os.environ.get("P5T5_CACHE") or Path.home() / ".cache" / "p5t5")
    path = cache / WHEEL
    if path.is_file() and _sha256(path) == WHEEL_SHA256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as partial:
        name, version = WHEEL.split("-")[:2]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--quiet", "--dest", partial, f"{name}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        found = Path(partial) / WHEEL
        if done.returncode or not found.is_file():
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise UserError(
                f"MovieLens-100K: pip could not download {name}=={version} ({reason}); "
                "check the network, or name your own copy with --raw DIR_OR_ZIP."
            )
        if _sha256(found) != WHEEL_SHA256:
            raise UserError(
                f"MovieLens-100K: the downloaded {WHEEL} has another SHA-256 than pinned; it is not used."
            )
        os.replace(found, path)
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _reader(path: Path) -> _ReadFile:
    """Files of a zip (a wheel is one) or of a folder and its subfolders, by the end of their path."""
    if path.is_dir():
        names = {str(found.relative_to(path)): found for found in sorted(path.rglob("*")) if found.is_file()}
        contents: Callable[[str], bytes] = lambda name: names[name].read_bytes()  # noqa: E731
    elif path.is_file() and zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        names = {name: Path(name) for name in sorted(archive.namelist())}
        contents = archive.read
    else:
        raise UserError(f"--raw: {path} is neither a folder nor a zip file.")

    def file_text(wanted: str) -> str | None:
        for name in names:
            if Path(name).name == wanted:
                data = contents(name)
                try:
                    return data.decode("utf-8")
                except UnicodeDecodeError:
                    return data.decode("latin-1")  # GroupLens' u.item
        return None

    return file_text


def _rows(text: str, separator: str, fewest: int, where: str) -> list[list[str]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        cells = line.split(separator)
        if len(cells) < fewest:
            raise UserError(f"{where}, line {number}: {len(cells)} fields where {fewest} are needed.")
        rows.append(cells)
    return rows


def _needed(files: _ReadFile, name: str) -> str:
    text = files(name)
    if text is None:
        raise UserError(f"MovieLens-100K: {name} is not beside the ratings; name the whole folder or zip.")
    return text


def _grouplens(text: str, files: _ReadFile) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    ratings = _rows(text, "\t", 4, "u.data")
    interactions = pd.DataFrame(
        [row[:4] for row in ratings], columns=["user_id", "item_id", "rating", "timestamp"]
    )
    films = []
    for row in _rows(_needed(files, "u.item"), "|", 24, "u.item"):
        genres = [genre for genre, flag in zip(GENRES, row[-19:], strict=True) if flag.strip() == "1"]
        year = _YEAR_AT_END.search(row[1])
        films.append((row[0], row[1].strip(), year.group(1) if year else "", _genres(genres)))
    people = [(row[0], row[1], row[2], row[3]) for row in _rows(_needed(files, "u.user"), "|", 4, "u.user")]
    return interactions, _items(films), _users(people)


def _recbole(text: str, files: _ReadFile) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    ratings = _rows(text, "\t", 4, "ml-100k.inter")[1:]
    interactions = pd.DataFrame(
        [row[:4] for row in ratings], columns=["user_id", "item_id", "rating", "timestamp"]
    )
    films = []
    for row in _rows(_needed(files, "ml-100k.item"), "\t", 4, "ml-100k.item")[1:]:
        title, year = row[1].strip(), row[2].strip()
        if year == "V":  # "… (1995) (V)", a video, was cut at its last bracket
            found = _YEAR_AT_END.search(title)
            title, year = f"{title} (V)", found.group(1) if found else ""
        elif year.isdigit():
            title = f"{title} ({year})"
        else:
            year = ""
        films.append((row[0], title, year, _genres(row[3].split(" "))))
    people = [tuple(row[:4]) for row in _rows(_needed(files, "ml-100k.user"), "\t", 4, "ml-100k.user")[1:]]
    return interactions, _items(films), _users(people)


def _genres(genres: list[str]) -> str:
    return ", ".join(genre for genre in genres if genre and genre != "unknown")


def _items(films: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(films, columns=["item_id", "title", "year", "genres"])


def _users(people: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(people, columns=["user_id", "age", "gender", "occupation"])


def read_source(options: MovieLensOptions) -> Records:
    """``read`` with the options of `p5t5 prepare ml-100k`."""
    return read(one_path(options.raw) if options.raw else None)
