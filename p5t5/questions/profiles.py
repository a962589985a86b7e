"""Who is asking and what about: people, items and ratings by the names that a caller gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from p5t5.checkpoint.checkpoint import Checkpoint, user_key
from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.data.records.loading import load
from p5t5.data.records.tables import IndexedRecords
from p5t5.inference.request import PromptFacts
from p5t5.questions.entity_linking import Linker

Data = IndexedRecords | str | os.PathLike
History = Sequence[str] | Sequence[tuple[str, float]] | Mapping[str, float]


class UserProfiles:
    """Finds users, items and histories for one checkpoint. Data folders are read once, the last one is kept."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.catalogue = checkpoint, checkpoint.catalogue
        self._user_place = {key: place for place, key in enumerate(checkpoint.users)}
        self._loaded: dict[int | str, tuple[IndexedRecords, dict[str, int], np.ndarray]] = {}

    @cached_property
    def linker(self) -> Linker:
        """What finds ids and titles in texts."""
        return Linker(
            self.catalogue.item_ids, self.catalogue.titles, lambda user: self._user_place.get(user_key(user))
        )

    def item(self, name: str) -> int:
        """An item by its id or its title; UserError if there is none, or several."""
        place = self.catalogue.index_of.get(str(name), -1)
        if place >= 0:
            return place
        cleaned = clean_text(str(name))
        whole = [
            link for link in self.linker.link(f'"{cleaned}"') if link.end - link.start >= len(cleaned) - 1
        ]
        if len(whole) == 1 and whole[0].items:
            if len(whole[0].items) == 1:
                return whole[0].items[0]
            titles = ", ".join(self.catalogue.titles[item] for item in whole[0].items)
            raise UserError(f"item {name!r} could be {titles}: name it with its year, or by its id.")
        raise UserError(
            f"item {name!r} is not in the catalogue ({len(self.catalogue)} items): give an id or a title."
        )

    def person(self, user: str | None, history: History | None, data: Data | None) -> PromptFacts:
        """What is known of a person: a history given, or that of a user of ``data``."""
        if user is None and history is None:
            return PromptFacts()
        place = None if user is None else self._user_place.get(user_key(user))
        if history is not None:
            pairs = list(history.items()) if isinstance(history, Mapping) else list(history)
            items = [self.item(pair if isinstance(pair, str) else str(pair[0])) for pair in pairs]
            said = {i: float(p[1]) for i, p in zip(items, pairs, strict=True) if not isinstance(p, str)}
            return PromptFacts(user=place, history=items, rated=self.rated(said, {}))
        if data is not None:
            return replace(self.of_data(str(user), data), user=place)
        if place is None:
            raise UserError(f"user {user!r} is not known to the model: give history=… or data=….")
        return PromptFacts(user=place)

    def of_data(self, user: str | int, data: Data) -> PromptFacts:
        """The whole history of a user of ``data`` (an id, or a number of the checkpoint's)."""
        records, key_rows, numbers = self._records(data)
        key = list(self.checkpoint.users)[user] if isinstance(user, int) else user_key(user)
        row = key_rows.get(key)
        if row is None:
            raise UserError(
                f"user {user!r} is not in the data {records.name} ({records.number_of_users} users)."
            )
        rows = np.arange(records.user_start[row], records.user_start[row + 1])
        items = numbers[records.item[rows]]
        rated: list[tuple[int, int]] = []
        if records.rating is not None:
            keep = np.isfinite(records.rating[rows]) & (items >= 0)
            places = self.rating_place(records.rating[rows][keep]) if keep.any() else np.zeros(0, np.int64)
            rated = list(zip(items[keep].tolist(), places.tolist(), strict=True))
        return PromptFacts(history=items[items >= 0].tolist(), rated=rated)

    def _records(self, data: Data) -> tuple[IndexedRecords, dict[str, int], np.ndarray]:
        """The data, its users by key, and the catalogue's number of each of its items (−1: unknown)."""
        name = id(data) if isinstance(data, IndexedRecords) else str(Path(data).resolve())
        if name not in self._loaded:
            records = data if isinstance(data, IndexedRecords) else load(Path(data))
            numbers = self.catalogue.numbers(records.item_ids.tolist())
            if not (numbers >= 0).any():
                raise UserError(
                    f"data {records.name}: none of its {len(numbers)} items is in the model's catalogue. "
                    "Use the data that the model was trained on."
                )
            rows = {user_key(user): row for row, user in enumerate(records.user_ids)}
            self._loaded = {name: (records, rows, numbers)}
        return self._loaded[name]

    def rated(self, said: Mapping[int, float], feelings: Mapping[int, float]) -> list[tuple[int, int]]:
        """(item, rating place): numbers as said; feelings from −1 to 1 as places on the scale."""
        values = self.checkpoint.rating_values
        if not len(values):
            return []
        middle, half = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
        ratings = {item: middle + half * feeling for item, feeling in feelings.items()}
        ratings |= said
        return list(zip(ratings, self.rating_place(list(ratings.values())).tolist(), strict=True))

    def rating_place(self, ratings: Sequence[float]) -> np.ndarray:
        """int [n]: the place of the nearest rating value."""
        distance = np.abs(np.asarray(ratings)[:, None] - self.checkpoint.rating_values)
        return distance.argmin(1)


def without_item(person: PromptFacts, item: int | None) -> PromptFacts:
    """The same person, who has not met the item."""
    history = [known for known in person.history if known != item]
    return replace(person, history=history, rated=[pair for pair in person.rated if pair[0] != item])
