"""Metrics of numbers and of yes/no answers."""

from __future__ import annotations

import numpy as np

BINS = 10  # equal bins of probability, for calibration


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


def choice_probabilities(log_probabilities: np.ndarray) -> np.ndarray:
    """float64 [n, C]: the choices' probabilities, normalised among them; NaN where none has any."""
    scores = np.asarray(log_probabilities, np.float64)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def central_interval(probabilities: np.ndarray, values: np.ndarray, mass: float = 0.8) -> np.ndarray:
    """float64 [n, 2]: the quantiles (1 ∓ mass)/2 of distributions [n, C] over ``values`` [C], ascending.

    Between them, ends included, lies at least ``mass``: on a scale of few values well more than that.
    """
    below = np.cumsum(probabilities, 1)
    tail = (1 - mass) / 2
    low = (below < tail - 1e-9).sum(1)
    high = np.minimum((below < 1 - tail - 1e-9).sum(1), len(values) - 1)
    return np.asarray(values, np.float64)[np.stack([low, high], 1)]


def calibration_gaps(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> np.ndarray:
    """float32 [n, C · bins], of whose mean `calibration_error` is the statistic.

    Cell (c, bin) holds (probability of choice c − whether c is the ``truth``, its place) / C where that
    probability lies in the bin, and else 0.
    """
    n, choices = probabilities.shape
    cell = np.arange(choices) * bins + _bin(probabilities, bins)
    happened = np.arange(choices) == np.asarray(truth)[:, None]
    gaps = np.zeros((n, choices * bins), np.float32)
    np.put_along_axis(gaps, cell, ((probabilities - happened) / choices).astype(np.float32), 1)
    return gaps


def calibration_error(means: np.ndarray) -> np.ndarray:
    """[...]: the expected calibration error, of the mean of `calibration_gaps` [..., C · bins].

    How far a choice's probability is from its frequency, on average over equal bins of probability
    (weighted by what falls in) and over the choices: the classwise error of Kull et al. (2019). It is
    above 0 by chance too, so an interval of it says how precise it is, not whether it is 0.
    """
    return np.abs(means).sum(-1)


def reliability(
    probabilities: np.ndarray, values: np.ndarray, truth: np.ndarray, bins: int = BINS
) -> dict[str, list[dict[str, float]]]:
    """What was predicted against what happened, in three tables for people; ``truth`` [n]: places in ``values``.

    Each row has a ``group``, how many there are (``n``), and what was ``predicted`` and ``observed`` on average.

    - ``values``: each rating value's probability and its frequency.
    - ``probabilities``: all probabilities, of whichever value, by equal bins; how often that value was true.
    - ``expectations``: the answers in up to ten equal groups by their expectation; the true ratings.
    """
    values = np.asarray(values, np.float64)
    happened = np.arange(len(values)) == np.asarray(truth)[:, None]
    expected, true = probabilities @ values, values[truth]
    group = np.argsort(np.argsort(expected, kind="stable"), kind="stable") * 10 // max(len(expected), 1)
    place = np.broadcast_to(np.arange(len(values)), probabilities.shape)
    shares = _grouped(place, probabilities, happened)
    return {
        "values": [{**row, "group": float(value)} for row, value in zip(shares, values, strict=True)],
        "probabilities": _grouped(_bin(probabilities, bins), probabilities, happened),
        "expectations": _grouped(group, expected, true),
    }


def _grouped(group: np.ndarray, predicted: np.ndarray, observed: np.ndarray) -> list[dict[str, float]]:
    """The size and both means of each group that has members, in their order."""
    group = np.asarray(group).ravel()
    counts = np.bincount(group)
    sums = [np.bincount(group, np.asarray(part, np.float64).ravel()) for part in (predicted, observed)]
    return [
        {
            "group": int(at),
            "n": int(counts[at]),
            "predicted": round(float(sums[0][at] / counts[at]), 6),
            "observed": round(float(sums[1][at] / counts[at]), 6),
        }
        for at in np.flatnonzero(counts)
    ]


def _bin(probabilities: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((np.asarray(probabilities) * bins).astype(np.int64), bins - 1)


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
