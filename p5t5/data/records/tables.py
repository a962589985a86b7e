"""What a data set is in memory: tables as data frames (Records), and as numbers (IndexedRecords)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.records import checks
from p5t5.data.records.cleaning import clean_text, without_unused
from p5t5.data.records.dataset_card import dataset_card
from p5t5.data.records.parquet import data_folder

# Free text of an interaction; "" where missing.
TEXT_COLUMNS = ("review", "summary", "feature", "explanation")
PIECE = 1 << 16  # strings that are made at a time where a whole column is not needed at once


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
    texts: Mapping[str, list[str]]
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

    - ``interactions``: user_id, item_id (strings, as categories where ``make_records`` made them);
      optional rating (float), timestamp (int64, seconds), review, summary, feature, explanation
      (strings). Sorted by user, then time; rows of one user at the same time keep the source's order.
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
        checks.check_known(table, self.items)
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
        user_ids, user = _numbered(table["user_id"])
        items = self.items.assign(item_id=self.items["item_id"].astype(object))
        items = items.iloc[item_order(items["item_id"].tolist())].reset_index(drop=True)
        number = {item_id: place for place, item_id in enumerate(items["item_id"])}
        known, item = _numbered(table["item_id"])
        item = np.array([number[item_id] for item_id in known], np.int32)[item]
        time = table["timestamp"].to_numpy(np.int64) if "timestamp" in table else None
        order = user_time_order(user, time)
        users = None
        if self.users is not None:
            users = self.users.set_index("user_id").reindex(user_ids).fillna("")
            users = users.rename_axis("user_id").reset_index()
        rating = table["rating"].to_numpy(np.float32)[order] if "rating" in table else None
        texts = {column: table[column] for column in TEXT_COLUMNS if column in table}
        data = IndexedRecords(
            name=self.name,
            user=user[order],
            item=item[order],
            rating=rating,
            timestamp=None if time is None else time[order],
            texts=_Texts(texts, order),
            items=items,
            user_ids=user_ids,
            users=users,
            triples=self.triples,
            rating_values=np.zeros(0, np.float32) if rating is None else np.sort(pd.unique(rating)),
            hash="",
        )
        return replace(data, hash=_hash(data))

    def write(self, folder: str | Path) -> IndexedRecords:
        """Writes the data folder (files appear whole or not at all) and returns what ``load`` would."""
        self.check()
        data = self.index()
        tables = self._tables()
        with data_folder(Path(folder), tables) as partial:
            summary = ", ".join(f"{number} {what}" for what, number in counts(data).items()) + "."
            card = dataset_card(self.name, tables, self.info, summary)
            (partial / "README.md").write_text(card, encoding="utf-8")
            facts = {"name": self.name, **counts(data), **self.info, "hash": data.hash}
            text = json.dumps(facts, indent=2, ensure_ascii=False)
            (partial / "prepare.json").write_text(text + "\n", encoding="utf-8")
        return data

    def _tables(self) -> dict[str, pd.DataFrame]:
        tables = {"interactions": self.interactions, "items": self.items}
        if self.users is not None:
            tables["users"] = self.users
        if self.triples is not None:
            tables["triples"] = self.triples
        return tables


class _Texts(Mapping[str, list[str]]):
    """Text columns that become lists of strings when they are asked for: many users of a folder never ask."""

    def __init__(self, columns: dict[str, pd.Series], order: slice | np.ndarray) -> None:
        self._columns = columns
        self._order = order
        self._lists: dict[str, list[str]] = {}

    def __getitem__(self, name: str) -> list[str]:
        if name not in self._lists:
            self._lists[name] = [text for piece in self.pieces(name) for text in piece]
        return self._lists[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def pieces(self, name: str) -> Iterator[list[str]]:
        """The column in the order of the rows, a list of at most PIECE strings at a time."""
        column = self._columns[name]
        for start in range(0, len(column), PIECE):
            end = min(start + PIECE, len(column))
            rows = slice(start, end) if isinstance(self._order, slice) else self._order[start:end]
            yield column.iloc[rows].tolist()


def user_time_order(user: np.ndarray, time: np.ndarray | None) -> slice | np.ndarray:
    """Rows by user, then time, equal ones as they come: an index (int64), or ``slice(None)`` if they are so.

    ``user``: int32 [n], not negative. ``time``: int64 [n] or None.
    """
    key = user.astype(np.int64)
    if time is not None and len(time):
        first, span = int(time.min()), int(time.max()) - int(time.min()) + 1
        if span * (int(user.max()) + 1) >= 2**63:
            return np.lexsort((time, user))
        key *= span
        key += time - first
    return slice(None) if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")


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
    is chance, and every tie broken by item number would profit. See tests/system/test_leakage.py.
    """
    keys = [hashlib.sha256(item_id.encode()).digest() for item_id in item_ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _numbered(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct ids (object), and int32 [n] of which each row is."""
    ids = column.array if isinstance(column.dtype, pd.CategoricalDtype) else pd.Categorical(column)
    ids = without_unused(ids)
    distinct = ids.categories.to_numpy(object)
    codes = ids.codes.astype(np.int32, copy=False)
    if (order := sorted(range(len(distinct)), key=distinct.__getitem__)) != list(range(len(distinct))):
        rank = np.empty(len(distinct), np.int32)
        rank[order] = np.arange(len(distinct))
        distinct, codes = distinct[order], rank[codes]
    return distinct, codes


def _hash(data: IndexedRecords) -> str:
    """SHA-256 of all that the tables say, whatever the file format and library versions."""
    digest = hashlib.sha256()
    for array in (data.user, data.item, data.rating, data.timestamp):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
    texts = data.texts
    assert isinstance(texts, _Texts)
    for column in sorted(texts):
        digest.update(f"{column}\x1e".encode())
        for number, piece in enumerate(texts.pieces(column)):
            digest.update((("\x1f" if number else "") + "\x1f".join(piece)).encode())
    for frame in (pd.DataFrame({"user_id": data.user_ids}), data.items, data.users, data.triples):
        if frame is None:
            continue
        for column in sorted(frame.columns):
            digest.update(f"{column}\x1e".encode() + "\x1f".join(frame[column]).encode())
    return digest.hexdigest()
