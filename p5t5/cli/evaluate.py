"""``p5t5 evaluate``: the clean protocol, the model beside the baselines on the same rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.workflows.evaluate import EvaluateOptions, evaluate_with

EXAMPLE = "p5t5 evaluate --data runs/ml-100k --model runs/model --out runs/results.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("evaluate", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    (options,) = parse(
        (EvaluateOptions,),
        argv,
        name="evaluate",
        about="Evaluates a model, and baselines beside it, by the clean protocol (docs/evaluation.md).",
        example=EXAMPLE,
    )
    from p5t5.reporting.results_text import format_rows, verdicts

    quiet()
    found = evaluate_with(options, log=say)
    lines = [*found.notes, format_rows(found.rows), *verdicts(found.rows, found.comparisons)]
    for line in [*lines, f"{len(found.rows)} rows → {options.out}"]:
        say(line)


if __name__ == "__main__":
    sys.exit(main())
