"""Writes the tables of README.md from results/*.json, between its markers. A test holds them in step.

python scripts/readme_tables.py            rewrite README.md
python scripts/readme_tables.py --check    exit 1 if it is out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from p5t5.report.model_card import readme_table
from p5t5.results import read_rows

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- results/([\w-]+)\.json -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every marked table made anew."""

    def table(found: re.Match) -> str:
        rows = read_rows(ROOT / "results" / f"{found[2]}.json")
        return f"{found[1]}{readme_table(rows)}\n{found[3]}"

    return MARKED.sub(table, text)


def main() -> int:
    path = ROOT / "README.md"
    before = path.read_text()
    after = filled(before)
    if "--check" in sys.argv[1:]:
        return int(before != after)
    path.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
