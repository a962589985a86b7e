"""A fusion without the model: what the other parts achieve together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p5t5.baselines.base import Scorer
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split
from p5t5.fusion.blend import MODEL, default_parts
from p5t5.fusion.fitting import fit_fusion, validation_rows


class FusionWithoutModel(Scorer):
    """The parts (default: `default_parts`) fused like those of `fit_for`, on the same validation rows, with a constant
    score in place of the model. What a fused model achieves beyond this comes from the model."""

    name = "fusion_without_model"
    nonnegative = False

    def __init__(
        self, split: Split, parts: Sequence[Scorer] | None = None, limit: int | None = 10_000, seed: int = 0
    ):
        self.number_of_items = split.data.number_of_items
        parts = default_parts(split) if parts is None else parts
        rows = validation_rows(split, limit, seed)
        self.fusion = fit_fusion(parts, split, lambda part: self._nothing(len(part)), rows=rows)

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        return self.fusion.scores(self._nothing(len(histories)), histories, users)

    def settings(self) -> dict[str, object]:
        """The chosen blend and the fitted weights of its parts."""
        weights = zip(self.fusion.names, self.fusion.weights.round(4).tolist(), strict=True)
        chosen = {name: value for name, value in weights if name != MODEL}
        return {"chosen": self.fusion.metadata["chosen"], "weights": chosen}

    def _nothing(self, rows: int) -> np.ndarray:
        return np.zeros((rows, self.number_of_items), np.float32)
