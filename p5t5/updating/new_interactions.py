"""Which rows of a newer data folder a model has not been trained on, and a mixture of these with old ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from p5t5.checkpoint.info import CheckpointInfo, DataRecord
from p5t5.core.encoded import Encoded, on_disk
from p5t5.core.errors import UserError
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import PARTS, Split, split_by
from p5t5.tasks.registry import TASKS
from p5t5.text import rendering
from p5t5.text.mixture import Mixture

TRAIN, VALIDATION, TEST = range(len(PARTS))

# In p5t5.json, "data" is the data that the model answers about, "trained" a list of the data that it was trained on, in
# order. Each is a `data_record`: "moved" holds the numbers of the rows that `clean_split` moved into training, so
# that the last record alone determines all rows that were trained on.


def data_record(split: Split) -> DataRecord:
    """The record that a checkpoint stores of data with a split as made by `clean_split`."""
    moved = np.flatnonzero(split.part != split_by(split.scheme, split.data).part)
    return replace(DataRecord.of(split.data), moved=tuple(moved.tolist()))


def split_of(info: CheckpointInfo, data: IndexedRecords) -> Split:
    """The data's split for a model with this ``info``: rows that it was ever trained on are training rows.

    Raises UserError where these cannot be determined, for other data than the model's own.
    """
    if data.hash != info.data.hash:
        return split_newer_data(info, data)[0]
    split = split_by(info.split, data)
    return replace(split, part=_with_moved(split.part, info.data.moved))


def split_newer_data(
    info: CheckpointInfo, data: IndexedRecords, old: IndexedRecords | None = None
) -> tuple[Split, np.ndarray, np.ndarray]:
    """Newer data as a model sees it: its split, and two bool [n]: which rows are new, and which were trained on.

    New rows are those that the data it was last trained on did not have: see `new_rows`, also for ``old``
    and the errors raised. Raises UserError for a random split too.
    """
    last, raw = info.trained_data[-1], split_by(info.split, data)
    if not raw.in_time_order:
        raise UserError(
            f"the model was trained on the {raw.scheme} split, which draws other test rows from newer data: it can only be used "
            "with its own data. For newer data, train a model on the split loo or temporal."
        )
    is_new = new_rows(last, data, old)
    trained = trained_before(raw, is_new, last.moved)
    return clean_split(raw, trained), is_new, trained


def new_rows(known_data: DataRecord, data: IndexedRecords, old: IndexedRecords | None = None) -> np.ndarray:
    """bool [n]: the interactions of ``data`` that the model's data did not have.

    ``known_data``: the checkpoint's record of its data (`data_record`). With ``old``, that data itself, rows are compared
    by user, item and time; without it, new rows are those after its last time. Raises UserError where this cannot be
    determined, and where ``data`` lacks old rows or has them in another order.
    """
    if old is None:
        return np.zeros(len(data), bool) if data.hash == known_data.hash else _later(known_data, data)
    if old.hash != known_data.hash:
        raise UserError(
            f"--old {old.name} is not the data that the model was trained on: their hashes differ. "
            "Give that folder, or leave --old out where the data has times."
        )
    timed = old.timestamp is not None and data.timestamp is not None
    known: dict[tuple, int] = {}
    for key in _keys(old, timed):
        known[key] = known.get(key, 0) + 1
    is_new = np.ones(len(data), bool)
    for row, key in enumerate(_keys(data, timed)):
        if known.get(key, 0):
            known[key] -= 1
            is_new[row] = False
    old_rows = [key[:2] for row, key in enumerate(_keys(data, False)) if not is_new[row]]
    if old_rows != [key[:2] for key in _keys(old, False)]:
        missing = next((f"{user} with {item}" for (user, item, *_), left in known.items() if left), "")
        raise UserError(
            f"{data.name} must hold all interactions of {old.name}, in the same order for each user: "
            + (f"it lacks {missing}." if missing else "the order differs.")
        )
    return is_new


def _later(known_data: DataRecord, data: IndexedRecords) -> np.ndarray:
    until, number = known_data.until, known_data.interactions
    if until is None or data.timestamp is None:
        raise UserError(
            "cannot tell which interactions are new: the data has no timestamps, or the model has no record of its last one. "
            "Give --old, the data folder that the model was trained on."
        )
    is_new = data.timestamp > until
    if (known := int((~is_new).sum())) != number:
        raise UserError(
            f"{data.name} has {known} interactions up to the last timestamp of the model's data, but it was trained on {number}: "
            "the newer folder must hold all old interactions, and otherwise only newer ones. If some arrived late, give --old."
        )
    return is_new


def _keys(data: IndexedRecords, timed: bool):
    """(user id, item id, time or 0) of each row."""
    times = data.timestamp.tolist() if timed and data.timestamp is not None else [0] * len(data)
    return zip(data.user_ids[data.user].tolist(), data.item_ids[data.item].tolist(), times, strict=True)


def trained_before(split: Split, is_new: np.ndarray, moved: Sequence[int] = ()) -> np.ndarray:
    """bool [n]: the rows that were training rows when the data ended before the new ones.

    ``moved``: numbers, among the rows that are not new, of those that `clean_split` had moved into training.
    """
    data, old = split.data, np.flatnonzero(~is_new)
    before = replace(
        data,
        user=data.user[old],
        item=data.item[old],
        rating=None if data.rating is None else data.rating[old],
        timestamp=None if data.timestamp is None else data.timestamp[old],
        texts={},
    )
    out = np.zeros(len(data), bool)
    out[old] = _with_moved(split_by(split.scheme, before).part, moved) == TRAIN
    return out


def _with_moved(part: np.ndarray, moved: Sequence[int]) -> np.ndarray:
    part = part.copy()
    part[np.asarray(moved, np.int64)] = TRAIN
    return part


def clean_split(split: Split, trained: np.ndarray) -> Split:
    """The split with validation rows that were trained on before (of users with too few rows then) moved into training.

    Raises UserError where test rows were trained on: new rows then lie before old ones.
    """
    if (trained_tests := np.flatnonzero(trained & (split.part == TEST))).size:
        user = split.data.user_ids[split.data.user[trained_tests[0]]]
        raise UserError(
            f"{split.data.name}: {len(trained_tests)} test rows were training rows of the model, the first of user {user!r}: new "
            "interactions lie before old ones. Train a model on the new data instead (`p5t5 finetune`)."
        )
    return replace(split, part=np.where(trained, TRAIN, split.part).astype(np.int8))


def update_groups(
    split: Split, is_new: np.ndarray, known_items: np.ndarray, known_users: np.ndarray
) -> dict[str, np.ndarray]:
    """The groups of interactions that an update is evaluated on: name → bool [n]; old rows, new rows and kinds of these.

    ``known_items`` bool [items], ``known_users`` bool [users]: known to the model before the update.
    """
    user, item = known_users[split.data.user], known_items[split.data.item]
    groups = {"old rows": ~is_new, "new rows": is_new, "of new users": ~user, "of new items": ~item}
    return {name: rows for name, rows in groups.items() if (rows & (split.part == VALIDATION)).any()}


def restrict_validation(split: Split, among: np.ndarray) -> Split:
    """The split with only the rows ``among`` bool [n] as validation rows; the other validation rows are in no part."""
    left_out = (split.part == VALIDATION) & ~among
    return replace(split, part=np.where(left_out, -1, split.part).astype(np.int8))


@dataclass(frozen=True)
class MixtureAmong(Mixture):
    """A mixture whose examples come from the training rows ``among``, bool [n]; tasks without any are off."""

    among: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        return tuple(name for name in super().tasks if len(self._mine(name)))

    @cached_property
    def eligible(self) -> dict[str, np.ndarray]:
        return {name: self._mine(name) for name in self.tasks}

    def _mine(self, task: str) -> np.ndarray:
        rows = TASKS[task].eligible(self.split, "train")
        return rows[self.among[rows]]


@dataclass(frozen=True)
class Replay:
    """Examples from new training rows and, as the share ``replay`` of all, from rows trained on before."""

    fresh: MixtureAmong
    old: MixtureAmong

    @staticmethod
    def of(mixture: Mixture, trained: np.ndarray, replay: float) -> Replay:
        """From a mixture of all rows: an epoch has as many examples from new rows as there are new rows."""
        fresh = (mixture.split.part == TRAIN) & ~trained
        number = max(int(fresh.sum()), 1)
        shared = {name: getattr(mixture, name) for name in ("split", "prompts", "weights", "options", "seed")}
        shared["loss_weights"] = mixture.loss_weights
        return Replay(
            MixtureAmong(**shared, size=number, among=fresh),
            MixtureAmong(**shared, size=round(number * replay / (1 - replay)), among=trained),
        )

    def render(
        self, renderer: rendering.Renderer, epoch: int, distilled: rendering.DistilledRow | None = None
    ) -> Encoded:
        """An epoch's examples as token ids, with soft targets where given; memory-mapped from disk where
        `rendering.render_mixture` would do so."""
        parts = [part for part in (self.fresh, self.old) if part.size and part.tasks]
        rendered = (rendering.render_mixture(renderer, part, epoch, distilled) for part in parts)
        if sum(part.size for part in parts) > rendering.RENDERED:
            return on_disk(rendered)
        return Encoded.concatenate(list(rendered))
