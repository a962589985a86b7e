"""``p5t5 recommend``: recommendations for many users → Parquet, CSV or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.workflows.recommend import RecommendOptions, recommend_with

EXAMPLE = """p5t5 recommend --model runs/quickstart/model --data runs/quickstart/data --out recommendations.csv
  p5t5 recommend --model runs/quickstart/model --data runs/quickstart/data --users 17 42 --k 5 --out two.jsonl"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("recommend", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    (options,) = parse(
        (RecommendOptions,),
        argv,
        name="recommend",
        about="Writes the k best items for users of a data folder, from their whole histories.",
        example=EXAMPLE,
    )
    quiet()
    recommend_with(options, log=say)


if __name__ == "__main__":
    sys.exit(main())
