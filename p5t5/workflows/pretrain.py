"""Pretraining: masked spans over histories, item sentences, reviews and triples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5t5.core.errors import UserError
from p5t5.core.options import from_keywords, names, option
from p5t5.training.options import TrainOptions
from p5t5.workflows.model_setup import LOG, Log, StartOptions, check_out, identity, load_split, start

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.core.encoded import Encoded
    from p5t5.data.splits import Split

VALIDATING = ("eval_every", "evaluations", "metric", "patience")  # options that are for fine-tuning alone


@dataclass
class PretrainOptions:
    """What is masked, and how."""

    corpus: str = option(
        "behaviour,items,reviews,triples", "kinds of text: behaviour, items, reviews, triples"
    )
    density: float = option(0.15, "share of the tokens that is masked")
    mean_span: float = option(3.0, "mean length of a masked span; whole items count as one")


def pretrain(
    data: str | Path, model: str | Path, out: str | Path, *, log: Log = LOG, **options: Any
) -> Checkpoint:
    """Pretrains ``model`` (a preset, a T5 checkpoint or a p5t5 model) on the ``data`` folder and saves it in ``out``.

    ``options``: those of ``p5t5 pretrain`` (StartOptions, PretrainOptions, TrainOptions), as in ``max_steps=100``.
    ``log`` receives the lines that the command prints. Raises UserError for data, options or folders that cannot be
    used; under several processes all return the checkpoint, and the main one writes.
    """
    given = {"data": data, "model": model, "out": out, **options}
    return pretrain_with(
        *from_keywords("pretrain", (StartOptions, PretrainOptions, TrainOptions), given), log=log
    )


def pretrain_with(
    start_options: StartOptions, options: PretrainOptions, training: TrainOptions, *, log: Log = LOG
) -> Checkpoint:
    """``pretrain`` with instances of its option classes."""
    from p5t5.reporting.model_card import training_card
    from p5t5.training.loop import train

    if idle := [name for name in VALIDATING if getattr(training, name)]:
        raise UserError(f"--{idle[0]} has no effect: pretraining validates nothing. Leave it out.")
    check_out(start_options.out, training)
    split = load_split(start_options)
    checkpoint = start(start_options, split, training.seed)
    result = train(
        checkpoint.model,
        denoising_source(checkpoint, split, options, training.seed),
        training,
        Path(start_options.out),
        identity=identity("pretrain", checkpoint, **asdict(options)),
    )
    checkpoint.add_stage({"stage": "pretrain", **result.summary()})
    if result.is_main:
        checkpoint.save(start_options.out, training_card(checkpoint.info))
        log(f"pretrained {result.steps} steps → {start_options.out}")
    return checkpoint


def denoising_source(
    checkpoint: Checkpoint, split: Split, options: PretrainOptions, seed: int
) -> Callable[[int], Encoded]:
    """epoch → Encoded: the training part's corpus with the spans of that epoch masked."""
    from p5t5.text.pretraining_corpus import KINDS, build_corpus
    from p5t5.text.span_corruption import corrupt
    from p5t5.text.tokenizer import sentinel_ids

    renderer = checkpoint.renderer_for(split.data)
    sentinels = sentinel_ids(checkpoint.tokenizer)
    kinds = names(options.corpus)
    if not 0 < options.density < 1 or not options.mean_span >= 1:
        raise UserError("--density must lie between 0 and 1, and --mean_span be at least 1.")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"--corpus: there is no kind {unknown[0]!r}; choose among {', '.join(KINDS)}.")
    build = replace(checkpoint.build_options(), seed=seed)

    def epoch_examples(epoch: int) -> Encoded:
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
