"""Tables of items, users and facts beside the interactions: their columns, and whether their ids match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_id
from p5t5.data.sources.column_inference import Guess, existing
from p5t5.data.sources.column_names import by_name, plain_name
from p5t5.data.sources.dropped_rows import FEW
from p5t5.data.sources.files import read_table
from p5t5.data.sources.id_spelling import cause_of_misses
from p5t5.data.sources.item_links import item_links
from p5t5.data.sources.leaking_averages import leaking_columns
from p5t5.data.sources.staging import local_files

TRIPLES = ("head", "relation", "tail")
FULL_MATCH = 0.95  # below this share of matching ids the miss is reported


@dataclass
class Beside:
    """What a side table is joined to: the interactions that were read, and what the user said.

    ``columns``: our name → theirs, as named. ``guesses``: what the columns of the interactions are. ``files``: of the
    interactions. ``attributes``: None for all, else their names. ``notes``: what was taken for what is added here.
    """

    interactions: pd.DataFrame
    columns: Mapping[str, str]
    guesses: Mapping[str, Guess]
    files: Sequence[Path]
    read: Callable[[Path], pd.DataFrame] = read_table
    normalize: Callable[[str], str] | None = None
    attributes: Sequence[str] | None = None
    notes: list[str] = field(default_factory=list)

    def ids(self, key: str) -> list[str]:
        """The ids of the interactions, each once."""
        return self.interactions[key].cat.categories.tolist()

    def cleaned(self, values: Iterable[Any]) -> list[str]:
        """Ids of another table, written as those of the interactions are."""
        ids = [clean_id(value) or "" for value in values]
        return [self.normalize(text) if text else text for text in ids] if self.normalize else ids


def side_table(path: str | Path, key: str, beside: Beside) -> pd.DataFrame:
    """A table of items or users with our names for its id and title, its ids joined to those of the interactions.

    ``key``: "item_id" or "user_id". Columns that would tell of test rows are left out. Raises UserError where no
    column is the id, or no id of it is among those of the interactions.
    """
    (path,) = local_files(path)
    table = beside.read(path)
    beside.notes += table.attrs.get("notes", [])
    one_file = any(path.samefile(file) for file in beside.files)
    of_rows = [
        name for name in map(str, table.columns)
        if one_file and name in {guess.theirs for guess in beside.guesses.values()} - {beside.guesses[key].theirs}
    ]  # fmt: skip
    renamed = {_key_column(table, key, path, of_rows, beside): key}
    if key == "item_id" and (title := _title_column(table, path, [*renamed, *of_rows], one_file, beside)):
        renamed[title] = "title"
    others = [str(name) for name in table.columns if name not in renamed]
    if one_file:  # what is of a row (its rating, say) would tell the model of test rows
        first = next(iter(renamed))
        of_rows = [name for name in of_rows if name in others]
        of_rows += differing(table, first, [name for name in others if name not in of_rows])
        table, others = table.drop(columns=of_rows), [name for name in others if name not in of_rows]
        if of_rows:
            told = ", ".join(of_rows)
            beside.notes.append(
                f"{path.name}: of its rows, so no attributes of {key.removesuffix('_id')}s: {told}"
            )
        if key == "item_id" and "title" not in renamed.values():
            title = _only_name(table.drop_duplicates(first), others)  # an item has many rows here
            if title is not None:
                renamed[title] = "title"
                others.remove(title)
    # A column of ours that another one replaces would otherwise be there twice.
    table = table.drop(columns=[ours for theirs, ours in renamed.items() if ours in table and ours != theirs])
    table = table.rename(columns=renamed)
    table[key] = beside.cleaned(table[key])
    _check_match(table[key].tolist(), key, path, beside)
    table, others = _without_leaks(table, key, path, [name for name in others if name in table], beside)
    told = ", ".join(f"{ours} = {theirs}" for theirs, ours in renamed.items())
    beside.notes.insert(0 if key == "item_id" else len(beside.notes),
        f"{path.name}: {told}" + (f"; attributes: {', '.join(others)}" if others else ""))  # fmt: skip
    return table


def _key_column(table: pd.DataFrame, key: str, path: Path, of_rows: Sequence[str], beside: Beside) -> str:
    names = [str(name) for name in table.columns]
    guess = beside.guesses[key]
    plain = {plain_name(name): name for name in names}
    theirs = by_name(key, [name for name in names if name not in of_rows])
    # The interactions may have another name for it than this table. A name of theirs that was told by
    # what is in them says more than a name that we know; of two that we know the likelier counts.
    same = guess.theirs if guess.theirs in names else None
    theirs = (theirs or same if guess.why == "by its name" else same or theirs) or plain.get("id")
    ids = set(beside.ids(key))
    if theirs is None or ids.isdisjoint(beside.cleaned(table[theirs])):
        shares = {
            name: len(ids.intersection(beside.cleaned(table[name]))) for name in names if name not in of_rows
        }
        best = max(shares, key=lambda name: shares[name], default=None)
        if best is not None and shares[best] >= 0.5 * len(ids):
            if theirs is not None:
                beside.notes.append(
                    f"{path.name}: {best} holds the ids of the interactions, {theirs} does not"
                )
            theirs = best
    if theirs is None:
        raise UserError(
            f"{path.name}: which column is {key}? There are {', '.join(names)}. Call it {key}, or as in the interactions."
        )
    return theirs


def _title_column(
    table: pd.DataFrame, path: Path, taken: Sequence[str], one_file: bool, beside: Beside
) -> str | None:
    free = [str(name) for name in table.columns if name not in taken]
    if "title" in beside.columns:
        names = [str(name) for name in table.columns if name != taken[0]]
        return existing(beside.columns["title"], names, path.name, "--columns title=")
    if (theirs := by_name("title", free)) is not None:
        return theirs
    plain = {plain_name(name): name for name in free}
    if "description" in plain and _is_short(table[plain["description"]]):
        return plain["description"]  # what shops call a product
    return None if one_file else _only_name(table, free)


def _check_match(listed: Sequence[str], key: str, path: Path, beside: Beside) -> None:
    """UserError where no id matches; a note where some do not, each with the likely cause."""
    ids = beside.ids(key)
    what, option = ("items", "--items") if key == "item_id" else ("users", "--users")
    matched = len(set(ids).intersection(listed))
    if matched >= FULL_MATCH * len(ids):
        return
    there = set(listed)
    missing = next((text for text in ids if text not in there), "")
    other = next((text for text in listed if text), "")
    cause = cause_of_misses(ids, listed)
    if not matched:
        why = (
            cause
            or f"is it of another system, or the wrong column? Leave {option} out if the table is of other data"
        )
        raise UserError(
            f"{option} {path.name}: none of the {len(ids):,} {what} of the interactions is in it (there {missing!r}, "
            f"here {other!r}): {why}."
        )
    beside.notes.append(
        f"look at {path.name}: {len(ids) - matched:,} of {len(ids):,} {what} of the interactions are not in it, such as "
        f"{missing!r}" + (f"; {cause}" if cause else "")
    )


def _without_leaks(
    table: pd.DataFrame, key: str, path: Path, others: list[str], beside: Beside
) -> tuple[pd.DataFrame, list[str]]:
    """The table with the attributes that are wanted, and their names."""
    wanted = beside.attributes if key == "item_id" else None
    leaks = leaking_columns(table, key, beside.interactions)
    if wanted is None:
        links = item_links(table, key, others) if key == "item_id" else []
        if links:
            table, others = table.drop(columns=links), [name for name in others if name not in links]
            beside.notes.append(
                f"look at {path.name}: left out as ids of other items, which tell of everybody's interactions: "
                f"{', '.join(links)}; keep attributes with --attributes {','.join(links)}"
            )
        left_out = [name for name in others if name in leaks]
        if left_out:
            told = ", ".join(f"{name} ({leaks[name]})" for name in left_out)
            keep = f"; keep attributes with --attributes {','.join(left_out)}" if key == "item_id" else ""
            beside.notes.append(
                f"look at {path.name}: left out as averages or counts over all interactions, which hold the test rows: {told}{keep}"
            )
    else:
        chosen = [existing(name, others, path.name, "--attributes") for name in wanted]
        left_out = [name for name in others if name not in chosen]
        if kept := [name for name in chosen if name in leaks]:
            beside.notes.append(
                f"look at {path.name}: kept though they are averages or counts over all interactions: {', '.join(kept)}"
            )
    return table.drop(columns=left_out), [name for name in others if name not in left_out]


def differing(table: pd.DataFrame, key: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that have two values for one key."""
    groups = pd.factorize(table[key].astype(str))[0]
    firsts = {name: table[name].astype(str).groupby(groups).transform("first") for name in names}
    return [name for name, first in firsts.items() if (table[name].astype(str) != first).any()]


def columns_of_items(sample: Mapping[str, Sequence[Any]], item: str, unused: Sequence[str]) -> list[str]:
    """Those of ``unused`` that say the same of an item in each of its first rows, and not of all items."""
    table = pd.DataFrame(
        {name: pd.Series(sample[name], dtype=object).astype(str) for name in (item, *unused)}
    )
    if len(table) - table[item].nunique() < FEW:
        return []
    varied = [name for name in unused if table[name].nunique() > 1]
    different = set(differing(table, item, varied))
    return [name for name in varied if name not in different]


def triples_table(path: str | Path, beside: Beside) -> pd.DataFrame:
    """head (an item's id), relation, tail: by their names, or the three columns that there are, in that order."""
    (path,) = local_files(path)
    table = beside.read(path)
    names = [str(name) for name in table.columns]
    found: dict[str, str] = {}
    for ours in TRIPLES:
        free = [name for name in names if name not in found.values()]
        if ours in beside.columns:
            found[ours] = existing(beside.columns[ours], free, path.name, f"--columns {ours}=")
        elif (theirs := by_name(ours, free)) is not None:
            found[ours] = theirs
    if len(found) < 3:
        if len(names) != 3 or any(ours in beside.columns for ours in TRIPLES):
            raise UserError(
                f"{path.name}: a table of facts has the columns head (an item's id), relation and tail; "
                f"there are {', '.join(names)}. Say which is which with --columns head=NAME relation=NAME tail=NAME."
            )
        found = dict(zip(TRIPLES, names, strict=True))
    facts = pd.DataFrame({ours: table[found[ours]] for ours in TRIPLES})
    facts["head"] = beside.cleaned(facts["head"])
    return facts


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
