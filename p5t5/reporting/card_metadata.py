"""What a model card says to machines: the Hub's front matter with the model-index, and its .eval_results files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from p5t5.checkpoint.info import CheckpointInfo
from p5t5.data.licences import Licence
from p5t5.data.splits import split_label
from p5t5.reporting.results_page import PROTOCOLS, is_ours
from p5t5.tasks.base import Task
from p5t5.tasks.registry import TASKS

Row = Mapping[str, Any]

TAGS = ["recommendation", "recommender-systems", "t5", "p5", "p5t5"]
# The table's families, in this order; others follow.
TABLE_FAMILIES = ("sequential", "direct", "rating", "review", "explanation")
_PUBLIC_BASE = re.compile(r"(?:google|google-t5)/[\w.-]+|t5-[\w.-]+")  # not a folder of somebody's machine
_PLAIN_TITLE = re.compile(r"[A-Z][\w ,.'&()-]{2,40}")


def table_lines() -> list[tuple[str, str, str]]:
    """(task, protocol, metric) of the card's lines: ``Task.card_metrics`` under the main protocol, then the
    primary metric under the others.
    """
    lines = []
    for task in sorted(TASKS.values(), key=_table_order):
        main, *others = PROTOCOLS[task.decoding]
        lines += [(task.name, main, metric) for metric in task.card_metrics]
        if task.card_metrics:
            lines += [(task.name, protocol, task.primary_metric) for protocol in others]
    return lines


def _table_order(task: Task) -> tuple[int, bool]:
    known = task.family in TABLE_FAMILIES
    return TABLE_FAMILIES.index(task.family) if known else len(TABLE_FAMILIES), task.writes


def front_matter(info: CheckpointInfo, rows: Sequence[Row], licence: Licence, dataset: str = "") -> str:
    """The YAML block at the head of a card. ``dataset``: the Hub id of the data, if they have one."""
    fields: dict[str, Any] = {
        **licence.front_matter(),
        "language": ["en"],
        "library_name": "p5t5",
        "pipeline_tag": "text-generation",
        "tags": TAGS,
    }
    if dataset:
        fields["datasets"] = [dataset]
    if _PUBLIC_BASE.fullmatch(info.model):
        fields["base_model"] = info.model
    if results := _model_index(info, rows, dataset):
        fields["model-index"] = [{"name": f"p5t5 on {info.data.name}", "results": results}]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=1000)}---\n"


def eval_results(rows: Sequence[Row], dataset: str) -> list[dict[str, Any]]:
    """The content of a file in .eval_results: one entry per task and metric, of the model alone and seen prompts.

    ``dataset``: the Hub id of the data; the Hub shows results of data sets that are registered as benchmarks.
    """
    entries: dict[str, dict[str, Any]] = {}
    for row in _shown_rows(rows):
        task = f"{row['task']}/{row['metric']}".replace("/", "_")
        if task not in entries and row["model"] == "p5t5" and row["prompt"] != "held_out":
            notes = f"{_how(row)}, split {split_label(row['scheme'])}, n {row['n']}"
            entries[task] = {
                "dataset": {"id": dataset, "task_id": task},
                "value": row["value"],
                "notes": notes,
            }
    return list(entries.values())


def usage(titles: Sequence[str], item_ids: Sequence[str]) -> str:
    """A line of Python that asks the Recommender ``rec`` about items that it knows."""
    known: dict[str, int] = {}
    for title in titles:
        known[title] = known.get(title, 0) + 1
    plain = [title for title, times in known.items() if times == 1 and _PLAIN_TITLE.fullmatch(title)][:2]
    if plain == list(item_ids[: len(plain)]) or len(plain) < 2:
        return f"print(rec.recommend(history={json.dumps(list(item_ids[:2]), ensure_ascii=False)}, k=5))"
    return f"print(rec({json.dumps(f'I liked {plain[0]} and {plain[1]}. What should I try next?', ensure_ascii=False)}))"


def _model_index(info: CheckpointInfo, rows: Sequence[Row], dataset: str) -> list[dict[str, Any]]:
    """One result per task, with the figures that the card shows."""
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _shown_rows(rows):
        split = split_label(row["scheme"])
        result = results.setdefault(
            (row["task"], split),
            {
                "task": {"type": "recommendation", "name": row["task"]},
                "dataset": {"type": dataset or info.data.name, "name": info.data.name, "split": f"test, {split}"},
                "metrics": [],
            },
        )  # fmt: skip
        result["metrics"].append(
            {"type": row["metric"], "name": f"{row['metric']}, {_how(row)}", "value": row["value"]}
        )
    return list(results.values())


def _shown_rows(rows: Sequence[Row]) -> list[Row]:
    """Our rows of the card's lines, line by line."""
    return [
        row
        for line in table_lines()
        for row in rows
        if is_ours(row)
        and (row["task"], row["protocol"], row["metric"]) == line
        and row["value"] is not None
        and row.get("variant", "main") == "main"
    ]


def _how(row: Row) -> str:
    prompt = "held-out" if row["prompt"] == "held_out" else row["prompt"]
    told = [
        row["protocol"],
        f"{prompt} prompts" if prompt else "",
        "" if row["model"] == "p5t5" else row["model"],
    ]
    return ", ".join(part for part in told if part)  # fmt: skip
