"""The report of a data folder: what was read, what was dropped, what it looks like, what looks wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.data.records.tables import IndexedRecords
from p5t5.reporting.data_statistics import DataStatistics, data_statistics, histogram
from p5t5.reporting.data_warnings import DataWarning, data_warnings
from p5t5.reporting.plots import Curve, column_plot, curve_plot


class DataReport:
    """Measures a data set once and tells it twice: in a few lines, and as a page."""

    def __init__(self, data: IndexedRecords, info: Mapping[str, Any], tasks: Sequence[str] = ()) -> None:
        """``info``: of Records (source, dropped, problems, columns, notes). ``tasks``: sentences on what it allows."""
        self.name, self.info, self.tasks = data.name, info, list(tasks)
        self.found: DataStatistics = data_statistics(data)
        self.suspicions: list[DataWarning] = data_warnings(data, self.found, info)

    def lines(self) -> list[str]:
        """What a person wants to know, for the terminal."""
        found = self.found
        out = [
            f"a user has {_spread(found.per_user)}",
            f"an item has {_spread(found.per_item)}; the most popular tenth of the items holds {found.share_of_top(0.1):.0%} of all",
        ]
        if found.ratings is not None:
            out.append(f"ratings: {_ratings(*found.ratings)}")
        if found.first:
            out.append(f"time: {found.first} to {found.last}")
        return out + [f"look at: {each.what} → {each.remedy}" for each in self.suspicions]

    def write(self, path: Path) -> None:
        """The page, whole or not at all; nothing outside it is needed to show it."""
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(self.page(), encoding="utf-8")
        os.replace(temporary, path)

    def page(self) -> str:
        """HTML."""
        found, title = self.found, f"Data: {self.name}"
        facts = {
            "users": f"{found.users:,}",
            "items": f"{found.items:,}",
            "interactions": f"{found.interactions:,}",
            "of all pairs": f"{found.interactions / (found.users * found.items):.3%}",
            "time": f"{found.first} to {found.last}" if found.first else "not known",
            "source": str(self.info.get("source", "")),
        }
        read = [f"our {ours}: {theirs}" for ours, theirs in self.info.get("columns", {}).items()]
        body = [
            f"<header><h1>{escape(title)}</h1></header>",
            "<dl class=facts>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>",
            _section("Look at", _table(("what", "what to do"), [(s.what, s.remedy) for s in self.suspicions]) if self.suspicions else "<p>Nothing looks wrong.</p>"),
            _section("Rows that were dropped", self._dropped()),
            _section("What it looks like", f"<div class=figures>{self._figures()}</div>"),
            _section("How it was read", _list([*read, *self.info.get("notes", []), *self.info.get("steps", [])])),
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
        told = {problem["reason"]: problem for problem in self.info.get("problems", [])}
        rows = [
            (
                reason,
                f"{number:,}",
                told.get(reason, {}).get("first", ""),
                told.get(reason, {}).get("remedy", ""),
            )
            for reason, number in self.info.get("dropped", {}).items()
        ]
        return _table(("reason", "rows", "the first", "what to do"), rows) if rows else "<p>None.</p>"

    def _figures(self) -> str:
        found = self.found
        drawn = []
        if found.ratings is not None:
            values, counts = found.ratings
            drawn.append(column_plot("Ratings", [f"{value:g}" for value in values], counts.tolist()))
        drawn.append(column_plot("Users", *histogram(found.per_user), note="by their interactions"))
        drawn.append(column_plot("Items", *histogram(found.per_item), note="by their interactions"))
        if found.periods is not None and len(found.periods[0]) > 1:
            drawn.append(
                column_plot("Interactions", found.periods[0], found.periods[1].tolist(), note="over time")
            )
        places = np.unique(np.linspace(0, found.items - 1, min(found.items, 100)).astype(np.int64))
        held = np.cumsum(found.per_item)[places] / found.interactions * 100
        curve = Curve("", ((places + 1) / found.items * 100).tolist(), held.tolist())
        drawn.append(curve_plot("Long tail: % of interactions", [curve], "% of items, most popular first"))
        return "".join(f"<figure>{figure}</figure>" for figure in drawn)


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
