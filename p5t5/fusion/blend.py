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
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split

MODEL, HISTORY = "model", "history"  # the parts that are no Scorer

KINDS = ("sum", "reciprocal_rank", "gate")

SMOOTHING = (
    3.0  # of a row's mean score: what an item has of which a part knows nothing (chosen on validation rows)
)

DEEPEST, RANK_OFFSET = 100, 60  # reciprocal ranks: places counted, and Cormack et al.'s (2009) constant

FILE, STATE, FORMAT = "fusion.json", "fusion.safetensors", 1


def normalized(table: np.ndarray, nonnegative: bool) -> np.ndarray:
    """float32 [n, items]: scores as evidence on one scale, row by row; their order stays.

    Counts and similarities become the log of their smoothed share, (s + 3 mean) / (4 sum), over
    the uniform one: 0 where a part knows nothing of the history. Other scores become z-scores.
    """
    table = np.asarray(table, np.float32)
    mean = table.mean(1, keepdims=True)
    if nonnegative:
        level = np.where(mean > 0, mean, 1)
        return np.log((np.where(mean > 0, table, 1) / level + SMOOTHING) / (1 + SMOOTHING))
    return (table - mean) / np.maximum(table.std(1, keepdims=True), 1e-6)


def centred(table: np.ndarray) -> np.ndarray:
    """Log-probabilities less their row's mean: their scale says how sure the model is, and stays."""
    return table - table.mean(1, keepdims=True)


def reciprocal_ranks(table: np.ndarray) -> np.ndarray:
    """float32 [n, items]: 60 / (60 + rank), ranks from 1; 0 beyond the first 100, and where all scores are alike:
    who knows nothing ranks nothing."""
    items, best = top_of(table, DEEPEST)
    best[best[:, 0] == table.min(1)] = -np.inf
    value = (RANK_OFFSET / (RANK_OFFSET + 1 + np.arange(items.shape[1]))).astype(np.float32)
    out = np.zeros(table.shape, np.float32)
    row, place = np.nonzero((items >= 0) & np.isfinite(best))
    out[row, items[row, place]] = value[place]
    return out


@dataclass
class Fusion:
    """A blend of ``parts`` and the model: ``kind`` "sum", "reciprocal_rank" or "gate".

    An item's score is the sum over parts of weight · evidence (normalised score, or reciprocal rank),
    and of a weight for items of the history. With "gate" a weight is a + b · (log length of the
    history) + c · (log popularity of the item), both standardised. ``weights`` float64 [parts, 1 or 3]
    in the order of ``names``.
    """

    parts: list[Scorer]
    kind: str
    weights: np.ndarray
    popularity: np.ndarray  # float32 [items]: log(1 + training interactions), standardised
    length: tuple[float, float]  # mean and deviation of log(1 + length of a history)
    about: dict[str, Any] = field(default_factory=dict)

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
        people = np.full(len(histories), -1) if users is None else users
        for part in self.parts:
            yield part.scores(histories, people), part.nonnegative

    def evidence(
        self, model: np.ndarray, histories: Ragged, users: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """float32 [n, items]: each of ``names`` in turn, on one scale."""
        for at, (table, nonnegative) in enumerate(self.raw(model, histories, users)):
            if self.kind == "reciprocal_rank":
                yield reciprocal_ranks(table)
            else:
                yield centred(table) if at == 0 else normalized(table, nonnegative)
        yield in_history(histories, self.number_of_items)

    def gates(self, histories: Ragged) -> list[np.ndarray]:
        """What multiplies the evidence for each column of ``weights``: 1, [n, 1] and [1, items]."""
        if self.weights.shape[1] == 1:
            return [np.ones((1, 1), np.float32)]
        mean, deviation = self.length
        lengths = (np.log1p(histories.lengths) - mean) / deviation
        return [np.ones((1, 1), np.float32), lengths[:, None].astype(np.float32), self.popularity[None]]

    def scores(self, model: np.ndarray, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        """float32 [n, items]: the blend. ``histories``: item numbers, whole, oldest first; ``users``: the
        checkpoint's numbers, −1 for a stranger. Items that the model cannot name are −inf.
        """
        total = sum(self._contributions(model, histories, users))
        return np.where(np.isfinite(model), total, np.float32(-np.inf))

    def _contributions(self, model: np.ndarray, histories: Ragged, users: np.ndarray | None):
        gates = self.gates(histories)
        for weights, evidence in zip(
            self.weights.astype(np.float32), self.evidence(model, histories, users), strict=True
        ):
            yield sum(weight * gate for weight, gate in zip(weights, gates, strict=True)) * evidence

    def shares(
        self, model: np.ndarray, histories: Ragged, users: np.ndarray | None, items: np.ndarray
    ) -> list[list[dict[str, float]]]:
        """Why each of ``items`` int [n, k] is there: part → its share of what lifts the item over the average
        item; parts that speak against it have none, the others' shares sum to 1. {} where an item is −1.
        """
        lifts = []
        for table in self._contributions(model, histories, users):
            own = np.take_along_axis(table, np.maximum(items, 0), 1)
            lifts.append(np.maximum(own - table.mean(1, keepdims=True), 0))
        lift = np.stack(lifts, 2)
        share = lift / np.maximum(lift.sum(2, keepdims=True), 1e-12)
        return [
            [
                {name: round(float(one), 4) for name, one in zip(self.names, shares, strict=True) if one > 0}
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
        (folder / FILE).unlink(missing_ok=True)
        temporary = folder / f"{STATE}.tmp"
        save_file(state, temporary)
        temporary.replace(folder / STATE)
        words = {
            "format": FORMAT,
            "kind": self.kind,
            "parts": [part.name for part in self.parts],
            "length": list(self.length),
            "weights": {
                n: [round(w, 4) for w in row]
                for n, row in zip(self.names, self.weights.tolist(), strict=True)
            },
            **self.about,
        }
        temporary = folder / f"{FILE}.tmp"
        temporary.write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
        temporary.replace(folder / FILE)

    def check(self, data_hash: str) -> None:
        """UserError unless the fusion was fitted on the data with this hash."""
        if self.about.get("data", {}).get("hash") != data_hash:
            raise UserError(
                f"the fusion was fitted on other data than these: delete {FILE} beside the model, "
                "and fit it again with `p5t5 evaluate --fusion true …`."
            )

    @staticmethod
    def load(folder: str | Path) -> Fusion:
        """UserError where the folder holds none, or a damaged one."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise UserError(
                f"{folder} holds no fusion ({FILE}): make it with `p5t5 evaluate --fusion true --model {folder} …`."
            )
        try:
            words = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if words["format"] != FORMAT:
                raise UserError(f"{folder / FILE} has format {words['format']}; use the p5t5 that wrote it.")
            known = {ranker.name: ranker for ranker in RANKERS if ranker.in_fusion}
            if unknown := [name for name in words["parts"] if name not in known]:
                raise UserError(
                    f"{folder / FILE} has a part {unknown[0]!r} that this p5t5 does not know; "
                    "use the p5t5 that wrote it, or fit the fusion again."
                )
            state = load_file(folder / STATE)
            parts = [known[name].restored(_below(state, name)) for name in words["parts"]]
            length = (float(words["length"][0]), float(words["length"][1]))
            about = {
                name: words[name]
                for name in words
                if name not in ("format", "kind", "parts", "length", "weights")
            }
            return Fusion(parts, words["kind"], state["weights"], state["popularity"], length, about)
        except UserError:  # a ValueError too, and it says all
            raise
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise UserError(
                f"{folder}: its fusion is damaged ({type(error).__name__}: {error}); fit it again."
            ) from error


def rows_at_once(items: int) -> int:
    """How many histories' tables are held at a time: about 32 MB of float32 each."""
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
    """float32 [items]: log(1 + training interactions) with mean 0 and deviation 1."""
    known = np.log1p(item_counts(split))
    return ((known - known.mean()) / max(float(known.std()), 1e-6)).astype(np.float32)
