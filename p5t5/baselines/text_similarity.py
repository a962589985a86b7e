"""Text similarity: ranks items by their description's similarity to the history. It ranks new items too."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from p5t5.baselines.base import Scorer, history_matrix
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split
from p5t5.data.text_features import word_features

MAX_PROFILE_CELLS = 1 << 23  # profile weights held at a time: 32 MB


class ContentSimilarity(Scorer):
    """score = profile · item: TF-IDF of the items' words, the profile a decayed sum over the history (Rocchio 1971).

    Reads titles and attributes, never an interaction, no prices, and no aggregates over purchases
    (`p5t5.data.text_features`). ``decay``: weight of an item relative to the next newer one. Scores are 0 where no two
    items share a word.
    """

    name = "text_likeness"

    def __init__(self, split: Split, decay: float = 0.5):
        self.words, self.decay = word_features(split.data.items), decay
        self.number_of_items = self.words.shape[0]

    @classmethod
    def fitted(cls, split: Split) -> Scorer | None:
        """None where no two items share a word."""
        scorer = cls(split)
        return scorer if scorer.words.nnz else None

    def state(self) -> dict[str, np.ndarray]:
        words = {name: getattr(self.words, name) for name in ("data", "indices", "indptr")}
        return {**words, "shape": np.array(self.words.shape), "decay": np.array(self.decay)}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        shape = tuple(state["shape"].tolist())
        self.words = sparse.csr_array((state["data"], state["indices"], state["indptr"]), shape)
        self.number_of_items, self.decay = shape[0], float(state["decay"])

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        """float32 [histories, items]. Profiles are dense, item vectors sparse, since a profile holds words that most items have."""
        out = np.empty((len(histories), self.number_of_items), np.float32)
        step = max(MAX_PROFILE_CELLS // max(self.words.shape[1], 1), 1)
        for start in range(0, len(histories), step):
            rows = np.arange(start, min(start + step, len(histories)))
            votes = history_matrix(histories.take(rows), self.number_of_items, self.decay)
            out[rows] = (self.words @ (votes @ self.words).T.toarray()).T
        return out


def content_rankers(split: Split) -> list[Scorer]:
    """[ContentSimilarity] where any two items share a word, else nothing."""
    scorer = ContentSimilarity.fitted(split)
    return [] if scorer is None else [scorer]
