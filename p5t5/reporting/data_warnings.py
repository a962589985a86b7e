"""What looks wrong with a data set, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from p5t5.data.records.building import REPEATED
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.sources.id_spelling import differing_spellings
from p5t5.data.sources.leaking_averages import LEAKY
from p5t5.reporting.data_statistics import DataStatistics, day


@dataclass(frozen=True)
class DataWarning:
    """``what`` was seen, and what ``remedy``."""

    what: str
    remedy: str


def data_warnings(data: IndexedRecords, found: DataStatistics, info: Mapping[str, Any]) -> list[DataWarning]:
    """The worst first, as far as that can be said."""
    return [
        *_rows(found, info),
        *_users_and_items(data, found),
        *_times(data, found),
        *_ratings(found),
        *_catalogue(data),
    ]


def _rows(found: DataStatistics, info: Mapping[str, Any]) -> list[DataWarning]:
    out = []
    dropped = dict(info.get("dropped", {}))
    again = dropped.pop(REPEATED, 0)
    total = found.interactions + again + sum(dropped.values())
    if sum(dropped.values()) > 0.05 * total:
        worst = max(dropped, key=dropped.__getitem__)
        out.append(
            DataWarning(
                f"{_percent(sum(dropped.values()) / total)} of the rows could not be used, most of them for: {worst}",
                "look at the first of them, named under “dropped”; is it the right column?",
            )
        )
    if again > 0.01 * total:
        out.append(
            DataWarning(
                f"{_percent(again / total)} of the rows repeat the user, item and time of another",
                "fine if the file was exported twice; if times are days, finer ones would tell visits apart",
            )
        )
    return out


def _users_and_items(data: IndexedRecords, found: DataStatistics) -> list[DataWarning]:
    out = []
    single = float((found.per_user == 1).mean())
    if single > 0.3:
        out.append(
            DataWarning(
                f"{_percent(single)} of the users have one interaction",
                "they teach nothing about what follows what and are never tested; --core 3 leaves them out",
            )
        )
    if found.testable < 100:
        out.append(
            DataWarning(
                f"only {found.testable} users have three or more interactions",
                "only they are tested: expect wide intervals; more rows of the same users help most",
            )
        )
    met = found.per_item[found.per_item > 0]
    if float((met == 1).mean()) > 0.5:
        out.append(
            DataWarning(
                f"{_percent(float((met == 1).mean()))} of the items were met once",
                "nothing can be learnt about them but their titles; --core 3 or 5 leaves a denser part",
            )
        )
    for counts, what in ((found.per_user, "user"), (found.per_item, "item")):
        if len(counts) > 50 and counts[0] > 0.05 * found.interactions and counts[0] > 50 * np.median(counts):
            out.append(
                DataWarning(
                    f"one {what} has {_percent(counts[0] / found.interactions)} of all interactions",
                    f"a till, a robot or a placeholder? take the {what} out of the file if so",
                )
            )
    for ids, what in ((data.user_ids.tolist(), "user"), (data.item_ids.tolist(), "item")):
        if spellings := differing_spellings(ids):
            told = "; ".join(
                f"{number:,} by {kind} ({example})" for kind, (number, example) in spellings.items()
            )
            out.append(
                DataWarning(
                    f"{what} ids differ from another only by their spelling: {told}",
                    f"they count as different; are they the same id? --normalize_ids {','.join(spellings)} makes them one",
                )
            )
    number_of = {item_id: place for place, item_id in enumerate(data.item_ids.tolist())}
    twin = np.array([number_of.get(user_id, -1) for user_id in data.user_ids.tolist()], np.int32)
    if float((twin[data.user] == data.item).mean()) > 0.5:
        out.append(
            DataWarning(
                "in most rows the user is the item",
                "one column was taken for both: name them with --user and --item",
            )
        )
    if found.repeats > 0.2:
        out.append(
            DataWarning(
                f"{_percent(found.repeats)} of the interactions are with an item that the user met before",
                "the filtered ranking never answers with such an item: look at the unfiltered figures too",
            )
        )
    return out


def _times(data: IndexedRecords, found: DataStatistics) -> list[DataWarning]:
    if data.timestamp is None:
        return [
            DataWarning(
                "there are no times",
                "each user's rows count as oldest first, as they stand in the file: sort it if not",
            )
        ]
    low, high = int(data.timestamp.min()), int(data.timestamp.max())
    if low == high:
        return [
            DataWarning(
                f"all times are the same ({found.first})",
                "the order is the file's; name the right column with --time, or --time none",
            )
        ]
    out = []
    if found.ties is not None and found.ties > 0.2:
        out.append(
            DataWarning(
                f"{_percent(found.ties)} of the interactions have the same time as the user's one before",
                "their order is the file's: if that means nothing, “what comes next” is partly a guess; finer times help",
            )
        )
    now = int(datetime.now(timezone.utc).timestamp())
    late = int((data.timestamp > now + 86_400).sum())
    if late:
        out.append(
            DataWarning(
                f"{late:,} times lie in the future, up to {found.last}",
                "check their unit, and the clock that wrote them",
            )
        )
    early = int((data.timestamp < 315_532_800).sum())
    if early and high > 315_532_800:
        out.append(
            DataWarning(
                f"{early:,} times lie before 1980, from {day(low)}",
                f"zeros for unknown times? --missing_time {day(low)} drops those rows, --time none all times",
            )
        )
    elif early:
        out.append(
            DataWarning(
                f"all times lie before 1980 ({found.first} to {found.last})",
                "only their order is used; if they should be dates, check the column and its unit",
            )
        )
    return out


def _ratings(found: DataStatistics) -> list[DataWarning]:
    if found.ratings is None:
        return []
    values, counts = found.ratings
    share = float(counts.max() / counts.sum())
    value = f"{values[counts.argmax()]:g}"
    if len(values) == 1:
        return [
            DataWarning(
                f"all ratings are {value}",
                "that is no rating but “was there”: leave the column out with --rating none",
            )
        ]
    out = [
        DataWarning(
            f"the rating {values[place]:g} stands apart: {_percent(counts[place] / counts.sum())} of the ratings, {why}",
            f"if it means “not rated”, --missing_rating {values[place]:g} drops those rows",
        )
        for place, why in _apart(values)
    ]
    if share > 0.9:
        out.append(
            DataWarning(
                f"{_percent(share)} of the ratings are {value}",
                f"a model that always answers {value} is hard to beat: look at the rank metrics, or --rating none",
            )
        )
    return out


def _apart(values: np.ndarray) -> list[tuple[int, str]]:
    """Places in the sorted ``values`` of what may stand for "not rated": below zero or far from the others, and 0
    below a scale that starts at 1."""
    out: list[tuple[int, str]] = []
    if len(values) < 3:
        return out
    rest, low, high = values[1:], values[0], values[-1]
    span = float(rest[-1] - rest[0])
    if low < 0 <= rest[0]:
        out.append((0, f"below the others ({rest[0]:g} to {rest[-1]:g})"))
    elif low == 0 and rest[0] >= 1 and high in (5, 10, 100):  # scales that start at 1, mostly
        out.append((0, f"below a scale from {rest[0]:g} to {rest[-1]:g}"))
    elif rest[0] - low > max(span, 1):
        out.append((0, f"far below the others ({rest[0]:g} to {rest[-1]:g})"))
    others = values[:-1] if not out else values[1:-1]
    if len(others) > 1 and high - others[-1] > max(float(others[-1] - others[0]), 1):
        out.append((len(values) - 1, f"far above the others ({others[0]:g} to {others[-1]:g})"))
    return out


def _catalogue(data: IndexedRecords) -> list[DataWarning]:
    out = []
    leaky = [name for name in data.attributes if "".join(filter(str.isalnum, name.lower())) in LEAKY]
    if leaky:
        out.append(
            DataWarning(
                f"the item table has {', '.join(leaky)}",
                "figures over all interactions contain the held-back ones and leak them: take the column out",
            )
        )
    if data.has("title"):
        untitled = sum(not title for title in data.items["title"]) / data.number_of_items
        if untitled > 0.05:
            out.append(
                DataWarning(
                    f"{_percent(untitled)} of the items have no title",
                    "is the item table complete, and are its ids written as in the interactions?",
                )
            )
    return out


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"
