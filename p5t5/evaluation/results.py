"""Result rows: what was measured, for which model, on which rows, with an interval; and paired comparisons.

Everything that is shown anywhere (report, model card, README) is made from such rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_write
from p5t5.metrics.direction import lower_is_better
from p5t5.metrics.intervals import (
    CHUNK,
    Statistic,
    bootstrap_interval,
    first_mean,
    paired_bootstrap,
    resampling_counts,
    root_mean,
)
from p5t5.metrics.rating import auc, calibration_error
from p5t5.metrics.text import bleu1, bleu2, bleu4

FIELDS = (
    "dataset",
    "split",
    "model",
    "family",
    "task",
    "prompt",
    "protocol",
    "metric",
    "value",
    "ci95",
    "n",
    "seed",
    "seconds",
    "checkpoint",
    "quoted",
    "variant",
    "scheme",
    "aggregate",
    "text_decoding",
)


def first_of_second(means: np.ndarray) -> np.ndarray:
    """The ratio of two means, float [...] from [..., 2]: matches among the examples that have something to match."""
    with np.errstate(invalid="ignore"):
        return means[..., 0] / means[..., 1]


# Metrics that are not plain means of their values.
STATISTICS: dict[str, Statistic] = {
    "rmse": root_mean,
    "ece": calibration_error,
    "bleu1": bleu1,
    "bleu2": bleu2,
    "bleu4": bleu4,
    "feature_match": first_of_second,
}

SEEN_PROMPTS = "seen_prompts"  # what answers to held-out prompts are compared with


@dataclass(frozen=True)
class Measured:
    """One model on one task, prompt kind and protocol, example by example.

    - ``rows``: int64 [n], the interactions asked about; ``users``: int [n], whose they are.
    - ``values``: metric → float [n] or [n, m], of which the metric is a statistic of the mean (the mean
      itself unless STATISTICS names another). For "auc": [n, 2], score and whether positive.
    - ``totals``: metric → a number computed from all answers together (diversity), which has no interval.
    """

    model: str
    task: str
    prompt: str  # "seen", "held_out", an id; "" for what reads no prompt
    protocol: str
    rows: np.ndarray
    users: np.ndarray
    values: Mapping[str, np.ndarray]
    totals: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    text_decoding: str = ""  # how text was decoded; "" for baselines and where no text is generated


@dataclass
class Evaluation:
    """The outcome of an evaluation: result rows, samples for people, and the values behind the rows."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)  # predicted against observed ratings
    skipped: list[str] = field(default_factory=list)  # sentences on what was not evaluated and why

    def add(self, measured: Measured, metadata: Mapping[str, Any]) -> None:
        """``metadata``: the fields that all rows of this evaluation share."""
        self.measured.append(measured)
        self.rows += result_rows(measured, metadata)

    def extend(self, other: Evaluation) -> None:
        self.rows += other.rows
        self.samples += other.samples
        self.measured += other.measured
        self.calibration += other.calibration
        self.skipped += [sentence for sentence in other.skipped if sentence not in self.skipped]


def result_rows(measured: Measured, metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One flat row per metric, with every field of FIELDS."""
    seed = int(metadata.get("seed", 0))
    shared = {
        "checkpoint": "",
        "quoted": False,
        "variant": "main",
        "aggregate": "seed",
        **metadata,
        "model": measured.model,
        "family": measured.task.split("/")[0],
        "task": measured.task,
        "prompt": measured.prompt,
        "protocol": measured.protocol,
        "n": len(measured.rows),
        "seconds": round(measured.seconds, 3),
        "text_decoding": measured.text_decoding,
        "seed": seed,
    }
    rows = []
    for metric, values in measured.values.items():
        value, low, high = _interval(metric, values, measured.users, seed)
        rows.append({**shared, "metric": metric, "value": _number(value), "ci95": _range(low, high)})
    for metric, value in measured.totals.items():
        rows.append({**shared, "metric": metric, "value": _number(value), "ci95": None})
    return [{name: row[name] for name in FIELDS} for row in rows]


def compare(ours: Evaluation, baselines: Evaluation, seed: int = 0) -> list[dict[str, Any]]:
    """Paired bootstraps over users for every pair that answered the same task under the same protocol.

    ``difference`` is ours − theirs. ``better`` is True if the whole interval is in favour of ours, False if it is
    wholly against, None if it includes 0.
    """
    return [
        row
        for measured in ours.measured
        for other in baselines.measured
        if measured.task == other.task and measured.protocol.startswith(other.protocol)
        for row in _paired(measured, other, other.model, seed)
    ]


def compare_prompts(ours: Evaluation, seed: int = 0) -> list[dict[str, Any]]:
    """`compare` of a model's answers to held-out prompts with its own to seen ones, on the same rows; ``relative``: the
    difference as a share of the seen value (None where that is 0), ``relative_ci95`` its interval."""
    out = []
    for held_out in ours.measured:
        for seen in ours.measured:
            is_pair = (held_out.prompt, seen.prompt) == ("held_out", "seen")
            if is_pair and (held_out.model, held_out.task, held_out.protocol) == (
                seen.model,
                seen.task,
                seen.protocol,
            ):
                in_both = np.isin(seen.rows, held_out.rows)
                for row in _paired(held_out, seen, SEEN_PROMPTS, seed):
                    out.append(_relative(row, seen.values[row["metric"]][in_both]))
    return out


def _paired(ours: Measured, other: Measured, against: str, seed: int) -> Iterator[dict[str, Any]]:
    """One row of `compare` per metric, on the rows that both answered."""
    _, left, right = np.intersect1d(ours.rows, other.rows, return_indices=True)
    for metric in ("ndcg@10", "rmse", "mae", "accuracy", "rouge1", "bleu4", "feature_match"):
        if metric not in ours.values or metric not in other.values or not len(left):
            continue
        difference, low, high = paired_bootstrap(
            ours.values[metric][left],
            other.values[metric][right],
            seed,
            users=ours.users[left],
            statistic=STATISTICS.get(metric, first_mean),
        )
        yield {
            "task": ours.task,
            "protocol": ours.protocol,
            "metric": metric,
            "model": ours.model,
            "prompt": ours.prompt,
            "against": against,
            "difference": _number(difference),
            "ci95": _range(low, high),
            "better": _better(metric, low, high),
            "n": len(left),
            "seed": seed,
        }


def _relative(row: dict[str, Any], seen: np.ndarray) -> dict[str, Any]:
    """``seen``: the metric's values of the seen prompts, as in `Measured.values`."""
    seen_value = float(STATISTICS.get(row["metric"], first_mean)(seen.reshape(len(seen), -1).mean(0)))
    bounds = [row["difference"], *(row["ci95"] or [None, None])]
    relative, low, high = (
        None if bound is None or not seen_value else _number(bound / seen_value) for bound in bounds
    )
    return {**row, "relative": relative, "relative_ci95": None if low is None else [low, high]}


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a results file. Raises UserError if it is not one."""
    try:
        rows = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as results ({error}); make them with p5t5 evaluate"
        ) from error
    if not isinstance(rows, list) or any(not isinstance(row, dict) or "metric" not in row for row in rows):
        raise UserError(f"{path}: not a results file: it must be a list of rows with a field metric each")
    return rows


def write_rows(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a JSON list, one row per line, under a temporary name first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    atomic_write(path, "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n")


def no_better_than_chance(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Task → a sentence for people, where the model tells yes from no no better than chance: the AUC's interval holds 0.5.

    With seen prompts, and the better of the model alone and calibrated.
    """
    measured: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        ours = row.get("model") == "p5t5" and row["metric"] == "auc" and row.get("prompt") == "seen"
        if ours and row.get("ci95") and row.get("variant", "main") == "main":
            best = measured.get(row["task"])
            if best is None or row["value"] > best["value"]:
                measured[row["task"]] = row
    return {
        task: (
            f"take this as a guess: in the evaluation of this model such answers ({task}) were no better than chance "
            f"(AUC {row['value']:.2f}, 95 % interval {row['ci95'][0]:.2f} to {row['ci95'][1]:.2f}, chance 0.50)"
        )
        for task, row in measured.items()
        if row["ci95"][0] <= 0.5
    }


def find(rows: Iterable[Mapping[str, Any]], **fields: Any) -> Mapping[str, Any] | None:
    """The first row with these values, or None."""
    return next((row for row in rows if all(row.get(name) == value for name, value in fields.items())), None)


def _interval(metric: str, values: np.ndarray, users: np.ndarray, seed: int) -> tuple[float, float, float]:
    if metric != "auc":
        return bootstrap_interval(values, seed, users=users, statistic=STATISTICS.get(metric, first_mean))
    scores, positive = values[:, 0], values[:, 1] > 0
    if not len(scores):
        return math.nan, math.nan, math.nan
    distinct_users, user_index = np.unique(users, return_inverse=True)
    counts = resampling_counts(len(distinct_users), seed)
    chunks = [
        auc(scores, positive, counts[start : start + CHUNK, user_index])
        for start in range(0, len(counts), CHUNK)
    ]
    resampled = np.concatenate(chunks)
    if np.isnan(resampled).all():
        return float(auc(scores, positive)), math.nan, math.nan
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(auc(scores, positive)), float(low), float(high)


def _better(metric: str, low: float, high: float) -> bool | None:
    if lower_is_better(metric):
        low, high = -high, -low
    return True if low > 0 else False if high < 0 else None


def _number(value: float) -> float | None:
    """Six digits; None where the metric is undefined, since JSON has no NaN."""
    return round(float(value), 6) if math.isfinite(value) else None


def _range(low: float, high: float) -> list[float | None] | None:
    return [_number(low), _number(high)] if math.isfinite(low) and math.isfinite(high) else None
