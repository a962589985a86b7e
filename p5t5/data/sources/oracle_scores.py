"""The scores that the simulated shop's oracle is given: small, self-contained, independent of p5t5.metrics."""

from __future__ import annotations

from collections import Counter

import numpy as np

from p5t5.core.ragged import Ragged


def unigram_f1(answer: str, truth: str) -> float:
    """ROUGE-1 F1 of words parted by spaces: twice the shared words over the sum of both lengths."""
    a, b = Counter(answer.lower().split()), Counter(truth.lower().split())
    return 2 * sum((a & b).values()) / max(sum(a.values()) + sum(b.values()), 1)


def overlap(table: list[list[list[str]]]) -> np.ndarray:
    """[genre, feature, rating, feature, rating]: the F1 of each text of a genre against each other."""
    out = []
    for by_feature in table:
        texts = [text for by_rating in by_feature for text in by_rating]
        out.append(np.array([[unigram_f1(a, b) for b in texts] for a in texts]).reshape(3, 5, 3, 5))
    return np.stack(out)


def best_constant_text(texts: list[str], train: np.ndarray, rows: np.ndarray) -> float:
    """The mean F1 on ``rows`` of the training text that has the highest mean F1 on the training rows."""
    counts = Counter(texts[row] for row in train)
    best = max(counts, key=lambda answer: sum(unigram_f1(answer, text) * n for text, n in counts.items()))
    return float(np.mean([unigram_f1(best, texts[row]) for row in rows]))


def ranks(chances: np.ndarray, column: np.ndarray) -> np.ndarray:
    """int64 [n]: the 0-based rank of each row's column; equal scores rank by column."""
    own = chances[np.arange(len(column)), column][:, None]
    ties_before = (chances == own) & (np.arange(chances.shape[1]) < column[:, None])
    return ((chances > own) | ties_before).sum(axis=1)


def item_scores(chances: np.ndarray, item: np.ndarray) -> dict[str, float]:
    """ndcg@10 and hr@10 of ranking all items by ``chances`` [n, items]; ``item`` [n] is the truth."""
    rank = ranks(chances, item)
    return {
        "sequential/next_item ndcg@10": float(np.mean(np.where(rank < 10, 1 / np.log2(rank + 2), 0.0))),
        "sequential/next_item hr@10": float(np.mean(rank < 10)),
    }


def candidate_scores(chances: np.ndarray, item: np.ndarray, candidates: Ragged | None) -> dict[str, float]:
    """hr@1 and ndcg@10 among the candidates: with uniform negatives the odds are those of the process."""
    if candidates is None:
        return {}
    among = np.zeros_like(chances, dtype=bool)
    among[candidates.row_of_value, candidates.values] = True
    rank = ranks(np.where(among, chances, -1.0), item)
    scores = {"hr@1": float(np.mean(rank == 0)), "ndcg@10": float(np.mean((rank < 10) / np.log2(rank + 2)))}
    return {
        f"{task} {metric}": value
        for task in ("sequential/choose", "direct/choose")
        for metric, value in scores.items()
    }


def rmse(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square error."""
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))
