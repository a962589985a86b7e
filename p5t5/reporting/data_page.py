"""The report of a data folder: what was read, what was dropped, statistics, and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.core.files import atomic_write
from p5t5.data.records.tables import IndexedRecords
from p5t5.reporting.data_statistics import DataStatistics, data_statistics, histogram
from p5t5.reporting.data_warnings import DataWarning, data_warnings
from p5t5.reporting.plots import Curve, column_plot, curve_plot


class DataReport:
    """Measures a data set once and reports it in two forms: a few lines for the terminal, and a page."""

    def __init__(self, data: IndexedRecords, info: Mapping[str, Any], tasks: Sequence[str] = ()) -> None:
        """``info``: of Records (source, dropped, problems, columns, notes). ``tasks``: sentences on the tasks it allows."""
        self.name, self.info, self.tasks = data.name, info, list(tasks)
        self.statistics: DataStatistics = data_statistics(data)
        self.warnings: list[DataWarning] = data_warnings(data, self.statistics, info)

    def lines(self) -> list[str]:
        """The summary for the terminal, line by line."""
        statistics = self.statistics
        lines = [
            f"a user has {_spread(statistics.per_user)}",
            f"an item has {_spread(statistics.per_item)}; the most popular tenth of the items holds {statistics.share_of_top(0.1):.0%} of all",
        ]
        if statistics.ratings is not None:
            lines.append(f"ratings: {_ratings(*statistics.ratings)}")
        if statistics.first:
            lines.append(f"time: {statistics.first} to {statistics.last}")
        return lines + [f"look at: {each.what} → {each.remedy}" for each in self.warnings]

    def write(self, path: Path) -> None:
        """Writes the page atomically; it is self-contained."""
        atomic_write(path, self.page())

    def page(self) -> str:
        """The page as HTML."""
        statistics, title = self.statistics, f"Data: {self.name}"
        facts = {
            "users": f"{statistics.users:,}",
            "items": f"{statistics.items:,}",
            "interactions": f"{statistics.interactions:,}",
            "of all pairs": f"{statistics.interactions / (statistics.users * statistics.items):.3%}",
            "time": f"{statistics.first} to {statistics.last}" if statistics.first else "not known",
            "source": str(self.info.get("source", "")),
        }
        columns = [f"our {ours}: {theirs}" for ours, theirs in self.info.get("columns", {}).items()]
        body = [
            f"<header><h1>{escape(title)}</h1></header>",
            "<dl class=facts>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>",
            _section("Look at", _table(("what", "what to do"), [(s.what, s.remedy) for s in self.warnings]) if self.warnings else "<p>Nothing looks wrong.</p>"),
            _section("Rows that were dropped", self._dropped()),
            _section("What it looks like", f"<div class=figures>{self._figures()}</div>"),
            _section("How it was read", _list([*columns, *self.info.get("notes", []), *self.info.get("steps", [])])),
            _section("What it can be used for", _list(self.tasks)),
        ]  # fmt: skip
        style = files("p5t5.reporting").joinpath("report.css").read_text(encoding="utf-8")
        wrapped = "td, th { white-space: normal; text-align: left; }"
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{style}{wrapped}</style></head>\n<body><main>"
            + "\n".join(part for part in body if part)
            + "</main></body></html>\n"
        )

    def _dropped(self) -> str:
        problem_of = {problem["reason"]: problem for problem in self.info.get("problems", [])}
        rows = [
            (
                reason,
                f"{number:,}",
                problem_of.get(reason, {}).get("first", ""),
                problem_of.get(reason, {}).get("remedy", ""),
            )
            for reason, number in self.info.get("dropped", {}).items()
        ]
        return _table(("reason", "rows", "the first", "what to do"), rows) if rows else "<p>None.</p>"

    def _figures(self) -> str:
        statistics = self.statistics
        figures = []
        if statistics.ratings is not None:
            values, counts = statistics.ratings
            figures.append(column_plot("Ratings", [f"{value:g}" for value in values], counts.tolist()))
        figures.append(column_plot("Users", *histogram(statistics.per_user), note="by their interactions"))
        figures.append(column_plot("Items", *histogram(statistics.per_item), note="by their interactions"))
        if statistics.periods is not None and len(statistics.periods[0]) > 1:
            figures.append(
                column_plot(
                    "Interactions", statistics.periods[0], statistics.periods[1].tolist(), note="over time"
                )
            )
        indices = np.unique(np.linspace(0, statistics.items - 1, min(statistics.items, 100)).astype(np.int64))
        cumulative = np.cumsum(statistics.per_item)[indices] / statistics.interactions * 100
        curve = Curve("", ((indices + 1) / statistics.items * 100).tolist(), cumulative.tolist())
        figures.append(curve_plot("Long tail: % of interactions", [curve], "% of items, most popular first"))
        return "".join(f"<figure>{figure}</figure>" for figure in figures)


def _spread(counts: np.ndarray) -> str:
    return f"{counts.min():,} to {counts.max():,} interactions (median {np.median(counts):g})"


def _ratings(values: np.ndarray, counts: np.ndarray) -> str:
    mean = f"mean {float((values * counts).sum() / counts.sum()):.2f}"
    if len(values) > 11:
        return f"{values[0]:g} to {values[-1]:g}, {len(values)} values, {mean}"
    shares = counts / counts.sum()
    return ", ".join([*(f"{value:g} {share:.0%}" for value, share in zip(values, shares, strict=True)), mean])


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul class=notes>{items}</ul>" if items else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
