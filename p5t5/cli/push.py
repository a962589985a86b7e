"""``p5t5 push``: a model's folder → the Hub."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.workflows.push import PushOptions, push_with

EXAMPLE = """p5t5 push runs/quickstart/model me/films --dry_run to-upload
  p5t5 push runs/quickstart/model me/films --private --space"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("push", lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(argv: list[str]) -> None:
    named = 0
    while named < min(2, len(argv)) and not argv[named].startswith("-"):
        named += 1
    words = [f"--{name}={word}" for name, word in zip(("folder", "repo"), argv[:named], strict=False)]
    (options,) = parse(
        (PushOptions,),
        [*words, *argv[named:]],
        name="push",
        about="Publishes a model on the Hugging Face Hub: FOLDER and REPO (OWNER/NAME) come first.",
        example=EXAMPLE,
    )
    quiet()
    push_with(options, log=say)


if __name__ == "__main__":
    sys.exit(main())
