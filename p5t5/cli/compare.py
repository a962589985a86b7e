"""``p5t5 compare``: models and baselines side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.workflows.compare import CompareOptions, compare_with

EXAMPLE = """p5t5 compare --data runs/quickstart/data --models runs/quickstart/model runs/other/model --html compare.html
  p5t5 compare --data runs/quickstart/data --models runs/quickstart/model --baselines popularity bias --out compare.json"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("compare", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    (options,) = parse(
        (CompareOptions,),
        argv,
        name="compare",
        about="Evaluates models and baselines on the same rows, and compares each with the first, paired by user.",
        example=EXAMPLE,
    )
    from p5t5.reporting.comparison_page import comparison_lines

    quiet()
    found = compare_with(options, log=lambda line: print(line, file=sys.stderr, flush=True))
    for line in [*comparison_lines(found.as_json()), *found.notes]:
        say(line)
    for what, where in (("everything", options.out), ("page", options.html)):
        if where:
            say(f"{what} → {where}")


if __name__ == "__main__":
    sys.exit(main())
