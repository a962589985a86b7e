"""Who is asking and what about: people, items and ratings by the names that a caller gives them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.checkpoint.checkpoint import Checkpoint, user_key
from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.data.records.loading import load
from p5t5.data.records.tables import IndexedRecords
from p5t5.inference.request import PromptFacts
from p5t5.questions.vocabulary import Vocabulary

Data = IndexedRecords | str | os.PathLike
History = Sequence[Any] | Mapping[Any, float]
Recent = Callable[[str], Sequence[tuple[str, float | None]]]
MAX_UNKNOWN = 0.2  # share of a data set's items that the model may not know
MAX_RENAMED = 0.1  # share of the items known to both that may have another title


class UserProfiles:
    """Finds users, items and histories for one checkpoint. Data folders are read once, the last one is kept.

    ``recent``: what a user (by id as written) did after the data was written: (item id, rating or None), oldest first.
    """

    def __init__(self, checkpoint: Checkpoint, recent: Recent | None = None) -> None:
        self.checkpoint, self.catalogue = checkpoint, checkpoint.catalogue
        self._recent = recent or _nothing
        self._user_index = {key: index for index, key in enumerate(checkpoint.users)}
        self._loaded: dict[int | str, tuple[IndexedRecords, dict[str, int], np.ndarray]] = {}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What finds titles, ids, attributes and users in texts."""
        return Vocabulary.of_items(self.catalogue.items, self.find_user)

    def find_user(self, written: str) -> int | None:
        """The number of a user that the model knows."""
        return self._user_index.get(user_key(written))

    # -- items

    def item(self, name: Any) -> int:
        """An item by its id (a text or a whole number) or its title; UserError if there is none, or several."""
        if isinstance(name, bool) or not isinstance(name, str | int | np.integer):
            raise UserError(
                f"item {name!r}: name an item by its id or title, not by a {type(name).__name__}."
            )
        written = str(name)
        index = self.catalogue.index_of.get(written, -1)
        if index >= 0:
            return index
        cleaned = clean_text(written)
        linker = self.vocabulary.linker
        whole = [link for link in linker.link(f'"{cleaned}"') if link.end - link.start >= len(cleaned) - 1]
        if len(whole) == 1 and whole[0].items:
            if len(whole[0].items) == 1:
                return whole[0].items[0]
            titles = ", ".join(self.catalogue.titles[item] for item in whole[0].items)
            raise UserError(f"item {written!r} could be {titles}: name it with its year, or by its id.")
        near = " or ".join(self.catalogue.titles[item] for item, _ in self.vocabulary.nearest(written))
        hint = f"do you mean {near}?" if near else "give an id or a title."
        raise UserError(f"item {written!r} is not in the catalogue ({len(self.catalogue)} items): {hint}")

    def items(self, names: Any, what: str) -> list[int]:
        """Items by name, each once, in their order; UserError where one text or something unordered is given."""
        return list(dict.fromkeys(self.item(name) for name in listed(names, what, "items")))

    # -- people

    def person(self, user: Any, history: History | None, data: Data | None) -> PromptFacts:
        """What is known of a person: a history given, or that of a user of ``data``."""
        if user is None and history is None:
            return PromptFacts()
        number = None if user is None else self.find_user(user_name(user))
        if history is not None:
            items, said = self._history(history)
            return PromptFacts(user=number, history=items, rated=self.rated(said, {}))
        if data is not None or self.did(user_name(user)):
            return replace(self.of_data(user_name(user), data), user=number)
        if number is None:
            raise UserError(f"user {user_name(user)!r} is not known to the model: give history=… or data=….")
        return PromptFacts(user=number)

    def _history(self, history: History) -> tuple[list[int], dict[int, float]]:
        if isinstance(history, Mapping):
            entries: list[Any] = list(history.items())
        else:
            entries = listed(history, "history", "items, or of (item, rating) pairs")
        items, said = [], {}
        for entry in entries:
            paired = isinstance(entry, tuple | list)
            if paired and len(entry) != 2:
                raise UserError(f"history: {entry!r} is no (item, rating) pair.")
            item = self.item(entry[0] if paired else entry)
            items.append(item)
            if paired:
                said[item] = self.checked_rating(entry[1], self.catalogue.titles[item])
        return items, said

    def of_data(self, user: str, data: Data | None) -> PromptFacts:
        """The whole history of a user of ``data``, by id, and what the user did since. UserError where there is neither."""
        since = [
            (index, rating)
            for item, rating in self._recent(user)
            if (index := self.catalogue.index_of.get(item)) is not None
        ]
        known = PromptFacts() if data is None else self._in_data(user, data, bool(since))
        for item, _ in since:
            known = without_item(known, item)
        said = {item: rating for item, rating in since if rating is not None}
        items = [item for item, _ in since]
        return replace(
            known,
            history=[*known.history, *dict.fromkeys(items)],
            rated=[*known.rated, *self.rated(said, {})],
        )

    def did(self, user: str) -> bool:
        """Whether anything is known that the user did after the data was written."""
        return bool(self._recent(user))

    def _in_data(self, user: str, data: Data, may_lack: bool) -> PromptFacts:
        records, key_rows, numbers = self.records(data)
        row = key_rows.get(user_key(user))
        if row is None and may_lack:
            return PromptFacts()
        if row is None:
            raise UserError(
                f"user {user!r} is not in the data {records.name} ({records.number_of_users} users)."
            )
        rows = np.arange(records.user_start[row], records.user_start[row + 1])
        items = numbers[records.item[rows]]
        rated: list[tuple[int, int]] = []
        if records.rating is not None and len(self.checkpoint.rating_values):
            keep = np.isfinite(records.rating[rows]) & (items >= 0)
            places = self.rating_index(records.rating[rows][keep]) if keep.any() else np.zeros(0, np.int64)
            rated = list(zip(items[keep].tolist(), places.tolist(), strict=True))
        return PromptFacts(history=items[items >= 0].tolist(), rated=rated)

    # -- data

    def records(self, data: Data) -> tuple[IndexedRecords, dict[str, int], np.ndarray]:
        """The data, its users by key, and the catalogue's number of each of its items (−1: unknown).

        UserError for data that the model was not made for.
        """
        name = id(data) if isinstance(data, IndexedRecords) else str(Path(data).expanduser().resolve())
        if name not in self._loaded:
            records = data if isinstance(data, IndexedRecords) else load(Path(data).expanduser())
            numbers = self.catalogue.numbers(records.item_ids.tolist())
            self._check(records, numbers)
            rows = {user_key(user): row for row, user in enumerate(records.user_ids)}
            self._loaded = {name: (records, rows, numbers)}
        return self._loaded[name]

    def _check(self, records: IndexedRecords, numbers: np.ndarray) -> None:
        """UserError unless the items of the data are the model's own: by id, and by title where both have titles."""
        advice = (
            "Use the data that the model was trained on, or bring the model up to date with `p5t5 update`."
        )
        known = numbers >= 0
        if not known.any():
            raise UserError(
                f"data {records.name}: none of its {len(numbers)} items is in the model's catalogue. {advice}"
            )
        if known.mean() < 1 - MAX_UNKNOWN:
            raise UserError(
                f"data {records.name}: {int((~known).sum())} of its {len(numbers)} items are not in the model's "
                f"catalogue, which was made from other data. {advice}"
            )
        ours, theirs = self.catalogue.titles, records.titles
        both = [
            (ours[number], theirs[index], self.catalogue.item_ids[number])
            for index, number in enumerate(numbers.tolist())
            if number >= 0
            and ours[number] != self.catalogue.item_ids[number]
            and theirs[index] != self.catalogue.item_ids[number]
        ]
        other = [(a, b, item) for a, b, item in both if clean_text(a).casefold() != clean_text(b).casefold()]
        if len(other) > MAX_RENAMED * len(both):
            mine, yours, item = other[0]
            raise UserError(
                f"data {records.name}: its ids name other items than the model's: {item!r} is {yours!r} there and "
                f"{mine!r} here ({len(other)} of {len(both)} titles differ). {advice}"
            )

    def counts(self, data: Data) -> np.ndarray:
        """int64 [items]: interactions with each item of the catalogue in ``data``."""
        records, _, numbers = self.records(data)
        items = numbers[records.item]
        return np.bincount(items[items >= 0], minlength=len(self.catalogue))

    # -- ratings

    def checked_rating(self, value: Any, of: str) -> float:
        """A rating on the model's scale; UserError that names the scale for any other value."""
        values = self.checkpoint.rating_values
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise UserError(f"the rating {value!r} of {of} is no number.")
        if len(values) and not (math.isfinite(value) and values[0] <= value <= values[-1]):
            raise UserError(
                f"the rating {value} of {of} is off the scale: this model's ratings go from {values[0]:g} to {values[-1]:g}."
            )
        if not math.isfinite(value):
            raise UserError(f"the rating {value} of {of} is no number.")
        return float(value)

    def rated(self, said: Mapping[int, float], feelings: Mapping[int, float]) -> list[tuple[int, int]]:
        """(item, index of its rating): numbers as said; feelings from −1 to 1 as values of the scale."""
        values = self.checkpoint.rating_values
        if not len(values):
            return []
        middle, half = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
        ratings = {item: middle + half * feeling for item, feeling in feelings.items()}
        ratings |= said
        return list(zip(ratings, self.rating_index(list(ratings.values())).tolist(), strict=True))

    def rating_index(self, ratings: Sequence[float] | np.ndarray) -> np.ndarray:
        """int [n]: the index of the nearest rating value."""
        distance = np.abs(np.asarray(ratings)[:, None] - self.checkpoint.rating_values)
        return distance.argmin(1)


def _nothing(user: str) -> Sequence[tuple[str, float | None]]:
    return ()


def listed(names: Any, what: str, of: str) -> list[Any]:
    """A caller's list; UserError for one text, where a list is meant, or what has no order."""
    if isinstance(names, str | bytes):
        raise UserError(f"{what}: give a list of {of}, as in {what}=[{str(names)!r}], not one text.")
    if isinstance(names, int | float | np.number):
        raise UserError(f"{what}: give a list of {of}, as in {what}=[{names!r}], not one number.")
    if isinstance(names, set | frozenset):
        raise UserError(f"{what}: a set has no order: give a list of {of}.")
    if not isinstance(names, Iterable):
        raise UserError(f"{what}: give a list of {of}, not a {type(names).__name__}.")
    return [entry.item() if isinstance(entry, np.generic) else entry for entry in names]


def user_name(user: Any) -> str:
    """A user id as text, of a text or a whole number."""
    if isinstance(user, bool) or not isinstance(user, str | int | np.integer):
        raise UserError(f"user {user!r}: give the id of one user as a text or a whole number.")
    return str(user)


def without_item(person: PromptFacts, item: int | None) -> PromptFacts:
    """The same person, who has not met the item."""
    history = [known for known in person.history if known != item]
    return replace(person, history=history, rated=[pair for pair in person.rated if pair[0] != item])
