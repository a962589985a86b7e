"""``p5t5 pretrain``: masked-span training on unlabelled recommendation text."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.training.options import TrainOptions
from p5t5.workflows.model_setup import StartOptions
from p5t5.workflows.pretrain import PretrainOptions, pretrain_with

EXAMPLE = "p5t5 pretrain --data runs/ml-100k --out runs/pretrained --model tiny --epochs 3"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("pretrain", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    options = parse(
        (StartOptions, PretrainOptions, TrainOptions),
        argv,
        name="pretrain",
        about="Pretrains a T5 with masked spans over histories, item sentences, reviews and triples.",
        example=EXAMPLE,
    )
    quiet()
    pretrain_with(*options, log=say)


if __name__ == "__main__":
    sys.exit(main())
