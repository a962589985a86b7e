"""The only code that knows train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from p5t5.errors import UserError
from p5t5.ragged import Ragged, positions
from p5t5.records import IndexedRecords

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Which part each interaction belongs to: ``part`` int8 [n], an index into PARTS.

    Every scheme here keeps a user's rows in time order by part (train before validation before
    test), so "all earlier rows of the user" is always a clean history: a training row sees training
    rows only, a test row sees the validation row too.
    """

    data: IndexedRecords
    scheme: str
    part: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """int64: the interactions of "train", "validation" or "test"."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def history_lengths(self, rows: np.ndarray) -> np.ndarray:
        """int64: how many earlier interactions the user of each row has."""
        return rows - self.data.user_start[self.data.user[rows]]

    def history(self, rows: np.ndarray, longest: int) -> Ragged:
        """Ragged int32: the rows (of IndexedRecords) of each row's last ``longest`` earlier interactions."""
        lengths = np.minimum(self.history_lengths(rows), longest)
        return Ragged.from_lengths(positions(rows - lengths, lengths).astype(np.int32), lengths)

    def history_items(self, rows: np.ndarray, longest: int) -> Ragged:
        """Ragged int32: the item numbers of that history, oldest first."""
        history = self.history(rows, longest)
        return Ragged(self.data.item[history.values], history.offsets)


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
    for number, name in enumerate(PARTS):
        if not (part == number).any():
            raise UserError(f"{data.name}: the temporal split leaves {name} empty: too few different times.")
    return Split(data, "temporal", part)


SCHEMES = {"loo": leave_one_out, "temporal": temporal}


def split_by(scheme: str, data: IndexedRecords) -> Split:
    """The split of that name. Raises UserError for a name that is none."""
    if scheme not in SCHEMES:
        raise UserError(f"there is no split {scheme!r}; there are {', '.join(SCHEMES)}.")
    return SCHEMES[scheme](data)


def k_core(interactions: pd.DataFrame, k: int) -> pd.DataFrame:
    """The largest part in which every user and every item has at least ``k`` interactions.

    Removing an item may leave a user with too few, so it goes on until nothing changes.
    """
    user, item = (pd.factorize(interactions[column])[0] for column in ("user_id", "item_id"))
    rows = np.arange(len(interactions))
    while True:
        keep = (np.bincount(user)[user] >= k) & (np.bincount(item)[item] >= k)
        if keep.all():
            return interactions.iloc[rows].reset_index(drop=True)
        user, item, rows = user[keep], item[keep], rows[keep]
