"""Writes the tables of README.md and docs/ from results/, between their markers. A test holds them in step.

python scripts/readme_tables.py            rewrite the pages
python scripts/readme_tables.py --check    exit 1 if one is out of date

A marker names result rows (`results/NAME.json`), a benchmark's lines (`results/NAME.jsonl`) or a program's
output (`results/NAME.txt`).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from p5t5.report.model_card import readme_table
from p5t5.results import read_rows

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/*.md")
SIDES = ("ours", "theirs", "constant", "optimum")
MARKED = re.compile(r"(<!-- results/([\w-]+\.(?:jsonl?|txt)) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every marked table made anew."""

    def table(found: re.Match) -> str:
        path = ROOT / "results" / found[2]
        if path.suffix == ".txt":
            made = f"```text\n{path.read_text().strip()}\n```"
        else:
            made = lines_table(path) if path.suffix == ".jsonl" else readme_table(read_rows(path))
        return f"{found[1]}{made}\n{found[3]}"

    return MARKED.sub(table, text)


def lines_table(path: Path) -> str:
    """A benchmark's lines {"case", "value", "detail"}: the case, its value, and what it was made from, where
    the detail has numbers for both sides. Times are medians."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = [name for name in SIDES if any(_shown(line["detail"].get(name)) for line in lines)]
    rows = [["case", "value", *names], ["---"] * (2 + len(names))]
    rows += [
        [line["case"], f"{line['value']:.4g}", *(_shown(line["detail"].get(name)) for name in names)]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "median_ms" in value:
        return f"{value['median_ms']:.4g} ms"
    return f"{value:.4g}" if isinstance(value, float) else ""


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
