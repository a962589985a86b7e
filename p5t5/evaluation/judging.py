"""Turns answers into per-example metric values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from p5t5.data.splits import Split
from p5t5.metrics import text as text_metrics
from p5t5.tasks.registry import TASKS


@dataclass(frozen=True)
class Answers:
    """The judged answers to the examples of one task under one protocol.

    ``values`` and ``totals`` are as in `results.Measured`; ``shown(i)`` is answer i as a person reads
    it; ``kept``: int64, the examples that the values are about, None for all; ``calibration``: of
    ratings, as `metrics.rating.reliability` has it.
    """

    protocol: str
    values: Mapping[str, np.ndarray]
    totals: Mapping[str, float]
    shown: Callable[[int], str] | None = None
    kept: np.ndarray | None = None
    text_decoding: str = ""
    calibration: Mapping[str, Any] | None = None


def text_values(
    texts: Sequence[str], references: Sequence[str], split: Split, task: str, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Per-example values and totals of the text metrics that the task names."""
    names = TASKS[task].metrics
    values: dict[str, np.ndarray] = {}
    statistics = text_metrics.bleu_statistics(texts, references)
    values |= {name: statistics for name in ("bleu1", "bleu2", "bleu4") if name in names}
    rouge = text_metrics.rouge(texts, references)
    values |= {kind: rouge[:, at] for at, kind in enumerate(text_metrics.ROUGE_KINDS) if kind in names}
    if "length" in names:
        values["length"] = text_metrics.lengths(texts)
    if "feature_match" in names and split.data.has("feature"):
        features = [split.data.texts["feature"][row] for row in rows.tolist()]
        known = np.array([bool(text_metrics.words(feature)) for feature in features], np.float64)
        if known.any():
            values["feature_match"] = np.stack([text_metrics.feature_match(texts, features), known], 1)
    totals = {
        "distinct1": text_metrics.distinct_n(texts, 1),
        "distinct2": text_metrics.distinct_n(texts, 2),
        "unique_sentences": text_metrics.unique_sentence_ratio(texts),
    }
    if "feature_coverage" in names and split.data.has("feature"):
        finder = text_metrics.FeatureFinder(split.data.texts["feature"])
        found = [finder(text) for text in texts]
        totals["feature_coverage"] = text_metrics.feature_coverage(found, len(finder.number))
        totals["feature_overlap"] = text_metrics.feature_overlap(found)
    return values, {name: value for name, value in totals.items() if name in names}
