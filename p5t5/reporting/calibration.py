"""Predicted ratings against observed ones, as figures and a table: is an 80 % probability right 8 times out of 10?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from p5t5.reporting.plots import Curve, curve_plot

PROMPT_NAMES = {"seen": "seen prompts", "held_out": "held-out prompts"}


def calibration(tables: Sequence[Mapping[str, Any]]) -> str:
    """HTML: for each table of `metrics.rating.reliability` two figures and the rating frequencies; "" for none."""
    return "".join(_one(table) for table in tables)


def _one(table: Mapping[str, Any]) -> str:
    prompt = PROMPT_NAMES.get(table["prompt"], table["prompt"])
    model = "" if table["model"] == "p5t5" else f", {table['model']}"
    way = table.get("protocol", "expected").removeprefix("expected")
    name = f"{table['task']}{model}, {prompt}{way}"
    figures = [
        _figure("probability of a rating and its frequency", table["probabilities"], (0.0, 1.0), "predicted"),
        _figure("expected rating and the mean given", table["expectations"], None, "expected"),
    ]
    head = "".join(f"<th>{escape(title)}</th>" for title in ("rating", "mean probability", "frequency"))
    rows = "".join(
        f"<tr><th>{row['group']:g}</th><td>{row['predicted']:.3f}</td><td>{row['observed']:.3f}</td></tr>"
        for row in table["values"]
    )
    return (
        f"<details><summary>calibration: {escape(name)}</summary>"
        f"<div class=figures>{''.join(figures)}</div>"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _figure(title: str, rows: Sequence[Mapping[str, Any]], ends: tuple[float, float] | None, x: str) -> str:
    """The observed values over the predicted ones, beside the line on which they are equal."""
    predicted = [row["predicted"] for row in rows]
    observed = [row["observed"] for row in rows]
    low, high = ends or (min(predicted), max(predicted))
    curves = [Curve("model", predicted, observed), Curve("ideal", [low, high], [low, high])]
    return f"<figure>{curve_plot(title, curves, x)}</figure>"
