"""A baseline: what stands nearest to the last item on the shelf."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from p5t5.baselines.base import Scorer
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split


class Neighbour(Scorer):
    """Minus the distance of the items' numbers."""

    name = "shelf_neighbour"
    nonnegative = False

    def __init__(self, split: Split):
        self.number_of_items = split.data.number_of_items

    def state(self) -> dict[str, np.ndarray]:
        return {"items": np.array(self.number_of_items)}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.number_of_items = int(state["items"])

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        last = np.zeros(len(histories), np.int64)
        known = histories.lengths > 0
        last[known] = histories.values[histories.offsets[1:][known] - 1]
        return -np.abs(np.arange(self.number_of_items) - last[:, None]).astype(np.float32)
