"""Your own tables: CSV, TSV, Parquet or JSON lines; which column is which is guessed unless it is said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import TEXT_COLUMNS, Records
from p5t5.data.sources.cells import has_decimal_commas
from p5t5.data.sources.collecting import Collector
from p5t5.data.sources.column_inference import (
    NAMES,
    OPTIONS,
    Guess,
    by_name,
    existing,
    guess_columns,
    plain_name,
)
from p5t5.data.sources.dialects import DialectOptions
from p5t5.data.sources.dropped_rows import FEW
from p5t5.data.sources.files import DataFile, find_files, open_file, read_table
from p5t5.data.sources.options import TableOptions
from p5t5.data.sources.staging import local_files

COLUMNS = (*OPTIONS, "title", "head", "relation", "tail")  # ours; all that can be named
_TRIPLES = ("head", "relation", "tail")


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
) -> Records:
    """One or more files (globs too) of interactions, and tables of items, users and facts beside them.

    ``columns``: our name → the file's, where it is not to be guessed; ``{"rating": "none"}`` leaves it out.
    Other columns of the item and user tables are attributes; other columns of the interactions are not read.
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
    paths = find_files([interactions] if isinstance(interactions, (str, Path)) else interactions)
    collector = Collector(sample_users, seed)
    guesses: dict[str, Guess] = {}
    decimal_comma = False
    unused: list[str] = []
    remarks: list[str] = []
    for path in paths:
        file = open_file(path, separator, header, dialect)
        remarks += [note for note in file.notes if note not in remarks]
        if not guesses:
            named = {ours: theirs for ours, theirs in columns.items() if ours in OPTIONS}
            sample = file.sample()
            guesses, found = _guessed(file, sample, named)
            remarks += found
            unused = [theirs for theirs in file.names if theirs not in {g.theirs for g in guesses.values()}]
            if items is None and (told := _of_items(sample, guesses["item_id"].theirs, unused)):
                remarks.append(f"{', '.join(told)}: of the items (title, attributes)? add --items {path}")
            decimal_comma = "rating" in guesses and has_decimal_commas(sample[guesses["rating"].theirs])
        theirs = {ours: guess.theirs for ours, guess in guesses.items()}
        for ours, column in theirs.items():
            existing(column, file.names, path.name, OPTIONS[ours])
        short = [column for ours, column in theirs.items() if ours not in TEXT_COLUMNS]
        repeated = [column for ours, column in theirs.items() if ours in ("user_id", "item_id", "rating")]
        for batch in file.batches(list(theirs.values()), short, repeated):
            collector.add(batch, path, theirs, decimal_comma)
            collector.problems.refuse_if_most(collector.rows_read, least=100_000)
    collector.problems.refuse_if_most(collector.rows_read)
    files = [path.name for path in paths]
    shown = files if len(files) < 4 else [files[0], f"… {files[-1]} ({len(files)} files)"]
    table, notes = collector.finish(", ".join(shown), rating_step)
    about = (columns, guesses, separator, paths, notes)
    item_table = None if items is None else _side_table(items, "item_id", *about)
    user_table = None if users is None else _side_table(users, "user_id", *about)
    facts = None if triples is None else _triples(triples, columns, separator)
    info: dict[str, Any] = {
        "source": f"tables {', '.join([*shown, *(Path(f).name for f in (items, users, triples) if f is not None)])}",
        "steps": collector.steps(),
        "dropped": collector.problems.dropped(),
        "problems": collector.problems.facts(),
        "columns": {ours: f"{guess.theirs} ({guess.why})" for ours, guess in guesses.items()},
        "notes": [*notes, *remarks, *([f"columns not read: {', '.join(unused)}"] if unused else [])],
        "rows_read": collector.rows_read,
    }
    name = name or paths[0].name.split(".")[0]
    frames, table = [table], pd.DataFrame()  # let go of: make_records frees the columns as it goes
    pa.default_memory_pool().release_unused()
    return make_records(name, frames.pop(), item_table, user_table, facts, info=info, all_items=all_items)


def _guessed(
    file: DataFile, sample: Mapping[str, Sequence[Any]], named: Mapping[str, str]
) -> tuple[dict[str, Guess], list[str]]:
    """``guess_columns``, its UserError with what the file's shape may have to do with it."""
    try:
        return guess_columns(sample, named, file.path.name)
    except UserError as error:
        raise UserError(f"{error} {file.hint(sample)}".rstrip()) from None


def _side_table(
    path: str | Path,
    key: str,
    columns: Mapping[str, str],
    guesses: Mapping[str, Guess],
    separator: str | None,
    interactions: Sequence[Path],
    notes: list[str],
) -> pd.DataFrame:
    """A table of items or users with our names for its id and title; what was taken for them goes to the notes.

    ``guesses``: what the columns of the interactions are.
    """
    (path,) = local_files(path)
    table = read_table(path, separator)
    notes += table.attrs["notes"]
    names = [str(name) for name in table.columns]
    guess, one_file = guesses[key], any(path.samefile(file) for file in interactions)
    of_rows = [
        name for name in names if one_file and name in {g.theirs for g in guesses.values()} - {guess.theirs}
    ]
    renamed: dict[str, str] = {}  # theirs → ours
    for ours in (key, "title") if key == "item_id" else (key,):
        free = [name for name in names if name not in renamed]
        plain = {plain_name(name): name for name in free}
        theirs = by_name(ours, [name for name in free if name not in of_rows])
        if ours == key:
            # The interactions may have another name for it than this table. A name of theirs that was told by
            # what is in them says more than a name that we know; of two that we know the likelier counts.
            same = guess.theirs if guess.theirs in free else None
            theirs = (theirs or same if guess.why == "by its name" else same or theirs) or plain.get("id")
        elif "title" in columns:
            theirs = existing(columns["title"], free, path.name, "--columns title=")
        elif theirs is None and _is_short(table[plain["description"]] if "description" in plain else ()):
            theirs = plain["description"]  # what shops call a product
        elif theirs is None and ours == "title" and not one_file:
            theirs = _only_name(table, free)
        if theirs is None and ours == key:
            raise UserError(
                f"{path.name}: which column is {key}? There are {', '.join(names)}. "
                f"Call it {key}, or as in the interactions."
            )
        if theirs is not None:
            renamed[theirs] = ours
    others = [name for name in names if name not in renamed]
    if one_file:  # what is of a row (its rating, say) would tell the model of test rows
        of_rows = [name for name in of_rows if name in others]
        of_rows += _differing(table, next(iter(renamed)), [name for name in others if name not in of_rows])
        table, others = table.drop(columns=of_rows), [name for name in others if name not in of_rows]
        if of_rows:
            told = ", ".join(of_rows)
            notes.append(f"{path.name}: of its rows, so no attributes of {key.removesuffix('_id')}s: {told}")
        if key == "item_id" and "title" not in renamed.values():
            theirs = _only_name(
                table.drop_duplicates(next(iter(renamed))), others
            )  # an item has many rows here
            if theirs is not None:
                renamed[theirs] = "title"
                others.remove(theirs)
    told = ", ".join(f"{ours} = {theirs}" for theirs, ours in renamed.items())
    notes.append(f"{path.name}: {told}" + (f"; attributes: {', '.join(others)}" if others else ""))
    # A column of ours that another one replaces would otherwise be there twice.
    table = table.drop(columns=[ours for theirs, ours in renamed.items() if ours in table and ours != theirs])
    return table.rename(columns=renamed)


def _differing(table: pd.DataFrame, key: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that have two values for one key."""
    groups = pd.factorize(table[key].astype(str))[0]
    firsts = {name: table[name].astype(str).groupby(groups).transform("first") for name in names}
    return [name for name, first in firsts.items() if (table[name].astype(str) != first).any()]


def _is_short(texts: Iterable[Any]) -> bool:
    """Whether most are at most as long as a title."""
    lengths = sorted(len(str(text)) for text in texts)
    return bool(lengths) and lengths[len(lengths) // 2] <= 80


def _only_name(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The one column of short texts that differ from row to row; None for none or several, and for few rows."""
    fitting = []
    for name in names if len(table) >= FEW else ():
        texts = [text for text in table[name] if isinstance(text, str) and text]
        spoken = [
            text
            for text in texts
            if re.search(r"[^\W\d_]{3}", text) and "://" not in text and "@" not in text
        ]
        if len(spoken) >= 0.9 * len(table) and len(set(spoken)) >= 0.9 * len(spoken) and _is_short(spoken):
            fitting.append(name)
    return fitting[0] if len(fitting) == 1 else None


def _of_items(sample: Mapping[str, Sequence[Any]], item: str, unused: Sequence[str]) -> list[str]:
    """Those of ``unused`` that say the same of an item in each of its first rows, and not of all items."""
    table = pd.DataFrame(
        {name: pd.Series(sample[name], dtype=object).astype(str) for name in (item, *unused)}
    )
    if len(table) - table[item].nunique() < FEW:
        return []
    varied = [name for name in unused if table[name].nunique() > 1]
    differing = set(_differing(table, item, varied))
    return [name for name in varied if name not in differing]


def _triples(path: str | Path, columns: Mapping[str, str], separator: str | None) -> pd.DataFrame:
    """head (an item's id), relation, tail: by their names, or the three columns that there are, in that order."""
    (path,) = local_files(path)
    table = read_table(path, separator)
    names = [str(name) for name in table.columns]
    found: dict[str, str] = {}
    for ours in _TRIPLES:
        free = [name for name in names if name not in found.values()]
        if ours in columns:
            found[ours] = existing(columns[ours], free, path.name, f"--columns {ours}=")
        elif (theirs := by_name(ours, free)) is not None:
            found[ours] = theirs
    if len(found) < 3:
        if len(names) != 3 or any(ours in columns for ours in _TRIPLES):
            raise UserError(
                f"{path.name}: a table of facts has the columns head (an item's id), relation and tail; "
                f"there are {', '.join(names)}. Say which is which with --columns head=NAME relation=NAME tail=NAME."
            )
        found = dict(zip(_TRIPLES, names, strict=True))
    return pd.DataFrame({ours: table[found[ours]] for ours in _TRIPLES})


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
    )


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"--columns: {pair!r} is not OURS=THEIRS, as in user_id=member.")
        columns[ours] = theirs
    return columns
