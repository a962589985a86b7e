"""Public data sets by name: which of their files are what, and which of their columns mean something else than they say.

All are read as one's own tables are, with the same guesses, checks and report. The files are not shipped or fetched.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.data.records.tables import Records
from p5t5.data.sources import movielens, table
from p5t5.data.sources.opening import open_bytes
from p5t5.data.sources.options import KnownOptions, TableOptions, one_path
from p5t5.data.sources.staging import is_remote, local_files, members, scratch_file


@dataclass(frozen=True)
class KnownSource:
    """``interactions``, ``items``, ``users``: patterns for names of files, the first that is there counts.

    ``options``: what is said of them, as fields of TableOptions. ``several``: all files that match are interactions.
    ``convert``: pattern → a function that rewrites such a file.
    """

    title: str
    interactions: tuple[str, ...]
    items: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    several: bool = False
    convert: Mapping[str, Callable[[Path], Path]] = field(default_factory=dict)
    licence: str = ""

    @property
    def about(self) -> str:
        """For the list of sources."""
        return f"{self.title}: the folder, the archive, or the file of interactions"


def _film_titles(path: Path) -> Path:
    """Netflix' movie_titles (id, year, a title that may hold commas) with a header and quotes."""
    target = scratch_file(path.name, ".csv")
    with open_bytes(path, "cp1252") as source, open(target, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("movie_id", "year", "title"))
        for line in source:
            if line.strip():
                writer.writerow(line.decode("utf-8", "replace").rstrip("\r\n").split(",", 2))
    return target


def _films(path: Path) -> Path:
    """GroupLens' u.item: its nineteen flags as genres."""
    target = scratch_file(path.name, ".csv")
    with open_bytes(path, "cp1252") as source, open(target, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("item_id", "title", "genres"))
        for line in source:
            cells = line.decode("utf-8", "replace").rstrip("\r\n").split("|")
            if len(cells) >= 24:
                flags = zip(movielens.GENRES, cells[-19:], strict=True)
                writer.writerow((*cells[:2], "|".join(name for name, flag in flags if flag == "1")))
    return target


KNOWN: dict[str, KnownSource] = {
    "movielens": KnownSource(
        "MovieLens 100K, 1M, 10M, 20M, 25M, 32M and latest",
        (r"ratings\.(?:csv|dat)", r"u\.data"),
        (r"movies\.(?:csv|dat)", r"u\.item"),
        (r"users\.dat", r"u\.user"),
        convert={r"u\.item": _films},
        licence=movielens.LICENCE,
    ),
    "recbole": KnownSource(
        "RecBole's atomic files", (r".*\.inter",), (r".*\.item",), (r".*\.user",)
    ),
    "goodreads": KnownSource(
        "Goodreads (UCSD): interactions or reviews, and books",
        (r"goodreads_reviews.*\.json.*", r"goodreads_interactions.*\.(?:json|csv).*", r"interactions.*", r"reviews.*"),
        (r"goodreads_books.*", r"books.*"),
        options={"missing_rating": "0", "user": "user_id", "item": "book_id"},
    ),
    "yelp": KnownSource(
        "Yelp's reviews and businesses",
        (r"(?:yelp_academic_dataset_)?review\.json.*",),
        (r"(?:yelp_academic_dataset_)?business\.json.*",),
        options={"user": "user_id", "item": "business_id", "attributes": "city,categories"},
    ),
    "steam": KnownSource(
        "Steam's reviews or users' items (UCSD), and games",
        (r"(?:australian_)?(?:steam|user)_?(?:new|reviews).*", r"australian_users_items.*", r"steam\.json.*"),
        (r"steam_games.*",),
        options={"rating": "none"},
    ),
    "lastfm": KnownSource(
        "Last.fm 1K, 360K (artists by their names) and HetRec 2K",
        (r"userid-timestamp-artid-artname-traid-traname\.tsv.*", r"usersha1-artmbid-artname-plays\.tsv.*", r"user_artists\.dat"),
        (r"artists\.dat",),
        (r"usersha1-profile\.tsv.*", r"userid-profile\.tsv.*"),
        options={"rating": "none"},
    ),
    "book-crossing": KnownSource(
        "Book-Crossing: ratings, books and users",
        (r"(?:bx-)?(?:book-)?ratings\.csv.*",),
        (r"(?:bx-)?books\.csv.*",),
        (r"(?:bx-)?users\.csv.*",),
        options={"missing_rating": "0"},
    ),
    "netflix": KnownSource(
        "the Netflix prize: combined_data_*.txt or training_set/mv_*.txt",
        (r"combined_data_\d+\.txt.*", r"mv_\d+\.txt"),
        (r"movie_titles\.(?:csv|txt)",),
        several=True,
        convert={r"movie_titles\..*": _film_titles},
    ),
}  # fmt: skip


def reader(name: str) -> Callable[[KnownOptions], Records]:
    """The function that reads a known source with the options of `p5t5 prepare NAME`."""
    return lambda options: read(KNOWN[name], options)


def read(source: KnownSource, options: KnownOptions) -> Records:
    """The records of a folder, an archive or a file of a known source. Raises UserError where its files are not there."""
    raw = one_path(options.raw)
    found = _parts(source, raw)
    said = dict(source.options)
    if source is KNOWN["lastfm"] and "user_artists" not in found["interactions"][0].name:
        said["item"] = "artist"
    fields = {entry.name for entry in dataclasses.fields(TableOptions)}
    shared = {
        entry.name: getattr(options, entry.name)
        for entry in dataclasses.fields(options)
        if entry.name in fields
    }
    shared |= {name: value for name, value in said.items() if name in fields}
    for name in ("items", "users"):
        shared[name] = str(found[name][0]) if found[name] else None
    shared["raw"] = [str(path) for path in found["interactions"]]
    shared["name"] = options.name or PurePosixPath(raw.rstrip("/")).name.split(".")[0]
    records = table.read_source(TableOptions(**shared))
    info = {**records.info, "source": f"{source.title}: {records.info['source']}"}
    if source.licence:
        info["licence"] = source.licence
    items = records.items
    if said.get("item") == "artist":  # items are named by what they are called
        items = items.assign(title=[clean_text(item_id) for item_id in items["item_id"]])
    return dataclasses.replace(records, items=items, info=info)


def _parts(source: KnownSource, raw: str) -> dict[str, list[Path]]:
    """The local files of each part; an archive is unpacked where it must be."""
    path = local_files(raw)[0] if is_remote(raw) else Path(raw)
    names = members(path)
    if not names:
        if not path.exists():
            raise UserError(f"--raw: there is no file or folder {raw}.")
        names = sorted(file.name for file in path.parent.iterdir() if file.is_file())
        beside = _matching(source.interactions, [path.name]) or [path.name]
        chosen = {
            "interactions": beside,
            "items": _matching(source.items, names),
            "users": _matching(source.users, names),
        }
        path = path.parent
    else:
        chosen = {
            part: _matching(getattr(source, part), names) for part in ("interactions", "items", "users")
        }
    if not chosen["interactions"]:
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise UserError(f"{raw}: no file of {source.title}; in it are {shown}. Name the file itself.")
    if not source.several and len(chosen["interactions"]) > 1:
        raise UserError(
            f"{raw}: {len(chosen['interactions'])} files could be the interactions "
            f"({', '.join(chosen['interactions'][:6])}); name one with --raw."
        )
    files = {part: [local_files(path / name)[0] for name in found] for part, found in chosen.items()}
    for part in ("items", "users"):
        files[part] = [_converted(source, file) for file in files[part][:1]]
    return files


def _matching(patterns: tuple[str, ...], names: list[str]) -> list[str]:
    """The files that match the first pattern that any matches."""
    for pattern in patterns:
        found = [name for name in names if re.fullmatch(pattern, PurePosixPath(name).name, re.IGNORECASE)]
        found = [name for name in found if "__MACOSX" not in name]
        if found:
            return found
    return []


def _converted(source: KnownSource, path: Path) -> Path:
    for pattern, convert in source.convert.items():
        if re.fullmatch(pattern, path.name, re.IGNORECASE):
            return convert(path)
    return path
