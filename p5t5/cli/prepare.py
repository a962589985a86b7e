"""``p5t5 prepare SOURCE``: raw files → a data folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields

from p5t5.cli.main import run
from p5t5.cli.options import parse
from p5t5.core.errors import UserError
from p5t5.data.build import SOURCES, PreparedData, known_source, prepare_with
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.sources.column_inference import MADE, NONE, OPTIONS
from p5t5.data.trainability import why_not_trainable
from p5t5.reporting.data_page import DataReport
from p5t5.tasks.registry import TASKS

REPORT = "report.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the folder and says what is in it, what was dropped, and which tasks it allows."""
    return run("prepare", lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(argv: list[str]) -> None:
    if argv[:1] in (["-h"], ["--help"]):
        print(_usage())
        sys.exit(0)  # as argparse does for a command's other helps
    if not argv or argv[0].startswith("-"):
        raise UserError("name a SOURCE first: " + ", ".join(SOURCES) + "; see `p5t5 prepare --help`.")
    source = known_source(argv[0])
    (options,) = parse(
        (source.options,),
        argv[1:],
        name=f"prepare {argv[0]}",
        about=source.about,
        example=source.example,
        words="raw" if "raw" in {field.name for field in fields(source.options)} else "",
    )
    prepared = prepare_with(argv[0], options)
    report = DataReport(prepared.data, prepared.info, tasks(prepared.data))
    report.write(prepared.folder / REPORT)
    print("\n".join(summary_lines(prepared, report)))


def summary_lines(prepared: PreparedData, report: DataReport) -> list[str]:
    """What a person wants to know of a fresh data folder, in a few lines."""
    info, data = prepared.info, prepared.data
    lines = []
    if "columns" in info:
        read = ", ".join(f"{ours} = {theirs}" for ours, theirs in info["columns"].items())
        others = [option for ours, option in OPTIONS.items() if ours not in (*info["columns"], *MADE)]
        lines += [f"read: {info['rows_read']:,} rows; {read}"]
        lines += [f"read: {note}" for note in info.get("notes", [])]
        lines.append(
            f"To correct a column: {' COLUMN, '.join(OPTIONS.values())} COLUMN; {NONE} leaves one out"
        )
        lines += [f"not found: {', '.join(others)}"] if others else []
    lines.append(
        f"{data.name}: {data.number_of_users:,} users, {data.number_of_items:,} items, "
        f"{len(data):,} interactions → {prepared.folder}"
    )
    lines += [f"step: {step}" for step in info.get("steps", [])]
    where = {problem["reason"]: problem for problem in info.get("problems", [])}
    for reason, number in info.get("dropped", {}).items():
        first = f"; first {where[reason]['first']}; {where[reason]['remedy']}" if reason in where else ""
        lines.append(f"dropped: {number:,} row{'s' if number > 1 else ''} ({reason}){first}")
    if not info.get("dropped"):
        lines.append("dropped: nothing")
    return [
        *lines,
        *report.lines(),
        *tasks(data),
        f"report: {prepared.folder / REPORT}",
        *next_steps(prepared),
    ]


def next_steps(prepared: PreparedData) -> list[str]:
    """What to type next, or why nothing can be learned from these data."""
    if why := why_not_trainable(prepared.data):
        return [
            f"these data cannot be trained on: {why}. More interactions of the same users with the same items are "
            "needed; if a wrong column was taken for users or items, name the right one"
        ]
    folder = shlex.quote(str(prepared.folder))
    return [f"next: p5t5 finetune --data {folder} --out model --max_minutes 10"]


def tasks(data: IndexedRecords) -> list[str]:
    """Which tasks the data allow, and what the others lack."""
    missing = {name: task.missing(data) for name, task in TASKS.items()}
    lines = [f"tasks: {', '.join(name for name, columns in missing.items() if not columns)}"]
    for columns in dict.fromkeys(tuple(columns) for columns in missing.values() if columns):
        off = [name for name, needed in missing.items() if tuple(needed) == columns]
        lines.append(f"off: {', '.join(off)}: the data have no column {' and no column '.join(columns)}")
    if not data.has("title"):
        lines.append(
            "note: the items have no titles; only prompts that speak in identifiers are used. If you have titles: "
            "`prepare table … --items FILE --columns title=COLUMN`, and FILE may be that of the interactions"
        )
    return lines


def _usage() -> str:
    width = max(map(len, SOURCES))
    return "\n".join(
        [
            "usage: p5t5 prepare SOURCE [FILE …] --out DIR [OPTIONS]",
            "",
            "Turns raw files into a data folder (Parquet tables that `datasets` loads too).",
            "",
            *(f"  {name:<{width}}  {source.about}" for name, source in SOURCES.items()),
            "",
            "`p5t5 prepare SOURCE --help` shows a source's options.",
            "examples:",
            *(f"  {source.example}" for source in SOURCES.values()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
