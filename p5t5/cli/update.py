"""``p5t5 update``: a model meets a newer data folder: new items and users, new interactions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.workflows.update import UpdateOptions, UpdateTraining, update_with

EXAMPLE = """p5t5 update --model runs/model --data runs/shop-june --out runs/model-june
  p5t5 update --model runs/model --old runs/shop --data runs/shop-june --out runs/model-june --replay 0.7"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("update", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    options = parse(
        (UpdateOptions, UpdateTraining),
        argv,
        name="update",
        about="Adds the new items and users of a newer data folder to a model and trains it on the new interactions, "
        "mixed with old ones; shows its metrics before and after.",
        example=EXAMPLE,
    )
    quiet()
    update_with(*options, log=say)


if __name__ == "__main__":
    sys.exit(main())
