"""Metrics of numbers and of yes/no answers."""

from __future__ import annotations

import numpy as np


def squared_error(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [n]. Its mean's root is the RMSE. A NaN prediction stays NaN: nothing is dropped silently."""
    return (np.asarray(prediction, np.float64) - np.asarray(truth, np.float64)) ** 2


def absolute_error(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [n]. Its mean is the MAE."""
    return np.abs(np.asarray(prediction, np.float64) - np.asarray(truth, np.float64))


def rmse(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Root of the mean squared error, in the unit of the ratings."""
    return float(np.sqrt(squared_error(prediction, truth).mean()))


def mae(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute error, in the unit of the ratings."""
    return float(absolute_error(prediction, truth).mean())


def accuracy(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [n]: 1 where the answer is right."""
    return (np.asarray(prediction) == np.asarray(truth)).astype(np.float64)


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive outscores a negative, ties counting one half.

    ``scores`` [n], ``positive`` bool [n]; ``weights`` [..., n] are counts (for the bootstrap) and
    give one value a leading index. NaN where one of the classes is absent.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    if not len(scores):
        return np.full(weights.shape[:-1], np.nan)
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    up = np.add.reduceat((weights * positive)[..., order], starts, axis=-1)
    down = np.add.reduceat((weights * ~positive)[..., order], starts, axis=-1)
    below = np.cumsum(down, -1) - down
    pairs = up.sum(-1) * down.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (up * (below + 0.5 * down)).sum(-1) / pairs, np.nan)
