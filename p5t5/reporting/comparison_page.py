"""A comparison of models and baselines as text for a terminal and as one HTML page, in the style of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from p5t5.reporting.results_page import NAMES, write_report

Row = Mapping[str, Any]
WORDS = {True: "better", False: "worse", None: "level"}


def comparison_lines(comparison: Row) -> list[str]:
    """What a reader asks first: what each took, and how far each is from the reference."""
    lines = [f"{'contender':<24} {'seconds':>8} {'memory MB':>10} {'parameters':>11} {'folder MB':>10}"]
    for one in comparison["contenders"]:
        seconds = f"{one['seconds']:.1f}" if one["seconds"] else "″"
        cells = [one["memory_mb"], one["parameters"], one["folder_mb"]]
        shown = ["" if value is None else f"{value:,.0f}" for value in cells]
        lines.append(f"{_name(one['name']):<24} {seconds:>8} {shown[0]:>10} {shown[1]:>11} {shown[2]:>10}")
    lines += ["", f"{'task':<22} {'protocol':<21} {'metric':<10} {'contender':<22} {'value':>8}  difference from {comparison['reference']}"]  # fmt: skip
    told = {_key(row): row for row in comparison["differences"]}
    for row in _sorted(comparison["rows"]):
        paired = told.get(_key(row))
        if row["value"] is None or (
            paired is None and (row["model"] != comparison["reference"] or not _compared(row, told))
        ):
            continue  # fmt: skip
        lines.append(
            f"{row['task']:<22} {row['protocol']:<21} {row['metric']:<10} {_name(row['model']):<22} {row['value']:8.4f}"
            + ("" if paired is None else f"  {_difference(paired)}")
        )
    return lines


def write_comparison(path: str | Path, comparison: Row) -> None:
    """Writes the page: `Comparison.as_json` as plots and tables. Everything from data and folders is escaped."""
    ours = {one["name"] for one in comparison["contenders"] if one["kind"] == "model"}

    def named(row: Row) -> dict[str, Any]:
        return {**row, "model": f"p5t5 {row['model']}" if row["model"] in ours else row["model"]}

    facts = {
        _name(one["name"]) if one["kind"] == "model" else "all baselines together": _facts(one)
        for one in comparison["contenders"]
        if one["seconds"]
    }
    write_report(
        path,
        [named(row) for row in comparison["rows"]],
        comparisons=[named(row) for row in comparison["differences"]],
        data=facts,
        notes=[f"Differences are from {comparison['reference']}.", *comparison["notes"]],
    )


def _facts(one: Row) -> str:
    told = [f"{one['seconds']:.1f} s"]
    told += [f"{one['memory_mb']:.0f} MB of memory"] if one["memory_mb"] is not None else []
    told += [f"{one['parameters']:,} parameters"] if one["parameters"] is not None else []
    told += [f"{one['folder_mb']:.1f} MB on disk"] if one["folder_mb"] is not None else []
    return ", ".join(told)


def _key(row: Row) -> tuple[str, ...]:
    return row["model"], row["task"], row["protocol"], row["metric"]


def _compared(row: Row, told: Mapping[tuple[str, ...], Row]) -> bool:
    return any(key[1:] == _key(row)[1:] for key in told)


def _difference(paired: Row) -> str:
    if paired["difference"] is None or paired["ci95"] is None:
        return "undefined"
    low, high = paired["ci95"]
    return f"{paired['difference']:+.4f} [{low:+.4f}, {high:+.4f}] {WORDS[paired['better']]}"


def _name(name: str) -> str:
    return NAMES.get(name, name)


def _sorted(rows: Sequence[Row]) -> list[Row]:
    """By task, protocol and metric, so that contenders stand together."""
    order: dict[tuple[str, ...], int] = {}
    for row in rows:
        order.setdefault(_key(row)[1:], len(order))
    return sorted(rows, key=lambda row: order[_key(row)[1:]])
