"""The tables: who did what with which item, and what is known of items and users."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from p5t5.errors import UserError
from p5t5.records import checks
from p5t5.records.cleaning import clean_column, clean_ids, clean_text
from p5t5.records.dataset_card import dataset_card

# Free text of an interaction; "" where missing.
TEXT_COLUMNS = ("review", "summary", "feature", "explanation")


@dataclass(frozen=True)
class IndexedRecords:
    """The tables with users and items as numbers: what all later stages read.

    Interactions are sorted by user, then time (stable), so the rows of user ``u`` are
    ``user_start[u]:user_start[u + 1]``, oldest first.

    - ``user``, ``item``: int32 [n]. ``rating``: float32 [n] or None, NaN where missing.
      ``timestamp``: int64 [n] (seconds) or None.
    - ``texts``: column name (review, summary, feature, explanation) → list of n strings, "" where missing.
    - ``items``: a row an item (``item_id``, ``title``, attributes; all strings, "" where missing),
      in the order of the item numbers. ``users`` likewise (``user_id``, attributes), or None.
    - ``triples``: head, relation, tail (strings; head is an item_id), or None.
    - ``rating_values``: float32, ascending: the values a rating can take, read off the data.
    """

    name: str
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray | None
    timestamp: np.ndarray | None
    texts: dict[str, list[str]]
    items: pd.DataFrame
    user_ids: np.ndarray
    users: pd.DataFrame | None
    triples: pd.DataFrame | None
    rating_values: np.ndarray
    hash: str

    def __len__(self) -> int:
        return len(self.user)

    @property
    def item_ids(self) -> np.ndarray:
        return self.items["item_id"].to_numpy()

    @property
    def titles(self) -> list[str]:
        """A title an item; an item without one is called by its (cleaned) id."""
        ids = self.items["item_id"].tolist()
        titles = self.items["title"].tolist() if "title" in self.items else [""] * len(ids)
        return [title or clean_text(item_id) for title, item_id in zip(titles, ids, strict=True)]

    @property
    def attributes(self) -> list[str]:
        """The item columns beside id and title."""
        return [column for column in self.items.columns if column not in ("item_id", "title")]

    @property
    def number_of_users(self) -> int:
        return len(self.user_ids)

    @property
    def number_of_items(self) -> int:
        return len(self.items)

    @cached_property
    def user_start(self) -> np.ndarray:
        """int64 [users + 1]: where each user's rows begin."""
        return np.searchsorted(self.user, np.arange(self.number_of_users + 1)).astype(np.int64)

    def has(self, column: str) -> bool:
        """Whether an interaction column (rating, timestamp, review, …) or "title" is there."""
        if column in ("rating", "timestamp"):
            return getattr(self, column) is not None
        if column == "title":
            return "title" in self.items
        return column in self.texts


@dataclass
class Records:
    """The tables as data frames, as they lie in a data folder.

    - ``interactions``: user_id, item_id (strings); optional rating (float), timestamp (int64,
      seconds), review, summary, feature, explanation (strings). Sorted by user, then time; rows of
      one user at the same time keep the order of the source.
    - ``items``: item_id; optional title and attributes (strings, "" where missing).
    - ``users``: user_id and attributes, or None. ``triples``: head (an item_id), relation, tail, or None.
    - ``info``: where the data come from and what was dropped (goes into ``prepare.json``).

    ``make_records`` builds one from raw columns; ``check`` says what is wrong with one made by hand.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame | None = None
    triples: pd.DataFrame | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises UserError at the first thing that a later stage would stumble over."""
        table = self.interactions
        checks.check_ids(table, "interactions", ("user_id", "item_id"), unique=False)
        checks.check_ids(self.items, "items", ("item_id",), unique=True)
        if self.users is not None:
            checks.check_ids(self.users, "users", ("user_id",), unique=True)
        if not len(table):
            raise UserError("interactions: there are no rows; nothing can be learnt from them.")
        known = set(self.items["item_id"])
        for row, item_id in enumerate(table["item_id"]):
            if item_id not in known:
                raise UserError(
                    f"interactions, row {row}: item {item_id!r} is not in the items table; add it."
                )
        if "rating" in table:
            checks.check_ratings(table["rating"])
        if "timestamp" in table and not pd.api.types.is_integer_dtype(table["timestamp"]):
            raise UserError("interactions, column timestamp: must be whole seconds (integers), none missing.")
        for frame, where, skip in self._text_tables():
            checks.check_texts(frame, where, skip)

    def _text_tables(self):
        yield self.interactions, "interactions", ("user_id", "item_id", "rating", "timestamp")
        yield self.items, "items", ("item_id",)
        if self.users is not None:
            yield self.users, "users", ("user_id",)
        if self.triples is not None:
            yield self.triples, "triples", ("head",)

    def index(self) -> IndexedRecords:
        """Users and items as numbers: users by id, items in an order that says nothing (``item_order``)."""
        table = self.interactions
        user_ids, user = _factorise(table["user_id"].tolist())
        items = self.items.assign(item_id=self.items["item_id"].astype(object))
        items = items.iloc[item_order(items["item_id"].tolist())].reset_index(drop=True)
        number = {item_id: place for place, item_id in enumerate(items["item_id"])}
        item = np.fromiter((number[i] for i in table["item_id"]), np.int32, len(table))
        time = table["timestamp"].to_numpy(np.int64) if "timestamp" in table else np.arange(len(table))
        order = np.lexsort((time, user))
        users = None
        if self.users is not None:
            users = self.users.set_index("user_id").reindex(user_ids).fillna("")
            users = users.rename_axis("user_id").reset_index()
        rating = table["rating"].to_numpy(np.float32)[order] if "rating" in table else None
        texts = {}
        for column in TEXT_COLUMNS:
            if column in table:
                values = table[column].tolist()
                texts[column] = [values[row] for row in order]
        data = IndexedRecords(
            name=self.name,
            user=user[order],
            item=item[order],
            rating=rating,
            timestamp=time[order] if "timestamp" in table else None,
            texts=texts,
            items=items,
            user_ids=user_ids,
            users=users,
            triples=self.triples,
            rating_values=np.zeros(0, np.float32) if rating is None else np.unique(rating),
            hash="",
        )
        return replace(data, hash=_hash(data))

    def write(self, folder: str | Path) -> IndexedRecords:
        """Writes the data folder (files appear whole or not at all) and returns what ``load`` would."""
        self.check()
        data = self.index()
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; name a folder for the data.")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "interactions.parquet").is_file():
            raise UserError(f"{folder} holds other files and no data; name a new or an empty folder.")
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            for name, frame in self._tables().items():
                frame.to_parquet(partial / f"{name}.parquet", index=False)
            summary = ", ".join(f"{number} {what}" for what, number in counts(data).items()) + "."
            card = dataset_card(self.name, self._tables(), self.info, summary)
            (partial / "README.md").write_text(card, encoding="utf-8")
            facts = {"name": self.name, **counts(data), **self.info, "hash": data.hash}
            text = json.dumps(facts, indent=2, ensure_ascii=False)
            (partial / "prepare.json").write_text(text + "\n", encoding="utf-8")
            for path in sorted(partial.iterdir()):
                os.replace(path, folder / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for name in {"users", "triples"} - set(self._tables()):
            (folder / f"{name}.parquet").unlink(missing_ok=True)
        return data

    def _tables(self) -> dict[str, pd.DataFrame]:
        tables = {"interactions": self.interactions, "items": self.items}
        if self.users is not None:
            tables["users"] = self.users
        if self.triples is not None:
            tables["triples"] = self.triples
        return tables


def make_records(
    name: str,
    interactions: pd.DataFrame,
    items: pd.DataFrame | None = None,
    users: pd.DataFrame | None = None,
    triples: pd.DataFrame | None = None,
    *,
    info: dict[str, Any] | None = None,
    all_items: bool = False,
) -> Records:
    """Raw columns (any dtypes, file order) → checked Records: cleaned, sorted, drops counted by reason.

    Rows without a user, item, rating or time (where the column is there) and exact repeats of a row
    with a time are dropped; ``info["dropped"]`` says how many and why. The catalogue is the items with at least
    one interaction, or every listed item with ``all_items``; items that the items table lacks are
    added with their id alone. Text columns that are empty throughout are left out.
    """
    info = dict(info or {})
    dropped: dict[str, int] = dict(info.pop("dropped", {}))
    table = interactions.reset_index(drop=True)
    for column in ("user_id", "item_id"):
        if column not in table:
            raise UserError(
                f"interactions: no column {column}; there are {', '.join(map(str, table.columns))}."
            )
        table[column] = clean_ids(table[column])
    table = _drop(table, (table["user_id"] == "") | (table["item_id"] == ""), "user or item missing", dropped)
    for column, reason in (("rating", "rating missing"), ("timestamp", "timestamp missing")):
        if column in table:
            numbers = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
            table[column] = numbers
            table = _drop(table, ~np.isfinite(numbers.to_numpy()), reason, dropped)
    if "timestamp" in table:
        table["timestamp"] = table["timestamp"].astype(np.int64)
    for column in TEXT_COLUMNS:
        if column in table:
            table[column] = pd.Series(clean_column(table[column]), index=table.index, dtype=object)
            if not (table[column] != "").any():
                table = table.drop(columns=column)
    known = ["user_id", "item_id", "rating", "timestamp", *TEXT_COLUMNS]
    table = table[[column for column in known if column in table]]
    if "timestamp" in table:  # without times, a repeat is a second visit
        table = _drop(table, table.duplicated().to_numpy(), "exact repeat of a row", dropped)
    _, user = _factorise(table["user_id"].tolist())
    time = table["timestamp"].to_numpy() if "timestamp" in table else np.zeros(len(table), np.int64)
    table = table.iloc[np.lexsort((time, user))].reset_index(drop=True)
    present = set(table["item_id"])
    catalogue = _catalogue(items, present, all_items)
    if users is not None:
        users = _cleaned(users, "user_id")
        users = users[users["user_id"].isin(set(table["user_id"]))].reset_index(drop=True)
    if triples is not None:
        facts = _cleaned(triples, "head", unique=False)
        triples = facts[facts["head"].isin(set(catalogue["item_id"]))].reset_index(drop=True)
    info["dropped"] = dropped
    records = Records(name, table, catalogue, users, triples, info)
    records.check()
    return records


def load_records(folder: str | Path) -> Records:
    """Reads a data folder. Raises UserError when it is none, or when its tables are damaged."""
    folder = Path(folder)
    if not (folder / "interactions.parquet").is_file():
        raise UserError(
            f"{folder} is no data folder: interactions.parquet is not there; make one with `p5t5 prepare`."
        )
    info: dict[str, Any] = {}
    try:
        if (folder / "prepare.json").is_file():
            info = json.loads((folder / "prepare.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'prepare.json'} is not valid JSON: {error}") from error
    tables = {
        name: _read_parquet(folder / f"{name}.parquet")
        for name in ("interactions", "items", "users", "triples")
    }
    interactions, items = tables["interactions"], tables["items"]
    if interactions is None or items is None:
        raise UserError(f"{folder}: items.parquet is not there; make the folder again with `p5t5 prepare`.")
    records = Records(
        str(info.get("name", folder.name)),
        interactions,
        items,
        tables["users"],
        tables["triples"],
        {key: value for key, value in info.items() if key in ("source", "dropped", "licence", "steps")},
    )
    records.check()
    return records


def load(folder: str | Path) -> IndexedRecords:
    """A data folder, indexed."""
    return load_records(folder).index()


def counts(data: IndexedRecords) -> dict[str, int]:
    """Users, items and interactions, and how many of the optional tables' rows there are."""
    out = {"users": data.number_of_users, "items": data.number_of_items, "interactions": len(data)}
    if data.triples is not None:
        out["triples"] = len(data.triples)
    return out


def item_order(item_ids: list[str]) -> np.ndarray:
    """int64 [items]: the order in which items are numbered: by a hash of their ids.

    Ids are often numbered by first appearance, test rows included (the Beauty file's are): in the order
    of the ids, "the largest number of the history + 1" still scores NDCG@10 .018 on Beauty, where .005
    is chance, and every tie broken by item number would profit. See tests/test_leakage.py.
    """
    keys = [hashlib.sha256(item_id.encode()).digest() for item_id in item_ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _drop(table: pd.DataFrame, which, reason: str, dropped: dict[str, int]) -> pd.DataFrame:
    number = int(np.sum(which))
    if not number:
        return table
    dropped[reason] = dropped.get(reason, 0) + number
    return table[~np.asarray(which)].reset_index(drop=True)


def _cleaned(frame: pd.DataFrame, key: str, unique: bool = True) -> pd.DataFrame:
    """A side table with ids in ``key`` and clean text elsewhere; the first row of an id counts."""
    if key not in frame:
        raise UserError(f"no column {key}; there are {', '.join(map(str, frame.columns))}.")
    out = {key: clean_ids(frame[key])}
    for column in frame.columns:
        if column != key:
            out[clean_text(str(column))] = pd.Series(
                clean_column(frame[column]), index=frame.index, dtype=object
            )
    table = pd.DataFrame(out)
    table = table[table[key] != ""]
    if unique:
        table = table.drop_duplicates(key)
    return table.reset_index(drop=True)


def _catalogue(items: pd.DataFrame | None, present: set[str], all_items: bool) -> pd.DataFrame:
    listed = _cleaned(items if items is not None else pd.DataFrame({"item_id": []}), "item_id")
    if not all_items:
        listed = listed[listed["item_id"].isin(present)]
    missing = sorted(present - set(listed["item_id"]))
    table = pd.concat([listed, pd.DataFrame({"item_id": pd.Series(missing, dtype=object)})])
    table = table.astype(object).where(table.notna(), "").sort_values("item_id", kind="stable")
    empty = [column for column in table if column != "item_id" and not (table[column] != "").any()]
    return table.drop(columns=empty).reset_index(drop=True)


def _factorise(values: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct strings (object), and int32 [n] of which each value is."""
    distinct = np.array(sorted(set(values)), dtype=object)
    number = {value: place for place, value in enumerate(distinct)}
    return distinct, np.fromiter((number[value] for value in values), np.int32, len(values))


def _read_parquet(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pyarrow has many kinds of errors for one thing: a damaged file
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error
    for column in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = frame[column].astype(object)
    return frame


def _hash(data: IndexedRecords) -> str:
    """SHA-256 of all that the tables say, whatever the file format and library versions."""
    digest = hashlib.sha256()
    for array in (data.user, data.item, data.rating, data.timestamp):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    for column, values in sorted(data.texts.items()):
        digest.update(f"{column}\x1e".encode() + "\x1f".join(values).encode())
    for frame in (pd.DataFrame({"user_id": data.user_ids}), data.items, data.users, data.triples):
        if frame is None:
            continue
        for column in sorted(frame.columns):
            digest.update(f"{column}\x1e".encode() + "\x1f".join(frame[column]).encode())
    return digest.hexdigest()
