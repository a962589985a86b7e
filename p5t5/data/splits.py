"""The only code that knows train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged, positions
from p5t5.core.randomness import uniform
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.sampling import draw_keys

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "validation", "test")
RANDOM = "random"
_SPOKEN = {RANDOM: "random 8:1:1 (P5's; leaks the future)"}


@dataclass(frozen=True)
class Split:
    """Which part each interaction belongs to: ``part`` int8 [n], an index into PARTS.

    Where a scheme keeps a user's rows in time order by part (train before validation before test),
    "all earlier rows of the user" is always a clean history: a training row sees training rows only, a
    test row sees the validation row too. Where it does not (``in_time_order`` is False), a history holds
    the user's earlier training rows and no others, whatever row is asked about.
    """

    data: IndexedRecords
    scheme: str
    part: np.ndarray

    @property
    def in_time_order(self) -> bool:
        return self.scheme != RANDOM

    def rows(self, part: str) -> np.ndarray:
        """int64: the interactions of "train", "validation" or "test"."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def history_lengths(self, rows: np.ndarray) -> np.ndarray:
        """int64: how many interactions the history of each row has."""
        first = self.data.user_start[self.data.user[rows]]
        if self.in_time_order:
            return rows - first
        return self._trained_before[rows] - self._trained_before[first]

    def history(self, rows: np.ndarray, longest: int | None = None) -> Ragged:
        """Ragged int32: the rows (of IndexedRecords) of each row's last ``longest`` earlier interactions (None: all)."""
        lengths = self.history_lengths(rows)
        if longest is not None:
            lengths = np.minimum(lengths, longest)
        if self.in_time_order:
            return Ragged.from_lengths(positions(rows - lengths, lengths).astype(np.int32), lengths)
        places = positions(self._trained_before[rows] - lengths, lengths)
        return Ragged.from_lengths(self.rows("train")[places].astype(np.int32), lengths)

    def history_items(self, rows: np.ndarray, longest: int | None = None) -> Ragged:
        """Ragged int32: the item numbers of that history, oldest first."""
        history = self.history(rows, longest)
        return Ragged(self.data.item[history.values], history.offsets)

    @cached_property
    def _trained_before(self) -> np.ndarray:
        """int64 [n + 1]: how many training rows lie before each row."""
        return np.concatenate([[0], np.cumsum(self.part == PARTS.index("train"))])


def leave_one_out(data: IndexedRecords) -> Split:
    """Per user the last interaction is test, the one before it validation, the rest train.

    Users with fewer than three interactions are train throughout: they would have no history.
    """
    counts = np.diff(data.user_start)
    from_end = np.repeat(data.user_start[1:], counts) - 1 - np.arange(len(data))
    part = np.zeros(len(data), np.int8)
    enough = np.repeat(counts >= 3, counts)
    part[enough & (from_end == 1)] = PARTS.index("validation")
    part[enough & (from_end == 0)] = PARTS.index("test")
    return Split(data, "loo", part)


def temporal(data: IndexedRecords, validation: float = 0.1, test: float = 0.1) -> Split:
    """Two global cuts in time: about ``validation`` and ``test`` of the interactions come after them.

    Interactions at the same second always fall on the same side. Raises UserError where there are no
    times, or where a part would be empty.
    """
    if data.timestamp is None:
        raise UserError(f"{data.name}: a temporal split needs the column timestamp; use leave-one-out.")
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise UserError(
            f"temporal split: the shares {validation} and {test} must be above 0, their sum below 1."
        )
    order = np.sort(data.timestamp)
    first_test = order[min(int(np.ceil(len(order) * (1 - test))), len(order) - 1)]
    first_validation = order[min(int(np.ceil(len(order) * (1 - test - validation))), len(order) - 1)]
    part = np.zeros(len(data), np.int8)
    part[data.timestamp >= first_validation] = PARTS.index("validation")
    part[data.timestamp >= first_test] = PARTS.index("test")
    _check_parts(data, "temporal", part, "too few different times")
    return Split(data, "temporal", part)


def at_random(data: IndexedRecords) -> Split:
    """8:1:1 by a hash of the user's and the item's id: how P5 split for ratings, explanations and reviews.

    To set a figure beside P5's, not to judge a model by: training rows come after test rows, so the model
    knows their future (and P5, which split its sequences in time order, trained on their test items). The
    order of the rows does not matter, and all rows of a user with an item are in the same part. As in P5's
    own preparation every user and item keeps a training row: here the rows with the smallest hash. (Its
    copies of rare ratings with noise are not made.) UserError where a part would be empty.
    """
    users, items = (
        draw_keys(ids.tolist(), 0).view(np.int64)[number]
        for ids, number in ((data.user_ids, data.user), (data.item_ids, data.item))
    )
    key = uniform(0, users, items)
    part = np.digitize(key, [0.8, 0.9]).astype(np.int8)
    for number, count in ((data.user, data.number_of_users), (data.item, data.number_of_items)):
        trained = np.bincount(number[part == 0], minlength=count) > 0
        least = np.full(count, np.inf)
        np.minimum.at(least, number, key)
        part[~trained[number] & (key == least[number])] = 0
    _check_parts(data, RANDOM, part, "too few interactions")
    return Split(data, RANDOM, part)


def _check_parts(data: IndexedRecords, scheme: str, part: np.ndarray, why: str) -> None:
    for number, name in enumerate(PARTS):
        if not (part == number).any():
            raise UserError(f"{data.name}: the {scheme} split leaves {name} empty: {why}.")


SCHEMES = {"loo": leave_one_out, "temporal": temporal, RANDOM: at_random}


def split_by(scheme: str, data: IndexedRecords) -> Split:
    """The split of that name. Raises UserError for a name that is none."""
    if scheme not in SCHEMES:
        raise UserError(f"there is no split {scheme!r}; there are {', '.join(SCHEMES)}.")
    return SCHEMES[scheme](data)


def split_label(scheme: str) -> str:
    """How a split is called wherever figures are shown."""
    return _SPOKEN.get(scheme, scheme)


def k_core(interactions: pd.DataFrame, k: int) -> pd.DataFrame:
    """The largest part in which every user and every item has at least ``k`` interactions.

    Removing an item may leave a user with too few, so it goes on until nothing changes.
    """
    import pandas as pd

    user, item = (pd.factorize(interactions[column])[0] for column in ("user_id", "item_id"))
    rows = np.arange(len(interactions))
    while True:
        keep = (np.bincount(user)[user] >= k) & (np.bincount(item)[item] >= k)
        if keep.all():
            return interactions.iloc[rows].reset_index(drop=True)
        user, item, rows = user[keep], item[keep], rows[keep]
