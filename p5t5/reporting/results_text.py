"""Result rows and comparisons as people read them in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from p5t5.evaluation.results import SEEN_PROMPTS
from p5t5.reporting.results_page import strongest


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main metric of each task and model, as people read it in a terminal."""
    shown = [row for row in rows if row["metric"] in ("ndcg@10", "rmse", "accuracy", "rouge1")]
    lines = [
        f"{'task':<24} {'model':<16} {'prompt':<9} {'protocol':<21} {'metric':<9} {'value':>7}  95 % interval"
    ]
    for row in shown:
        low, high = row["ci95"] or (float("nan"), float("nan"))
        value = float("nan") if row["value"] is None else row["value"]
        lines.append(
            f"{row['task']:<24} {row['model']:<16} {row['prompt'] or '':<9} {row['protocol']:<21} "
            f"{row['metric']:<9} {value:7.4f}  {low:.4f} to {high:.4f}"
        )
    return "\n".join(lines)


def verdicts(rows: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each comparison that a reader will ask for: with the simple baselines, with the best baseline,
    and of held-out prompts with seen ones."""
    words = {True: "better than", False: "worse than", None: "level with"}
    found, held_out = [], []
    for one in comparisons:
        if one["metric"] not in ("ndcg@10", "rmse", "rouge1", "accuracy") or one["ci95"] is None:
            continue
        what, metric, model = f"{one['task']}, {one['protocol']}", one["metric"], one["model"]
        if one["against"] == SEEN_PROMPTS:
            part = one["protocol"].endswith((", model alone", "history"))
            if one["relative_ci95"] is not None and not part:
                low, high = one["relative_ci95"]
                held_out.append(
                    f"{what}: {model} on held-out prompts against seen ones: "
                    f"{metric} {one['relative']:+.1%} (95 % {low:+.1%} to {high:+.1%})"
                )
            continue
        best = strongest(rows, one["task"], metric, one["protocol"]) or {}
        if one["prompt"] == "seen" and one["against"] in ("count_floor", "bias", best.get("model")):
            low, high = one["ci95"]
            found.append(
                f"{what}: {model} is {words[one['better']]} {one['against']} "
                f"({metric} {one['difference']:+.4f}, 95 % {low:+.4f} to {high:+.4f})"
            )
    return found + held_out
