"""Writes the tables of README.md and docs/ from results/, between their markers. A test holds them in step.

python scripts/readme_tables.py            rewrite the pages
python scripts/readme_tables.py --check    exit 1 if one is out of date

A marker names result rows (`results/NAME.json`), a benchmark's lines (`results/NAME.jsonl`; those of
`benchmarks/ablation.py`, `benchmarks/forgetting.py`, `benchmarks/search.py` and `benchmarks/questions.py` have tables of
their own), a program's
output (`results/NAME.txt`), or a leaderboard (`leaderboard DATASET`, `leaderboard DATASET 5` for the best five systems):
what `benchmarks/quality.py` measured (`results/leaderboard-DATASET.json`, where it exists) among what papers say
(`results/published.json`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p5t5.evaluation.results import read_rows
from p5t5.reporting.model_card import readme_table
from p5t5.reporting.results_page import NAMES

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/*.md", "dev/lab/*.md")
SIDES = ("ours", "theirs", "constant", "optimum")
MARKED = re.compile(r"(<!-- results/([\w-]+\.(?:jsonl?|txt)) -->\n).*?(<!-- end -->)", re.DOTALL)

BOARD = re.compile(r"(<!-- leaderboard ([\w-]+)(?: (\d+))? -->\n).*?(<!-- end -->)", re.DOTALL)
HEADS = (
    "system",
    "split",
    "protocol",
    "NDCG@10",
    "HR@10",
    "95 % interval",
    "seeds",
    "minutes",
    "parameters",
    "source",
)
PROMPT_NAMES = {"": "", "seen": ", seen prompts", "held_out": ", held-out prompts"}
TASK = "sequential/next_item"
UNKNOWN = "–"
KINDS = {
    "K4": "something like it",
    "K5": "conditions",
    "K6": "dislikes",
    "K7": "nothing or unknown names",
    "K13": "ratings",
    "K24": "spellings",
    "K25": "no question, languages",
    "K26": "several",
    "K27": "facts",
}


def filled(text: str) -> str:
    """The text with every marked table made anew."""

    def table(found: re.Match) -> str:
        path = ROOT / "results" / found[2]
        if path.suffix == ".txt":
            made = f"```text\n{path.read_text().strip()}\n```"
        else:
            made = lines_table(path) if path.suffix == ".jsonl" else readme_table(read_rows(path))
        return f"{found[1]}{made}\n{found[3]}"

    return BOARD.sub(board, MARKED.sub(table, text))


def board(found: re.Match) -> str:
    """A marked leaderboard, made anew."""
    measured = ROOT / "results" / f"leaderboard-{found[2]}.json"
    rows = read_rows(measured) if measured.is_file() else []
    published = read_rows(ROOT / "results" / "published.json")
    most = int(found[3]) if found[3] else None
    made = leaderboard([*rows, *(row for row in published if row["dataset"] == found[2])], most)
    return f"{found[1]}{made}\n{found[4]}"


def leaderboard(rows: Sequence[dict[str, Any]], most: int | None = None) -> str:
    """One line per system, prompt kind and protocol, best NDCG@10 first; filtered rankings, which are easier, come last.

    Of a system with several seeds only the mean over them; the interval is NDCG@10's. What a paper says is
    in italics, with its source. ``most``: that many systems, without held-out prompts and filtered rankings.
    """
    systems: dict[tuple, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["task"] == TASK and row["value"] is not None:
            key = row["quoted"], row["model"], row["prompt"], row["protocol"]
            metrics = systems.setdefault(key, {})
            if row["metric"] not in metrics or row["aggregate"] == "mean":
                metrics[row["metric"]] = row
    shown = [
        metrics
        for (_, _, prompt, protocol), metrics in systems.items()
        if "ndcg@10" in metrics and (most is None or (prompt != "held_out" and protocol != "filtered"))
    ]
    shown.sort(key=lambda one: (one["ndcg@10"]["protocol"] == "filtered", -one["ndcg@10"]["value"]))
    lines = [HEADS, ("---",) * len(HEADS), *map(_line, shown[:most])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(metrics: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    row = metrics["ndcg@10"]
    name = NAMES.get(row["model"], row["model"].replace("_", " ")) + PROMPT_NAMES.get(
        row["prompt"], f", {row['prompt']}"
    )
    interval = f"{row['ci95'][0]:.4f}–{row['ci95'][1]:.4f}" if row.get("ci95") else UNKNOWN
    hits = metrics.get("hr@10")
    return (
        f"*{name}*" if row["quoted"] else name,
        f"{row['scheme']}, {row['split']}",
        row["protocol"] or "not said",
        f"{row['value']:.4f}",
        f"{hits['value']:.4f}" if hits else UNKNOWN,
        interval,
        str(len(row["seeds"])) if row.get("seeds") else UNKNOWN,
        f"{row['minutes']:.1f}" if row.get("minutes") is not None else UNKNOWN,
        _millions(row.get("parameters")),
        f"quoted: {row['source']}" if row["quoted"] else "measured here",
    )


def _millions(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number / 1e6:.2f} M"


def lines_table(path: Path) -> str:
    """A benchmark's lines {"case", "value", "detail"}: the case, its value, and what it was made from, where
    the detail has numbers for both sides. Times are medians."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    if lines and "arm" in lines[0]:
        return arms_table(lines)
    if lines and "identity" in lines[0]:
        return trials_table(lines[1:])
    if lines and "kind" in lines[0]:
        return questions_table(lines)
    if any(line["case"] == "p99_ms" for line in lines):
        return serving_table(lines)
    names = [name for name in SIDES if any(_shown(line["detail"].get(name)) for line in lines)]
    rows = [["case", "value", *names], ["---"] * (2 + len(names))]
    rows += [
        [
            line["case"],
            _shown(line["value"]) or UNKNOWN,
            *(_shown(line["detail"].get(name)) for name in names),
        ]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def trials_table(lines: Sequence[dict[str, Any]]) -> str:
    """A line a trial of `benchmarks/search.py`: complete ones, best first, then those that were broken off."""
    names = list(lines[0]["params"])
    ranked = sorted(lines, key=lambda line: (line["state"] != "complete", -(line["value"] or 0)))
    rows = [["trial", "value", "steps", *names], ["---"] * (3 + len(names))]
    for line in ranked:
        value = UNKNOWN if line["value"] is None else f"{line['value']:.4f}"
        shown = value if line["state"] == "complete" else f"{value} ({line['state']})"
        who = str(line["trial"] or "0, the recipe")
        rows.append([who, shown, str(line["steps"]), *(f"{line['params'][name]:g}" for name in names)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def serving_table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines of `benchmarks/serving.py`: a value for each shape of model, and latency by number of clients."""
    shapes = list(dict.fromkeys(line["detail"]["shape"] for line in lines))
    values = {(line["case"], line["detail"]["shape"]): line["value"] for line in lines}
    cases = list(dict.fromkeys(line["case"] for line in lines if line["case"] not in ("qps", "p99_ms")))
    rows = [["case", *shapes], ["---"] * (1 + len(shapes))]
    rows += [[case, *(_shown(values.get((case, shape))) or UNKNOWN for shape in shapes)] for case in cases]
    speed = [["model", "clients", "requests/s", "p50 ms", "p95 ms", "p99 ms"], ["---"] * 6]
    speed += [
        [
            line["detail"]["shape"],
            clients,
            *(f"{said[name]:g}" for name in ("qps", "p50_ms", "p95_ms", "p99_ms")),
        ]
        for line in lines
        if line["case"] == "p99_ms"
        for clients, said in line["detail"]["clients"].items()
    ]
    tables = ["\n".join(f"| {' | '.join(row)} |" for row in table) for table in (speed, rows)]
    return "\n\n".join(tables)


def questions_table(lines: Sequence[dict[str, Any]]) -> str:
    """A line a kind of question and part of the benchmark, over all its catalogues."""
    head = (
        "kind",
        "part",
        "questions",
        "intent",
        "items F1",
        "conditions",
        "false answers",
        "needless notes",
    )
    rows: list[Sequence[str]] = [head, ("---", "---", *["--:"] * 6)]
    over_all = [line for line in lines if line["data"] == "all"]
    for kind in dict.fromkeys(line["kind"] for line in over_all):
        for line in (line for line in over_all if line["kind"] == kind):
            f1 = line["items_f1"]
            rows.append(
                (
                    f"{kind} {KINDS.get(kind, '')}".strip(),
                    line["part"].replace("_", " ").replace("dev", "development"),
                    str(line["questions"]),
                    _percent(line["intent"]),
                    UNKNOWN if f1 is None else f"{f1:.3f}",
                    _percent(line["conditions"]),
                    _percent(line["false_answers"]),
                    _percent(line["needless_notes"]),
                )
            )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1%}"


def arms_table(lines: Sequence[dict[str, Any]]) -> str:
    """A line an arm; a column a task, protocol and metric: the value and, behind it, arm − the arm that it is compared with
    (95 %), bold where the interval leaves out 0."""
    columns = list(dict.fromkeys((line["task"], line["protocol"], line["metric"]) for line in lines))
    arms: dict[str, dict[tuple, dict[str, Any]]] = {}
    for line in lines:
        arms.setdefault(line["arm"], {})[line["task"], line["protocol"], line["metric"]] = line
    rows = [["arm", "seeds", "minutes", *(" ".join(column) for column in columns)]]
    rows.append(["---"] * len(rows[0]))
    for arm, found in arms.items():
        one = next(iter(found.values()))
        cells = [_against(found[column]) if column in found else UNKNOWN for column in columns]
        rows.append([arm, str(len(one["seeds"])), f"{one['minutes']:g}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _against(line: dict[str, Any]) -> str:
    if line["difference"] is None:
        return f"{line['value']:.4f}"
    low, high = line["difference_ci95"]
    told = f"{line['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"{line['value']:.4f} ({told if low <= 0 <= high else f'**{told}**'})"


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "median_ms" in value:
        return f"{value['median_ms']:.4g} ms"
    return f"{value:.4g}" if isinstance(value, float) else str(value) if isinstance(value, int) else ""


def main() -> int:
    changed = False
    for path in (page for pattern in PAGES for page in sorted(ROOT.glob(pattern))):
        before = path.read_text()
        after = filled(before)
        changed |= before != after
        if "--check" not in sys.argv[1:]:
            path.write_text(after)
    return int(changed and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
