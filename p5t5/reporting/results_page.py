"""results.json → one self-contained HTML file: figures, tables, learning curves, sample questions and answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_write
from p5t5.data.splits import split_label
from p5t5.evaluation.results import SEEN_PROMPTS, find
from p5t5.metrics.direction import lower_is_better
from p5t5.reporting.calibration import calibration as calibration_figures
from p5t5.reporting.plots import Bar, Curve, curve_plot, interval_plot
from p5t5.tasks.base import Decoding
from p5t5.tasks.registry import TASKS

Row = Mapping[str, Any]

FAMILIES = {
    "sequential": "Sequential: what comes next",
    "rating": "Rating: how many stars",
    "direct": "Direct: picking from candidates",
    "review": "Review: headline and score",
    "explanation": "Explanation: why this item",
}

# The protocols under which answers are judged, with the main one first.
PROTOCOLS = {
    Decoding.ITEMS: ("filtered", "unfiltered"),
    Decoding.CANDIDATES: ("1+99",),
    Decoding.CHOICE: ("choice",),
    Decoding.RATING: ("expected", "expected, model alone"),
    Decoding.TEXT: ("text",),
    Decoding.RATING_AND_TEXT: ("text",),
}

# One task per family, whose primary metric has a tile at the top of the page.
TILES = ("sequential/next_item", "rating/score", "direct/choose", "review/score", "explanation/explain")

# The metric that is plotted for a task: the first of these that was measured.
PLOTTED = ("ndcg@10", "rmse", "rouge1", "auc", "accuracy")

NAMES = {
    "p5t5": "p5t5",
    "count_floor": "co-occurrence",
    "popularity": "popularity",
    "text_likeness": "text similarity",
    "item_knn": "item-kNN (implicit)",
    "als": "ALS (implicit)",
    "bpr": "BPR (implicit)",
    "global_mean": "global mean",
    "bias": "bias only",
    "mf": "matrix factorization",
    "tfidf_ridge": "TF-IDF + ridge",
    "surprise_svd": "biased MF (Surprise)",
    "majority": "majority answer",
    "most_common_text": "most common text",
    "random_of_item": "random text of the item",
    "nearest_text": "nearest text",
    "gold_feature": "the feature alone",
    "nearest_with_feature": "nearest text with the feature",
    "first_sentence": "first sentence",
    SEEN_PROMPTS: "its answers to seen prompts",
}

# How a sample was selected. Those of tasks that do not write are all random.
PICKED = {"best": " · among the best by ROUGE-1", "worst": " · among the worst by ROUGE-1"}

METHOD = (
    "Every held-out interaction is asked once. Training, pretraining, identifiers and counts saw training rows only; "
    "at test time the history includes the validation item. “Filtered” removes the items of the user's history from "
    "the ranking, “unfiltered” removes nothing; 1+99 ranks the true item among 99 drawn uniformly from items the user "
    "has not met, the same draws for all models. Ratings are expectations over the rating scale. “Seen” prompts were "
    "trained on (one per row, drawn by the seed), “held-out” prompts never were. What cannot be parsed counts as "
    "wrong. Text is decoded with the setting that did best on validation rows while still varied. Intervals are 95 % "
    "bootstraps over users; comparisons are paired on the same users."
)


def write_report(
    path: str | Path,
    rows: Sequence[Row],
    *,
    comparisons: Sequence[Row] = (),
    samples: Sequence[Row] = (),
    calibration: Sequence[Row] = (),
    curves: Mapping[str, Sequence[Row]] | None = None,
    data: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Writes the report, under a temporary name first. Raises UserError for rows of several splits.

    - ``calibration``: tables of predicted against observed ratings (`Evaluation.calibration`).
    - ``curves``: stage ("pretrain", "finetune") → lines of its metrics.jsonl.
    - ``data``: facts about the data, name → value. ``notes``: sentences, such as on tasks that are off.
    """
    html = render_report(rows, comparisons, samples, calibration, curves or {}, data or {}, notes)
    atomic_write(path, html)


def render_report(
    rows: Sequence[Row],
    comparisons: Sequence[Row],
    samples: Sequence[Row],
    calibration: Sequence[Row],
    curves: Mapping[str, Sequence[Row]],
    data: Mapping[str, Any],
    notes: Sequence[str],
) -> str:
    """The page as HTML text. Raises UserError for rows of several splits."""
    schemes = dict.fromkeys(row["scheme"] for row in rows)
    if len(schemes) > 1:
        raise UserError(
            f"the results mix the splits {', '.join(map(str, schemes))}: keep the results of each split in a file of their "
            "own, and write one report per split."
        )
    dataset = rows[0]["dataset"] if rows else data.get("name", "")
    subtitle = " · ".join(
        dict.fromkeys(
            f"{row['split']} rows, split {split_label(row['scheme'])}, seed {row['seed']}" for row in rows
        )
    )
    body = [
        f"<header><h1>p5t5 on {escape(str(dataset))}</h1><p class=sub>{escape(subtitle)}</p></header>",
        _headline(rows, comparisons),
        _section("The data", _facts(data) + _list(notes)) if data or notes else "",
    ]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    families = FAMILIES | {
        task.split("/")[0]: FAMILIES.get(task.split("/")[0], task.split("/")[0]) for task in tasks
    }
    for family, title in families.items():
        family_tasks = [task for task in tasks if task.split("/")[0] == family]
        family_tasks.sort(
            key=lambda task: not any(row["task"] == task and row["model"] != "p5t5" for row in rows)
        )
        if family_tasks:
            details = "".join(
                _task(task, [row for row in rows if row["task"] == task]) for task in family_tasks
            )
            family_samples = [sample for sample in samples if sample["task"] in family_tasks]
            plots = calibration_figures([table for table in calibration if table["task"] in family_tasks])
            body.append(_section(title, details + plots + _samples(family_samples), family))
    body.append(_section("Paired comparisons", _comparisons(comparisons)) if comparisons else "")
    plots = "".join(_curves(stage, lines) for stage, lines in curves.items())
    body.append(_section("Learning curves", plots) if plots else "")
    body.append(_section("How this was measured", f"<p>{escape(METHOD)}</p>"))
    style = files("p5t5.reporting").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>p5t5 on {escape(str(dataset))}</title><style>{style}</style></head>\n<body><main>"
        + "\n".join(part for part in body if part)
        + "</main></body></html>\n"
    )


def read_curve(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without a truncated last line; [] without a file."""
    lines = []
    if Path(path).is_file():
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
    return lines


def name_of(row: Row) -> str:
    """The model and the prompts of a row, as in "p5t5, held-out prompts"."""
    model = NAMES.get(row["model"], row["model"])
    prompt = {"": "", "seen": "seen prompts", "held_out": "held-out prompts"}.get(
        row["prompt"], row["prompt"]
    )
    variant = "" if row.get("variant", "main") == "main" else row["variant"]
    return ", ".join(part for part in (model, variant, prompt) if part)


def is_ours(row: Row) -> bool:
    """Whether a row belongs to a p5t5 model (fusions included)."""
    return str(row["model"]).startswith("p5t5")


def _headline(rows: Sequence[Row], comparisons: Sequence[Row]) -> str:
    """Tiles: the main metric of each task that has a baseline, and whether it beats the strongest of them."""
    tiles = []
    for task in TILES:
        metric = TASKS[task].primary_metric
        keys = {"task": task, "metric": metric, "protocol": PROTOCOLS[TASKS[task].decoding][0]}
        ours = find([row for row in rows if is_ours(row)], prompt="seen", **keys)
        if ours is None or ours["value"] is None:
            continue
        rival = strongest(rows, **keys)
        name = rival["model"] if rival else ""
        paired = find(comparisons, prompt="seen", against=name, **keys)
        verdict, kind = _verdict(paired)
        against = f"{NAMES.get(name, name)} {_number(rival['value'])}" if rival else ""
        tiles.append(
            f'<div class="tile {kind}"><div class=what>{escape(task)} · {escape(metric)}'
            f"{' (lower is better)' if lower_is_better(metric) else ''}</div>"
            f"<div class=big>{_number(ours['value'])}</div><div class=ci>{_interval(ours)}</div>"
            f"<div class=against>{escape(against)}</div><div class=verdict>{escape(verdict)}</div></div>"
        )
    return f"<div class=tiles>{''.join(tiles)}</div>" if tiles else ""


def strongest(rows: Sequence[Row], task: str, metric: str, protocol: str) -> Row | None:
    """The best baseline row with this task, metric and protocol; None where there is none."""
    fields = {"task": task, "metric": metric, "protocol": protocol}
    baselines = [
        row
        for row in rows
        if not is_ours(row)
        and row["value"] is not None
        and all(row[key] == value for key, value in fields.items())
    ]
    sign = -1 if lower_is_better(metric) else 1
    return max(baselines, key=lambda row: sign * row["value"], default=None)


def _verdict(paired: Row | None) -> tuple[str, str]:
    if paired is None:
        return "", "open"
    return {
        True: ("better, paired", "good"),
        False: ("worse, paired", "bad"),
        None: ("no clear difference", "open"),
    }[paired["better"]]


def _task(task: str, rows: Sequence[Row]) -> str:
    """One figure per protocol and the full table of a task."""
    metric = next((name for name in PLOTTED if any(row["metric"] == name for row in rows)), "")
    figures = []
    for protocol in dict.fromkeys(row["protocol"] for row in rows if row["metric"] == metric):
        shown = [row for row in rows if row["metric"] == metric and row["protocol"] == protocol]
        shown = [row for row in shown if row["value"] is not None]
        if len(shown) > 1 and (len(shown) > 2 or not all(map(is_ours, shown))):
            lower = lower_is_better(metric)
            shown.sort(key=lambda row: row["value"] if lower else -row["value"])
            bars = [_bar(row) for row in shown]
            note = f"{protocol}, {'lower' if lower else 'higher'} is better"
            figures.append(
                f"<figure>{interval_plot(f'{task} {metric}', bars, from_zero=not lower, note=note)}</figure>"
            )
    return f"<h3>{escape(task)}</h3><div class=figures>{''.join(figures)}</div>" + _table(
        rows, open_=not figures
    )


def _bar(row: Row) -> Bar:
    low, high = row["ci95"] or (None, None)
    label = name_of(row).removesuffix(" prompts")
    return Bar(label, row["value"], low, high, "model" if is_ours(row) else "baseline")


def _table(rows: Sequence[Row], open_: bool) -> str:
    """A table of models by metrics, each value with its interval."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    rows = sorted(rows, key=lambda row: protocols.index(row["protocol"]))
    cells_of_line: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        cells_of_line.setdefault((name_of(row), row["protocol"]), {})[row["metric"]] = row
    head = "".join(f"<th>{escape(metric)}</th>" for metric in ("", "protocol", *metrics, "n"))
    body = []
    for (name, protocol), cells in cells_of_line.items():
        first = next(iter(cells.values()))
        values = "".join(
            f"<td>{_number(cells[metric]['value'])}<small>{_interval(cells[metric])}</small></td>"
            if metric in cells
            else "<td></td>"
            for metric in metrics
        )
        kind = "ours" if is_ours(first) else "theirs"
        body.append(
            f"<tr class={kind}><th>{escape(name)}</th><td class=protocol>{escape(protocol)}"
            f"<small>{escape(first.get('text_decoding') or '')}</small></td>{values}"
            f"<td>{first['n']:,}</td></tr>"
        )
    table = (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
    return f"<details{' open' if open_ else ''}><summary>all numbers</summary>{table}</details>"


def _comparisons(comparisons: Sequence[Row]) -> str:
    body = []
    for row in comparisons:
        verdict, kind = _verdict(row)
        body.append(
            f"<tr><th>{escape(row['task'])}</th><td class=protocol>{escape(row['protocol'])}</td>"
            f"<td>{escape(name_of(row))}</td><td>{escape(NAMES.get(row['against'], str(row['against'])))}</td>"
            f"<td>{escape(row['metric'])}</td><td>{_signed(row['difference'])}<small>{_interval(row)}</small></td>"
            f"<td class={kind}>{escape(verdict)}</td><td>{row['n']:,}</td></tr>"
        )
    names = ("task", "protocol", "model", "against", "metric", "difference", "", "n")
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _curves(stage: str, lines: Sequence[Row]) -> str:
    """The training loss of a stage, and each validation metric."""
    losses = [line for line in lines if line.get("loss") is not None]
    checks = [line for line in lines if line.get("validation")]
    figures = []
    if len(losses) > 1:
        curve = Curve("loss", [line["step"] for line in losses], [line["loss"] for line in losses])
        figures.append(curve_plot(f"{stage}: training loss", [curve], "step"))
    for metric in dict.fromkeys(name for line in checks for name in line["validation"]):
        points = [
            (line["step"], line["validation"][metric]) for line in checks if metric in line["validation"]
        ]
        if len(points) > 1:
            curve = Curve(metric, [step for step, _ in points], [value for _, value in points])
            figures.append(curve_plot(f"{stage}: validation {metric}", [curve], "step"))
    content = "".join(f"<figure>{figure}</figure>" for figure in figures)
    return f"<div class=figures>{content}</div>" if content else ""


def _samples(samples: Sequence[Row]) -> str:
    cards = [
        f"<article><div class=prompt>{escape(sample['task'])} · {escape(sample['prompt'])} "
        f"({escape(str(sample['kind']).replace('_', '-'))}){escape(PICKED.get(str(sample.get('picked')), ''))}</div>"
        f"<p class=q>{escape(_cut(sample['question'], 420))}</p><p class=a>{escape(_cut(sample['answer'], 420))}</p>"
        f"<p class=t>truth: {escape(_cut(sample['truth'], 240))}</p></article>"
        for sample in samples
    ]
    if not cards:
        return ""
    return f"<details><summary>sample questions and answers</summary><div class=cards>{''.join(cards)}</div></details>"


def _facts(data: Mapping[str, Any]) -> str:
    items = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(f'{value:,}' if isinstance(value, int) else str(value))}</dd></div>"
        for name, value in data.items()
    )
    return f"<dl class=facts>{items}</dl>" if items else ""


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul class=notes>{items}</ul>" if items else ""


def _section(title: str, content: str, anchor: str = "") -> str:
    return f"<section{f' id={anchor}' if anchor else ''}><h2>{escape(title)}</h2>{content}</section>"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.4f}"


def _interval(row: Row) -> str:
    if not row.get("ci95"):
        return ""
    low, high = row["ci95"]
    return f"[{low:.3f}, {high:.3f}]"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
