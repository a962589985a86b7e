"""The fusion: the model's log-probabilities blended with co-occurrence, neighbours, factors and texts.

Every part gives the whole catalogue a score; `normalized` makes scores of different kinds comparable, and a
blend is a linear function of them, so each part's share in an item's score is known. The weights come from
validation rows alone (p5t5.fusion.fitting), the parts from training rows alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.baselines.base import Scorer, item_counts, top_of
from p5t5.baselines.registry import RANKERS, default_scorers
from p5t5.core.errors import UserError
from p5t5.core.files import atomic_path, atomic_write
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split

MODEL, HISTORY = "model", "history"  # the parts that are not Scorers

KINDS = ("sum", "reciprocal_rank", "gate")

SMOOTHING = (
    3.0  # pseudo-count in units of a row's mean score, for items without evidence (chosen on validation rows)
)

MAX_RANK = 100  # of reciprocal ranks: the last rank counted
RANK_OFFSET = 60  # of reciprocal ranks: the constant of Cormack et al. (2009)

FUSION_FILE, STATE_FILE, FORMAT = "fusion.json", "fusion.safetensors", 1


def normalized(table: np.ndarray, nonnegative: bool) -> np.ndarray:
    """float32 [n, items]: scores as evidence on one scale, row by row; their order is kept.

    Counts and similarities become the log of their smoothed share, (s + 3 mean) / (4 sum), over
    the uniform one: 0 where a part has no evidence for the history. Other scores become z-scores.
    """
    table = np.asarray(table, np.float32)
    mean = table.mean(1, keepdims=True)
    if nonnegative:
        level = np.where(mean > 0, mean, 1)
        return np.log((np.where(mean > 0, table, 1) / level + SMOOTHING) / (1 + SMOOTHING))
    return (table - mean) / np.maximum(table.std(1, keepdims=True), 1e-6)


def centred(table: np.ndarray) -> np.ndarray:
    """float32 [n, items]: log-probabilities minus their row's mean: their scale, which expresses the model's confidence, is kept."""
    return table - table.mean(1, keepdims=True)


def reciprocal_ranks(table: np.ndarray) -> np.ndarray:
    """float32 [n, items]: 60 / (60 + rank), ranks from 1; 0 beyond the first 100, and where all scores of a row are equal:
    a part without evidence ranks nothing."""
    items, best = top_of(table, MAX_RANK)
    best[best[:, 0] == table.min(1)] = -np.inf
    value = (RANK_OFFSET / (RANK_OFFSET + 1 + np.arange(items.shape[1]))).astype(np.float32)
    out = np.zeros(table.shape, np.float32)
    row, rank = np.nonzero((items >= 0) & np.isfinite(best))
    out[row, items[row, rank]] = value[rank]
    return out


@dataclass
class Fusion:
    """A blend of ``parts`` and the model: ``kind`` is "sum", "reciprocal_rank" or "gate".

    An item's score is the sum over parts of weight · evidence (normalized score, or reciprocal rank),
    plus a weight for items of the history. With "gate" a weight is a + b · (log length of the
    history) + c · (log popularity of the item), both standardized. ``weights`` float64 [parts, 1 or 3]
    in the order of ``names``. ``metadata``: what it was fitted on and how it was chosen.
    """

    parts: list[Scorer]
    kind: str
    weights: np.ndarray
    popularity: np.ndarray  # float32 [items]: log(1 + training interactions), standardized
    length: tuple[float, float]  # mean and standard deviation of log(1 + length of a history)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [MODEL, *(part.name for part in self.parts), HISTORY]

    @property
    def number_of_items(self) -> int:
        return len(self.popularity)

    def raw(
        self, model: np.ndarray, histories: Ragged, users: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, bool]]:
        """(scores float32 [n, items], nonnegative) of the model and each part; ``model``: log-probabilities."""
        possible = np.isfinite(model)
        lowest = np.where(possible, model, np.inf).min(1, keepdims=True)
        yield np.where(possible, model, np.where(np.isfinite(lowest), lowest, 0)), False
        user_numbers = np.full(len(histories), -1) if users is None else users
        for part in self.parts:
            yield part.scores(histories, user_numbers), part.nonnegative

    def evidence(
        self, model: np.ndarray, histories: Ragged, users: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """float32 [n, items]: the evidence of each of ``names`` in turn, on one scale."""
        for index, (table, nonnegative) in enumerate(self.raw(model, histories, users)):
            if self.kind == "reciprocal_rank":
                yield reciprocal_ranks(table)
            else:
                yield centred(table) if index == 0 else normalized(table, nonnegative)
        yield in_history(histories, self.number_of_items)

    def gates(self, histories: Ragged) -> list[np.ndarray]:
        """The factors of the evidence for each column of ``weights``: 1, [n, 1] and [1, items]."""
        if self.weights.shape[1] == 1:
            return [np.ones((1, 1), np.float32)]
        mean, deviation = self.length
        lengths = (np.log1p(histories.lengths) - mean) / deviation
        return [np.ones((1, 1), np.float32), lengths[:, None].astype(np.float32), self.popularity[None]]

    def scores(self, model: np.ndarray, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        """float32 [n, items]: the blend. ``histories``: item numbers, complete, oldest first; ``users``: the
        checkpoint's numbers, −1 for an unknown user. Items that the model cannot name are −inf.
        """
        total = sum(self._contributions(model, histories, users))
        return np.where(np.isfinite(model), total, np.float32(-np.inf))

    def _contributions(self, model: np.ndarray, histories: Ragged, users: np.ndarray | None):
        gates = self.gates(histories)
        for part_weights, evidence in zip(
            self.weights.astype(np.float32), self.evidence(model, histories, users), strict=True
        ):
            yield sum(weight * gate for weight, gate in zip(part_weights, gates, strict=True)) * evidence

    def shares(
        self, model: np.ndarray, histories: Ragged, users: np.ndarray | None, items: np.ndarray
    ) -> list[list[dict[str, float]]]:
        """Why each of ``items`` int [n, k] is ranked: part → its share of what lifts the item above the average
        item; parts with a negative contribution are left out, the others' shares sum to 1. {} where an item is −1.
        """
        lifts = []
        for table in self._contributions(model, histories, users):
            contributions = np.take_along_axis(table, np.maximum(items, 0), 1)
            lifts.append(np.maximum(contributions - table.mean(1, keepdims=True), 0))
        lift = np.stack(lifts, 2)
        share = lift / np.maximum(lift.sum(2, keepdims=True), 1e-12)
        return [
            [
                {
                    name: round(float(value), 4)
                    for name, value in zip(self.names, shares, strict=True)
                    if value > 0
                }
                if item >= 0
                else {}
                for item, shares in zip(row, row_shares, strict=True)
            ]
            for row, row_shares in zip(items.tolist(), share, strict=True)
        ]

    def save(self, folder: str | Path) -> None:
        """Writes fusion.safetensors and fusion.json, each under a temporary name first."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        state = {"popularity": self.popularity, "weights": self.weights}
        for part in self.parts:
            state |= {
                f"{part.name}/{name}": np.array(value, order="C") for name, value in part.state().items()
            }
        (folder / FUSION_FILE).unlink(missing_ok=True)
        with atomic_path(folder / STATE_FILE) as temporary:
            save_file(state, temporary)
        plain = {
            "format": FORMAT,
            "kind": self.kind,
            "parts": [part.name for part in self.parts],
            "length": list(self.length),
            "weights": {
                name: [round(w, 4) for w in row]
                for name, row in zip(self.names, self.weights.tolist(), strict=True)
            },
            **self.metadata,
        }
        atomic_write(folder / FUSION_FILE, json.dumps(plain, indent=1) + "\n")

    def check(self, data_hash: str) -> None:
        """Raises UserError unless the fusion was fitted on the data with this hash."""
        if self.metadata.get("data", {}).get("hash") != data_hash:
            raise UserError(
                f"the fusion was fitted on other data than these: delete {FUSION_FILE} beside the model, "
                "and fit it again with `p5t5 evaluate --fusion true …`."
            )

    @staticmethod
    def load(folder: str | Path) -> Fusion:
        """Reads the fusion of a folder. Raises UserError where there is none, or it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        if not (folder / FUSION_FILE).is_file():
            raise UserError(
                f"{folder} holds no fusion ({FUSION_FILE}): make it with `p5t5 evaluate --fusion true --model {folder} …`."
            )
        try:
            plain = json.loads((folder / FUSION_FILE).read_text(encoding="utf-8"))
            if plain["format"] != FORMAT:
                raise UserError(
                    f"{folder / FUSION_FILE} has format {plain['format']}; use the p5t5 version that wrote it."
                )
            known = {ranker.name: ranker for ranker in RANKERS if ranker.in_fusion}
            if unknown := [name for name in plain["parts"] if name not in known]:
                raise UserError(
                    f"{folder / FUSION_FILE} has an unknown part {unknown[0]!r}; "
                    "use the p5t5 version that wrote it, or fit the fusion again."
                )
            state = load_file(folder / STATE_FILE)
            parts = [known[name].restored(_below(state, name)) for name in plain["parts"]]
            length = (float(plain["length"][0]), float(plain["length"][1]))
            metadata = {
                name: plain[name]
                for name in plain
                if name not in ("format", "kind", "parts", "length", "weights")
            }
            return Fusion(parts, plain["kind"], state["weights"], state["popularity"], length, metadata)
        except UserError:  # a subclass of ValueError, with a complete message
            raise
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise UserError(
                f"{folder}: its fusion is damaged ({type(error).__name__}: {error}); fit it again."
            ) from error


def rows_at_once(items: int) -> int:
    """How many histories are scored at a time: their tables take about 32 MB of float32."""
    return int(min(max(2**23 // max(items, 1), 1), 512))


def _below(state: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {key.split("/", 1)[1]: value for key, value in state.items() if key.startswith(f"{name}/")}


def in_history(histories: Ragged, items: int) -> np.ndarray:
    """float32 [n, items]: 1 for the items of the history."""
    table = np.zeros((len(histories), items), np.float32)
    table[histories.row_of_value, histories.values] = 1
    return table


def default_parts(split: Split, with_implicit: bool | None = None) -> list[Scorer]:
    """`default_scorers` without those whose state describes single users."""
    return default_scorers(split, with_implicit, in_fusion=True)


def standardized_popularity(split: Split) -> np.ndarray:
    """float32 [items]: log(1 + training interactions), with mean 0 and standard deviation 1."""
    log_counts = np.log1p(item_counts(split))
    return ((log_counts - log_counts.mean()) / max(float(log_counts.std()), 1e-6)).astype(np.float32)
