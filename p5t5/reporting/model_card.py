"""The model card and the README's table, generated from result rows and the checkpoint's record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from p5t5._version import __version__
from p5t5.checkpoint.info import CheckpointInfo
from p5t5.core.errors import UserError
from p5t5.data.licences import Licence, licence_of
from p5t5.data.splits import split_label
from p5t5.metrics.direction import lower_is_better
from p5t5.reporting.card_metadata import front_matter, table_lines
from p5t5.reporting.results_page import NAMES, is_ours

Row = Mapping[str, Any]

QUESTIONS = {
    "films": "I loved Alien (1979) and Fargo (1996). What should I watch next?",
    "other": "What should I try next?",
}
METHOD = (
    "One split for all tasks; full ranking over the whole catalogue; 95 % intervals by bootstrap over users. "
    "“filtered” removes the items of the user's history from the ranking, “1+99” ranks the true item among 99 drawn "
    "uniformly; ratings are expectations over the scale; “held-out” prompts were never trained on; unparsable answers "
    "count as wrong."
)


def card_template() -> str:
    """The template that comes with p5t5: inside the wheel, or at the top of the repository. Raises UserError without it."""
    package = Path(__file__).resolve().parents[1]
    for path in (package / "model_card.md", package.parent / "model_card.md"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise UserError("model_card.md is missing beside p5t5: install it again")


def fill_model_card(
    template: str,
    rows: Sequence[Row],
    info: CheckpointInfo,
    folder: str = "path/to/model",
    *,
    licence: Licence | None = None,
    dataset: str = "",
    call: str = "",
) -> str:
    """The card of a model: ``info`` is its p5t5.json, ``rows`` its results (if empty, the card says so).

    ``licence``: by default what the data's name tells; ``dataset``: the Hub id of the data; ``call``: a line of Python
    that asks the model something. Raises UserError for an unknown placeholder, so that no card has a gap in it.
    """
    licence = licence or licence_of(info.data.name)
    tasks = info.tasks
    families = list(dict.fromkeys(task.split("/")[0] for task in tasks))
    values = {
        "front": front_matter(info, rows, licence, dataset),
        "dataset": info.data.name,
        "families": ", ".join(families) or "none yet, it has only been pretrained",
        "version": info.versions.get("p5t5", __version__),
        "folder": folder,
        "call": call or f'print(rec("{QUESTIONS["films" if "ml-" in info.data.name else "other"]}"))',
        "licence": _licence(licence),
        "facts": _facts(info),
        "results": readme_table(rows) if rows else "Not evaluated yet: run `p5t5 evaluate`.",
        "method": METHOD if rows else "",
        "training": _training(info),
        "items": f"{_items(info):,}",
    }
    try:
        text = Template(template).substitute(values)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"model card template: unknown placeholder {error}; known are ${', $'.join(values)}"
        ) from error
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def training_card(info: CheckpointInfo, folder: str = "path/to/model") -> str:
    """The card of a model that has been trained and not evaluated yet."""
    return fill_model_card(card_template(), [], info, folder)


def readme_table(rows: Sequence[Row]) -> str:
    """A Markdown table: one line per task, protocol and metric; ours first, then the baselines.

    Bold marks the best of a line. "" where nothing of the table was measured. Rows of several splits make one
    table each, and a split that is not in time order is named above its table.
    """
    tables = {}
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        tables[scheme] = _table([row for row in rows if row["scheme"] == scheme and row["value"] is not None])
    tables = {scheme: table for scheme, table in tables.items() if table}
    if len(tables) < 2 and not any(split_label(scheme) != scheme for scheme in tables):
        return "".join(tables.values())
    return "\n\n".join(f"Split: {split_label(scheme)}.\n\n{table}" for scheme, table in tables.items())


def _table(rows: Sequence[Row]) -> str:
    ours = list(dict.fromkeys((row["model"], row["prompt"]) for row in rows if is_ours(row)))
    lines = []
    for task, protocol, metric in table_lines():
        protocol_of = {True: protocol, False: protocol.partition(",")[0]}  # baselines have one way to answer
        line_rows = [
            row
            for row in rows
            if (row["task"], row["protocol"], row["metric"]) == (task, protocol_of[is_ours(row)], metric)
        ]
        if not any(is_ours(row) for row in line_rows):
            continue
        lower = lower_is_better(metric)
        best = (min if lower else max)(row["value"] for row in line_rows)
        cells = [
            _cell([row for row in line_rows if (row["model"], row["prompt"]) == column], best)
            for column in ours
        ]
        baseline_rows = [row for row in line_rows if not is_ours(row)]
        baseline_rows.sort(key=lambda row: row["value"] if lower else -row["value"])
        baselines = ", ".join(
            f"{NAMES.get(row['model'], row['model'])} {_bold(row['value'], best)}" for row in baseline_rows
        )
        lines.append(f"| {task} | {protocol} | {metric} | {' | '.join(cells)} | {baselines} |")
    if not lines:
        return ""
    column_names = [
        f"{model}, {'held-out' if prompt == 'held_out' else prompt} prompts" if prompt else model
        for model, prompt in ours
    ]
    head = f"| task | protocol | metric | {' | '.join(column_names)} | baselines |"
    return "\n".join([head, "|" + "---|" * (4 + len(column_names)), *lines])


def _cell(rows: Sequence[Row], best: float) -> str:
    if not rows:
        return ""
    row = rows[0]
    interval = f" [{row['ci95'][0]:.3f}, {row['ci95'][1]:.3f}]" if row["ci95"] else ""
    return _bold(row["value"], best) + interval


def _bold(value: float, best: float) -> str:
    return f"**{value:.4f}**" if value == best else f"{value:.4f}"


def _licence(licence: Licence) -> str:
    if licence.research_only:
        return (
            f"The data may be used for research only ({licence.name}: {licence.link}), and so may this model."
        )
    if licence.name == "unknown":
        return "Unknown: ask whoever owns the data before you use or pass on the model."
    return licence.name or licence.id


def _items(info: CheckpointInfo) -> int:
    identifiers = info.identifiers.get("item") or {}
    return int(identifiers.get("count", 0))


def _facts(info: CheckpointInfo) -> str:
    """A Markdown list of the model's properties."""
    facts = {
        "started from": info.model,
        "data": f"{info.data.name} (hash {info.data.hash[:12]}), split {split_label(info.split)}",
        "tasks": ", ".join(info.tasks),
        "rating values": ", ".join(f"{value:g}" for value in info.rating_values),
        **{
            f"{of} identifiers": (report or {}).get("method")
            for of, report in info.identifiers.items()
            if report is not None
        },
        "versions": ", ".join(f"{name} {version}" for name, version in info.versions.items()),
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value)


def _training(info: CheckpointInfo) -> str:
    """A Markdown list of the stages of training."""
    lines = []
    for stage in info.stages:
        rest = {name: value for name, value in stage.items() if name not in ("stage", "rates", "best")}
        details = ", ".join(f"{name.replace('_', ' ')} {_format(value)}" for name, value in rest.items())
        best = stage.get("best") or {}
        if best:
            details += f"; best validation {_format(best.get('metrics', best.get('value')))} at step {best.get('step')}"
        lines.append(f"- {stage.get('stage')}: {details}")
    return "\n".join(lines) or "Not trained yet."


def _format(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value)
