"""The report's figures as SVG text: intervals side by side, columns, and curves.

Written by hand because they are part of an HTML page: they use the page's colors (light or dark), scale
with the screen, are small, and need no plotting library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 460  # small enough that 12 px stay readable on a phone
LABELS = 150  # room for names on the left
VALUES = 50  # and for numbers on the right
ROW = 26


@dataclass(frozen=True)
class Bar:
    """A value with its interval. ``kind``: "model" (ours) or "baseline", which decides the color."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str = "baseline"


@dataclass(frozen=True)
class Curve:
    """Points of a line, x ascending."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def interval_plot(title: str, bars: Sequence[Bar], from_zero: bool = True, note: str = "") -> str:
    """Dots with 95 % whiskers, one line each. ``from_zero``: the axis starts at 0 (not for errors)."""
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    ticks = _ticks(0.0 if from_zero else low, high, 4)
    low, high = min(ticks[0], low), max(ticks[-1], high)
    top = 30
    bottom = top + ROW * len(bars)
    height = bottom + 24

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - VALUES) * (value - low) / ((high - low) or 1)

    parts = [_title(title, note)]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(_text(x(tick), bottom + 15, _short(tick), "axis", "middle"))
    for index, bar in enumerate(bars):
        y = top + ROW * index + ROW / 2
        parts.append(_text(LABELS - 10, y + 4, bar.label, f"label {bar.kind}", "end"))
        if bar.low is not None and bar.high is not None:
            parts.append(
                f'<line class="whisker {bar.kind}" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y}" y2="{y}"/>'
            )
        parts.append(f'<circle class="dot {bar.kind}" cx="{x(bar.value):.1f}" cy="{y}" r="4.5"/>')
        parts.append(_text(WIDTH - VALUES + 8, y + 4, _short(bar.value, 3), f"value {bar.kind}", "start"))
    return _svg(height, parts, title)


def column_plot(
    title: str, labels: Sequence[str], values: Sequence[float], note: str = "", height: int = 190
) -> str:
    """One column per label, from zero. Labels that would overlap are left out."""
    ticks = _ticks(0.0, max(values, default=0.0), 4)
    left, right, top, bottom = 44, WIDTH - 8, 34, height - 22
    width = (right - left) / max(len(values), 1)
    parts = [_title(title, note)]
    for tick in ticks:
        y = bottom - (bottom - top) * tick / ticks[-1]
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(left - 8, y + 4, _short(tick), "axis", "end"))
    longest = max(map(len, labels), default=1) * 6.5 + 6
    every = max(1, math.ceil(longest / width))
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        bar_height = (bottom - top) * value / ticks[-1]
        x = left + width * index
        parts.append(
            f'<rect class="column" x="{x + 0.1 * width:.1f}" y="{bottom - bar_height:.1f}" width="{0.8 * width:.1f}" '
            f'height="{bar_height:.1f}"><title>{escape(label)}: {value:,.0f}</title></rect>'
        )
        if index % every == 0:
            parts.append(_text(x + width / 2, bottom + 15, label, "axis", "middle"))
    return _svg(height, parts, title)


def curve_plot(title: str, curves: Sequence[Curve], x_name: str, height: int = 210) -> str:
    """Lines on one x axis; if there are several, each is labelled at its end."""
    curves = [
        Curve(curve.label, *_finite(curve.x, curve.y)) for curve in curves if any(map(math.isfinite, curve.y))
    ]
    xs = [value for curve in curves for value in curve.x] or [0.0, 1.0]
    ys = [value for curve in curves for value in curve.y] or [0.0, 1.0]
    x_ticks, y_ticks = _ticks(min(xs), max(xs), 5), _ticks(min(ys), max(ys), 4)
    left, right, top, bottom = 44, WIDTH - (66 if len(curves) > 1 else 12), 34, height - 36
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def x(value: float) -> float:
        return left + (right - left) * (value - x_low) / ((x_high - x_low) or 1)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - y_low) / ((y_high - y_low) or 1)

    parts = [_title(title)]
    for tick in y_ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(_text(left - 8, y(tick) + 4, _short(tick), "axis", "end"))
    for tick in x_ticks:
        if x_low <= tick <= x_high:
            parts.append(_text(x(tick), bottom + 16, _short(tick), "axis", "middle"))
    parts.append(_text((left + right) / 2, height - 4, x_name, "axis", "middle"))
    for index, curve in enumerate(curves):
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x, curve.y, strict=True))
        parts.append(f'<polyline class="curve c{index % 3}" points="{points}"/>')
        if len(curve.x) < 40:
            parts += [
                f'<circle class="point c{index % 3}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.5"/>'
                for a, b in zip(curve.x, curve.y, strict=True)
            ]
        if len(curves) > 1:
            parts.append(_text(right + 8, y(curve.y[-1]) + 4, curve.label, f"label c{index % 3}", "start"))
    return _svg(height, parts, title)


def _finite(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    points = [(a, b) for a, b in zip(xs, ys, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return [a for a, _ in points], [b for _, b in points]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers from at or below ``low`` to at or above ``high``."""
    if not high > low:
        low, high = (0.0, max(high, 1e-9)) if low >= 0 else (low, 0.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _short(value: float, digits: int = 4) -> str:
    """Few digits: 12k, 250, 0.05, 1.213."""
    if abs(value) >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.{digits}f}" if digits == 3 else f"{value:.{digits}g}"


def _title(title: str, note: str = "") -> str:
    note_span = f'<tspan class="note" dx="8">{escape(note)}</tspan>' if note else ""
    return f'<text class="title" x="0" y="14">{escape(title)}{note_span}</text>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
