"""Answers as small HTML for notebooks: everything from data is escaped, colours follow the page, light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

from p5t5.core.display import shown_title

_DIM = "opacity:.65"
_BAR = "background:currentColor;opacity:.35;height:.7em;border-radius:2px"
_CELL = "text-align:left;padding:1px 10px 1px 0;background:none"


class Listed(Protocol):
    """A recommendation."""

    @property
    def item_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def score(self) -> float: ...


def items_html(items: Sequence[Listed]) -> str:
    """A table: place, title, id, score."""
    rows = "".join(
        f'<tr style="background:none"><td style="{_CELL};{_DIM}">{place}</td>'
        f'<td style="{_CELL}">{escape(shown_title(item.title))}</td>'
        f'<td style="{_CELL};{_DIM}">{escape(str(item.item_id))}</td><td style="{_CELL};{_DIM}">{item.score:.2f}</td></tr>'
        for place, item in enumerate(items, 1)
    )
    return f'<table style="border-collapse:collapse;color:inherit">{rows}</table>'


def number_html(
    value: float, interval: tuple[float, float] | None, distribution: Mapping[float, float]
) -> str:
    """The value, its range, and a bar for each value of the scale."""
    lines = [f"<b>{value:.2f}</b>"]
    if interval is not None:
        lines.append(f'<span style="{_DIM}">(80 %: {interval[0]:g} to {interval[1]:g})</span>')
    rows = "".join(
        f'<tr style="background:none"><td style="{_CELL}">{rating:g}</td><td style="{_CELL}"><div style="{_BAR};'
        f'width:{max(share, 0) * 12:.2f}em"></div></td><td style="{_CELL};{_DIM}">{100 * share:.0f} %</td></tr>'
        for rating, share in distribution.items()
    )
    table = f'<table style="border-collapse:collapse;color:inherit">{rows}</table>' if rows else ""
    return " ".join(lines) + table


def answer_html(answer: Any) -> str:
    """An `Answer`: its items, number or text, and below how it was understood."""
    if answer.kind == "items":
        shown = items_html(answer.items)
    elif answer.kind == "number" and answer.value is not None:
        shown = number_html(answer.value, answer.interval, answer.distribution)
    else:
        shown = f"<p>{escape(str(answer))}</p>"
    told = [f"prompt {answer.prompt}: {answer.asked}" if answer.prompt else "", *answer.notes]
    below = "".join(f"<div>{escape(line)}</div>" for line in told if line)
    return f'<div>{shown}<div style="{_DIM};font-size:.85em">{below}</div></div>'
