"""``p5t5 finetune``: prompts → answers, several tasks at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.workflows.finetune import FinetuneOptions, FinetuneTraining, finetune_with
from p5t5.workflows.model_setup import StartOptions

EXAMPLE = """p5t5 finetune --data runs/ml-100k --model runs/pretrained --out runs/model --epochs 10
  accelerate launch scripts/finetune.py --data runs/ml-100k --model runs/pretrained --out runs/model"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("finetune", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    options = parse(
        (StartOptions, FinetuneOptions, FinetuneTraining),
        argv,
        name="finetune",
        about="Fine-tunes a T5 on several recommendation tasks at once, on any number of processes.",
        example=EXAMPLE,
    )
    quiet()
    finetune_with(*options, log=say)


if __name__ == "__main__":
    sys.exit(main())
