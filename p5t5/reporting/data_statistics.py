"""Statistics of a data set: its size, its distribution over users, items and time, repeats and ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from p5t5.data.records.tables import IndexedRecords

MANY_MONTHS = 48  # above that, times are counted by year


@dataclass(frozen=True)
class DataStatistics:
    """``per_user``, ``per_item``: int64, interactions of each, in descending order (items without any included).

    ``ratings``: (values, counts), or None. ``periods``: (months or years, counts), or None. ``repeats``: share of
    interactions with an item that the user had before. ``ties``: share with the same time as the user's previous one,
    None without times.
    """

    users: int
    items: int
    interactions: int
    per_user: np.ndarray
    per_item: np.ndarray
    ratings: tuple[np.ndarray, np.ndarray] | None
    periods: tuple[list[str], np.ndarray] | None
    first: str
    last: str
    repeats: float
    ties: float | None

    def share_of_top(self, part: float) -> float:
        """The share of the interactions held by the most popular ``part`` of the items."""
        return float(self.per_item[: max(1, round(part * self.items))].sum() / self.interactions)

    @property
    def testable(self) -> int:
        """The number of users with three or more interactions: those that leave-one-out tests."""
        return int((self.per_user >= 3).sum())


def data_statistics(data: IndexedRecords) -> DataStatistics:
    """Computes all statistics in a few passes over the arrays."""
    per_user, per_item = (
        np.sort(np.bincount(codes, minlength=number))[::-1]
        for codes, number in ((data.user, data.number_of_users), (data.item, data.number_of_items))
    )
    ratings = None if data.rating is None else np.unique(data.rating, return_counts=True)
    pairs = data.user.astype(np.int64)
    pairs *= data.number_of_items
    pairs += data.item
    pairs.sort()
    repeats = float((pairs[1:] == pairs[:-1]).sum() / len(data))
    periods, ties, first, last = None, None, "", ""
    if data.timestamp is not None:
        same = (data.timestamp[1:] == data.timestamp[:-1]) & (data.user[1:] == data.user[:-1])
        ties = float(same.sum() / len(data))
        first, last = day(data.timestamp.min()), day(data.timestamp.max())
        periods = _periods(data.timestamp)
    return DataStatistics(
        data.number_of_users,
        data.number_of_items,
        len(data),
        per_user,
        per_item,
        ratings,
        periods,
        first,
        last,
        repeats,
        ties,
    )


def day(seconds: int) -> str:
    """The date, as in 2026-01-31; a time beyond the calendar stays a number."""
    if not -62_135_596_800 <= seconds < 253_402_300_800:  # the years 1 to 9999
        return f"second {seconds}"
    return str(np.datetime64(int(seconds), "s").astype("datetime64[D]"))


def _periods(timestamp: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Interactions per month, or per year where there are many months; gaps are zeros. At most 200 columns."""
    days = timestamp // 86_400
    days.sort()
    starts = np.flatnonzero(np.concatenate([[True], days[1:] != days[:-1]]))
    counts = np.diff(np.append(starts, len(days)))
    days = days[starts]
    for unit, most in (("M", MANY_MONTHS), ("Y", 200)):
        number = days.astype("datetime64[D]").astype(f"datetime64[{unit}]").astype(np.int64)
        if number.max() - number.min() < most:
            per_period = np.bincount(number - number.min(), counts)
            labels = (number.min() + np.arange(len(per_period))).astype(f"datetime64[{unit}]")
            return [str(label) for label in labels], per_period
    return [], np.zeros(0)


def histogram(counts: np.ndarray) -> tuple[list[str], list[int]]:
    """The numbers of users (items) with 0, 1, 2, 3–4, 5–8, 9–16, … interactions, and their labels."""
    bins = np.where(counts > 2, 2 + np.ceil(np.log2(np.maximum(counts, 2))).astype(np.int64) - 1, counts)
    per_bin = np.bincount(bins)
    first = 0 if per_bin[0] else 1
    labels = ["0", "1", "2"] + [f"{2 ** (n - 2) + 1}–{2 ** (n - 1)}" for n in range(3, len(per_bin))]
    return labels[first : len(per_bin)], per_bin[first:].tolist()
