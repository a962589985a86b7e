"""What the page shows, as HTML: every title, name and text is escaped here, and nowhere else is HTML made."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from p5t5.core.display import shown_title

REASONS = {
    "model": "the model's choice",
    "similar": "like what you named",
    "popular": "liked by many",
    "promotion": "promoted",
    "diversity": "for variety",
    "count_floor": "often chosen after your items",
    "text": "described alike",
    "likeness": "described alike",
    "neighbours": "people like you",
    "knn": "often chosen together",
    "als": "people like you",
}
MOST_TOKENS = 400  # shown; the rest is counted


def escaped(text: Any) -> str:
    """Text that is safe between tags and in attributes."""
    return html.escape(str(text), quote=True)


def ranked(items: Sequence[Mapping[str, Any]]) -> str:
    """A numbered list with a bar for each score (its share of the range shown) and the reasons."""
    if not items:
        return message("Nothing is left to recommend: remove a filter or an item.")
    scores = [float(item["score"]) for item in items]
    top, low = max(scores), min(scores)
    rows = []
    for item, score in zip(items, scores, strict=True):
        share = 1.0 if top == low else 0.12 + 0.88 * (score - low) / (top - low)
        details = " · ".join(_details(item.get("attributes") or {}))
        rows.append(
            f'<li><div class="p5-row"><span class="p5-title">{escaped(shown_title(str(item["title"])))}</span>'
            f'<span class="p5-score" title="log-probability or blended score">{score:.2f}</span></div>'
            f'<div class="p5-bar"><span style="width:{share:.0%}"></span></div>'
            f'<div class="p5-why">{escaped(details)}{" · " if details else ""}{escaped(reasons(item.get("why") or {}))}</div></li>'
        )
    return f'<ol class="p5-list">{"".join(rows)}</ol>'


def _details(attributes: Mapping[str, Any]) -> list[str]:
    shown = []
    for value in list(attributes.values())[:3]:
        if isinstance(value, list):
            shown.append(", ".join(map(str, value[:3])))
        else:
            shown.append(f"{value:g}")
    return shown


def reasons(why: Mapping[str, float]) -> str:
    """ "the model's choice 60%, people like you 40%": the largest shares first; one alone needs no number."""
    parts = sorted(((share, name) for name, share in why.items() if share > 0.005), reverse=True)[:3]
    if not parts:
        return ""
    if len(parts) == 1:
        return REASONS.get(parts[0][1], parts[0][1])
    return ", ".join(f"{REASONS.get(name, name.replace('_', ' '))} {share:.0%}" for share, name in parts)


def rating(answer: Mapping[str, Any], title: str, values: Sequence[float]) -> str:
    """The expected rating as a large number, with the likely range and a bar for each value of the scale."""
    low, high = answer["interval"]
    best = max(answer["distribution"].values(), default=1.0) or 1.0
    bars = "".join(
        f'<div class="p5-value"><span>{escaped(value)}</span><div class="p5-bar"><span style="width:{share / best:.0%}"></span></div>'
        f"<span>{share:.0%}</span></div>"
        for value, share in answer["distribution"].items()
    )
    scale = f" of {values[-1]:g}" if values else ""
    return (
        f'<div class="p5-card"><div class="p5-why">Expected rating of {escaped(shown_title(title))}</div>'
        f'<div class="p5-number">{answer["rating"]:.1f}<small>{escaped(scale)}</small></div>'
        f'<div class="p5-why">four in five such ratings lie between {low:g} and {high:g}</div>{bars}</div>'
    )


def answered(answer: Mapping[str, Any]) -> str:
    """The answer to a question in words: a list, a number or a text, and the notes on how it was understood."""
    if answer["kind"] == "items":
        shown = ranked(answer["items"])
    elif answer["kind"] == "number":
        shown = f'<div class="p5-card"><div class="p5-number">{answer["value"]:.1f}</div></div>'
    else:
        sure = "" if answer.get("value") is None else f" <small>({answer['value']:.0%})</small>"
        shown = f'<div class="p5-card p5-text">{escaped(answer["text"])}{sure}</div>'
    notes = "".join(f"<li>{escaped(note)}</li>" for note in answer.get("notes") or ())
    return shown + (f'<ul class="p5-notes">{notes}</ul>' if notes else "")


def message(text: str) -> str:
    """A sentence in a quiet box: a hint, or what went wrong and what to do."""
    return f'<div class="p5-card p5-text">{escaped(text)}</div>'


def tokens(read: Sequence[str]) -> str:
    """The tokens that the model read, one chip each."""
    if not read:
        return message("This answer needed no prompt.")
    chips = "".join(f"<span>{escaped(token.replace('▁', '␣'))}</span>" for token in read[:MOST_TOKENS])
    more = f" and {len(read) - MOST_TOKENS} more" if len(read) > MOST_TOKENS else ""
    return f'<div class="p5-tokens">{chips}{escaped(more)}</div><div class="p5-why">{len(read)} tokens</div>'


def as_json(value: Any) -> str:
    """Indented JSON for people."""
    return json.dumps(value, indent=1, ensure_ascii=False)


CSS = """
:root { --p5-quiet: #52525b; }
.dark { --p5-quiet: #c4c4cc; }
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
footer { display: none !important; }
.p5-head h1 { margin: 0; font-size: 1.5rem; }
.p5-head p, .p5-why, .p5-notes { color: var(--p5-quiet); font-size: .86rem; margin: .1rem 0; }
.p5-list { list-style: none; counter-reset: place; margin: 0; padding: 0; }
.p5-list li { counter-increment: place; padding: .55rem 0 .5rem 2.2rem; position: relative; border-bottom: 1px solid var(--border-color-primary); }
.p5-list li::before { content: counter(place); position: absolute; left: 0; top: .55rem; width: 1.6rem; text-align: right;
  color: var(--p5-quiet); font-variant-numeric: tabular-nums; }
.p5-row { display: flex; gap: .75rem; justify-content: space-between; align-items: baseline; }
.p5-title { font-weight: 600; overflow-wrap: anywhere; }
.p5-score { color: var(--p5-quiet); font-variant-numeric: tabular-nums; font-size: .86rem; }
.p5-bar { height: 6px; border-radius: 3px; background: var(--border-color-primary); overflow: hidden; flex: 1; margin: .3rem 0; }
.p5-bar span { display: block; height: 100%; border-radius: 3px; background: var(--color-accent); }
.p5-card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: .9rem 1.1rem; background: var(--background-fill-secondary); }
.p5-text { overflow-wrap: anywhere; line-height: 1.5; }
.p5-number { font-size: 2.6rem; font-weight: 700; line-height: 1.2; }
.p5-number small { font-size: 1rem; font-weight: 400; color: var(--p5-quiet); }
.p5-value { display: flex; gap: .6rem; align-items: center; font-size: .86rem; font-variant-numeric: tabular-nums; }
.p5-value > span { min-width: 2.6rem; }
.p5-tokens { display: flex; flex-wrap: wrap; gap: 4px; }
.p5-tokens span { font-family: ui-monospace, Consolas, monospace; font-size: .78rem; padding: 1px 6px; border-radius: 5px;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); overflow-wrap: anywhere; }
.p5-pick button { text-align: left !important; justify-content: flex-start !important; white-space: normal !important; }
"""
