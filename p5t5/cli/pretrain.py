"""``p5t5 pretrain``: masked-span training on unlabelled recommendation text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from p5t5.cli.main import run
from p5t5.cli.model_setup import StartOptions, identity, load_split, quiet, start
from p5t5.cli.options import option, parse
from p5t5.core.errors import UserError

EXAMPLE = "p5t5 pretrain --data runs/ml-100k --out runs/pretrained --model tiny --epochs 3"

VALIDATING = ("eval_every", "evaluations", "metric", "patience")  # options that are for fine-tuning alone


@dataclass
class PretrainOptions:
    """What is masked, and how."""

    corpus: str = option(
        "behaviour,items,reviews,triples", "kinds of text: behaviour, items, reviews, triples"
    )
    density: float = option(0.15, "share of the tokens that is masked")
    mean_span: float = option(3.0, "mean length of a masked span; whole items count as one")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("pretrain", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    from p5t5.training.options import TrainOptions

    start_options, pretrain, training = parse(
        (StartOptions, PretrainOptions, TrainOptions),
        argv,
        name="pretrain",
        about="Pretrains a T5 with masked spans over histories, item sentences, reviews and triples.",
        example=EXAMPLE,
    )
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.reporting.model_card import training_card
    from p5t5.training.loop import train

    if idle := [name for name in VALIDATING if getattr(training, name)]:
        raise UserError(f"--{idle[0]} has no effect: pretraining validates nothing. Leave it out.")
    quiet()
    split = load_split(start_options)
    checkpoint: Checkpoint = start(start_options, split, training.seed)
    source = denoising_source(checkpoint, split, pretrain, training.seed)
    result = train(
        checkpoint.model,
        source,
        training,
        Path(start_options.out),
        identity=identity("pretrain", checkpoint, **asdict(pretrain)),
    )
    checkpoint.add_stage({"stage": "pretrain", **result.summary()})
    if result.is_main:
        checkpoint.save(start_options.out, training_card(checkpoint.info))
        print(f"pretrained {result.steps} steps → {start_options.out}")


def denoising_source(checkpoint, split, options: PretrainOptions, seed: int):
    """epoch → Encoded: the training part's corpus with the spans of that epoch masked."""
    from p5t5.text.pretraining_corpus import KINDS, build_corpus
    from p5t5.text.span_corruption import corrupt
    from p5t5.text.tokenizer import sentinel_ids

    renderer = checkpoint.renderer_for(split.data)
    sentinels = sentinel_ids(checkpoint.tokenizer)
    kinds = [kind.strip() for kind in options.corpus.split(",") if kind.strip()]
    if not 0 < options.density < 1 or not options.mean_span >= 1:
        raise UserError("--density must lie between 0 and 1, and --mean_span be at least 1.")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"--corpus: there is no kind {unknown[0]!r}; choose among {', '.join(KINDS)}.")
    build = replace(checkpoint.build_options(), seed=seed)

    def epoch_examples(epoch: int):
        corpus = build_corpus(split, kinds, replace(build, epoch=epoch))
        tokens, groups = renderer.encode_elements(corpus.column, corpus.texts)
        return corrupt(
            tokens,
            groups,
            sentinels,
            checkpoint.tokenizer.eos_token_id,
            seed=seed,
            epoch=epoch,
            density=options.density,
            mean_span=options.mean_span,
        )

    return epoch_examples


if __name__ == "__main__":
    sys.exit(main())
