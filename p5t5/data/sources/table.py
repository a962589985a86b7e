"""Your own tables: CSV, TSV, Parquet or JSON lines; which column is which is guessed unless it is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import TEXT_COLUMNS, Records
from p5t5.data.sources.collecting import Collector
from p5t5.data.sources.column_inference import NONE, OPTIONS, Guess, existing, guess_columns
from p5t5.data.sources.column_names import NAMES
from p5t5.data.sources.column_styles import ValueOptions, file_style, parsed_values, rating_scale
from p5t5.data.sources.dialects import DialectOptions
from p5t5.data.sources.files import DataFile, find_files, open_file, side_reader
from p5t5.data.sources.id_spelling import normalizer
from p5t5.data.sources.options import TableOptions
from p5t5.data.sources.rating_scales import PLAIN
from p5t5.data.sources.side_tables import TRIPLES, Beside, columns_of_items, side_table, triples_table

COLUMNS = (*OPTIONS, "title", *TRIPLES)  # ours; all that can be named


def read(
    interactions: str | Path | Sequence[str | Path],
    items: str | Path | None = None,
    users: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    separator: str | None = None,
    all_items: bool = False,
    *,
    triples: str | Path | None = None,
    header: Sequence[str] | None = None,
    dialect: DialectOptions | None = None,
    rating_step: float | None = None,
    sample_users: int | None = None,
    seed: int = 0,
    values: ValueOptions | None = None,
    normalize_ids: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
) -> Records:
    """One or more files (globs too) of interactions, and tables of items, users and facts beside them.

    ``columns``: our name → the file's, where it is not to be guessed; ``{"rating": "none"}`` leaves it out.
    ``values``: how times and ratings are written, where it is not to be guessed. ``normalize_ids``: kinds of spelling
    that are made alike (`id_spelling.KINDS`). ``attributes``: names of the item table's columns that are kept, None for
    all but averages over all interactions; other columns of the interactions are not read.

    The interactions are read a piece at a time: memory holds the rows that are kept (a few numbers each, and
    their texts). Rows that cannot be used are counted in ``info["dropped"]``, their first places in
    ``info["problems"]``; ``info["columns"]`` and ``info["notes"]`` say what was taken for what.
    Raises UserError where a file cannot be read or nothing in it can be used.
    """
    columns = dict(columns or {})
    for ours in columns:
        if ours not in COLUMNS:
            raise UserError(f"--columns: there is no column {ours!r} here; there are {', '.join(COLUMNS)}.")
    if rating_step is not None and not 0 < rating_step < float("inf"):
        raise UserError("--rating_step must be above 0.")
    normalize = normalizer(normalize_ids) if normalize_ids else None
    paths = find_files([interactions] if isinstance(interactions, (str, Path)) else interactions)
    files = [open_file(path, separator, header, dialect) for path in paths]
    guesses, remarks, unused = _guessed(files[0], columns, items is None)
    remarks[:0] = dict.fromkeys(note for file in files for note in file.notes)
    collector = Collector(sample_users, seed, normalize)
    style_notes = _collect(collector, files, guesses, values or ValueOptions())
    names = [path.name for path in paths]
    shown = names if len(names) < 4 else [names[0], f"… {names[-1]} ({len(names)} files)"]
    table, notes = collector.finish(", ".join(shown), rating_step)
    beside = Beside(
        table, columns, guesses, paths, side_reader(paths, separator, header, dialect), normalize, attributes
    )
    item_table = None if items is None else side_table(items, "item_id", beside)
    user_table = None if users is None else side_table(users, "user_id", beside)
    facts = None if triples is None else triples_table(triples, beside)
    info: dict[str, Any] = {
        "source": f"tables {', '.join([*shown, *(Path(f).name for f in (items, users, triples) if f is not None)])}",
        "steps": collector.steps(),
        "dropped": collector.problems.dropped(),
        "problems": collector.problems.facts(),
        "columns": {ours: f"{guess.theirs} ({guess.why})" for ours, guess in guesses.items()},
        "notes": [*notes, *style_notes, *beside.notes, *remarks]
        + ([f"columns not read: {', '.join(unused)}"] if unused else []),
        "rows_read": collector.rows_read,
    }
    name = name or paths[0].name.split(".")[0]
    beside.interactions = pd.DataFrame()
    frames, table = [table], pd.DataFrame()  # let go of: make_records frees the columns as it goes
    pa.default_memory_pool().release_unused()
    return make_records(name, frames.pop(), item_table, user_table, facts, info=info, all_items=all_items)


def _guessed(
    file: DataFile, columns: Mapping[str, str], no_items: bool
) -> tuple[dict[str, Guess], list[str], list[str]]:
    """What the columns are, remarks on those that were not taken, and the columns that are not read."""
    sample = file.sample()
    named = {ours: theirs for ours, theirs in columns.items() if ours in OPTIONS}
    try:
        guesses, remarks = guess_columns(sample, named, file.path.name)
    except UserError as error:  # what the file's shape may have to do with it
        raise UserError(f"{error} {file.hint(sample)}".rstrip()) from None
    unused = [theirs for theirs in file.names if theirs not in {guess.theirs for guess in guesses.values()}]
    if no_items and (told := columns_of_items(sample, guesses["item_id"].theirs, unused)):
        remarks.append(f"{', '.join(told)}: of the items (title, attributes)? add --items {file.path}")
    return guesses, remarks, unused


def _collect(
    collector: Collector, files: Sequence[DataFile], guesses: Mapping[str, Guess], values: ValueOptions
) -> list[str]:
    """Reads the files into the collector; notes on how their times and ratings are written."""
    theirs = {ours: guess.theirs for ours, guess in guesses.items()}
    for file in files:
        for ours, column in theirs.items():
            existing(column, file.names, file.path.name, OPTIONS[ours])
    scale = rating_scale(files, theirs["rating"], values) if "rating" in theirs else PLAIN
    notes = [note for note in (scale.note(),) if note]
    short = [column for ours, column in theirs.items() if ours not in TEXT_COLUMNS]
    repeated = [column for ours, column in theirs.items() if ours in ("user_id", "item_id", "rating")]
    for file in files:
        style = file_style(file, theirs, scale, values)
        notes += [f"{file.path.name}: {note}" if len(files) > 1 else note for note in style.notes]
        for batch in file.batches(list(theirs.values()), short, repeated):
            collector.add(batch, file.path, theirs, style)
            collector.problems.refuse_if_most(collector.rows_read, least=100_000)
        collector.end_file(file.path, theirs.get("timestamp"), style)
    collector.problems.refuse_if_most(collector.rows_read)
    return list(dict.fromkeys(notes))


assert set(NAMES) == set(COLUMNS)


def read_source(options: TableOptions) -> Records:
    """``read`` with the options of `p5t5 prepare table`."""
    if not options.raw:
        raise UserError("which file? `p5t5 prepare table FILE --out DIR`; see `p5t5 prepare table --help`.")
    columns = _mapping(options.columns)
    named = {ours: getattr(options, option.lstrip("-")) for ours, option in OPTIONS.items()}
    return read(
        options.raw,
        options.items,
        options.users,
        columns | {ours: theirs for ours, theirs in named.items() if theirs},
        options.name,
        all_items=options.all_items,
        triples=options.triples,
        dialect=options.dialect(),
        rating_step=options.rating_step,
        sample_users=options.sample_users,
        seed=options.seed,
        values=parsed_values(
            options.time_format, options.rating_levels, options.missing_rating, options.missing_time
        ),
        normalize_ids=(options.normalize_ids or "").split(","),
        attributes=_names(options.attributes),
    )


def _names(text: str | None) -> list[str] | None:
    """ "none" → [], "genre,year" → both, None → None."""
    if text is None:
        return None
    return [] if text == NONE else [name.strip() for name in text.split(",") if name.strip()]


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"--columns: {pair!r} is not OURS=THEIRS, as in user_id=member.")
        columns[ours] = theirs
    return columns
