"""What pretrain and finetune share: the data, its split, and the model they start from."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5t5.core.errors import UserError
from p5t5.core.files import check_free, digest
from p5t5.core.options import option, required

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.splits import Split
    from p5t5.training.options import TrainOptions

Log = Callable[[str], Any]  # what a workflow tells its caller, line by line
LOG: Log = logging.getLogger("p5t5").info  # where nobody listens

FEW_INTERACTIONS = 20  # a user; below, histories are short
AUTO = -1.0  # a dropout that follows the data


@dataclass
class StartOptions:
    """The data, and the model that training starts from."""

    data: str = required("data folder, as `p5t5 prepare` writes it")
    out: str = required("folder for the trained model")
    model: str = option(
        "tiny",
        "what to start from: a p5t5 model folder, a T5 checkpoint (folder or Hub id), or a preset to train from "
        "scratch: tiny, mini, small, base",
    )
    split: str = option(
        "loo",
        "loo (leave one out), temporal, or random (8:1:1 as P5 did for ratings and words: leaks the future)",
    )
    prompts: str = option("", "folder of prompt files; empty: the ones that come with p5t5")
    item_identifiers: str = option(
        "atomic", "how items are named: atomic, random, sequential, collaborative, semantic, hybrid, title"
    )
    user_identifiers: str = option(
        "auto",
        "how users are named: as items, but by title; or none (history alone); auto: collaborative where there are no "
        "ratings and few interactions per user, else atomic",
    )
    vocabulary_size: int = option(4000, "text pieces of a tokenizer trained from scratch")
    dropout: float = option(
        AUTO,
        "dropout rate; -1: 0.1 if there are texts to generate (without dropout they overfit), else 0: soft targets "
        "regularise enough",
    )
    whole_word_embeddings: bool = option(False, "add an embedding of each token's word number to the encoder")
    start_from_factors: bool = option(True, "from scratch: start identifiers at the factors of co-occurrence")
    max_history: int = option(20, "items of a history that the model sees")
    max_continue: int = option(10, "items that sequential/continue asks for")
    candidates: int = option(100, "candidates of a choice in evaluation, the right one included")
    train_candidates: int = option(20, "candidates of a choice in training")
    max_words: int = option(80, "longest text of a slot, in words")
    given: frozenset[str] = dataclasses.field(default=frozenset(), init=False)  # options that the user set


def load_split(options: StartOptions) -> Split:
    """Reads the data folder and splits it; rows that the p5t5 model to start from was trained on stay training rows."""
    from p5t5.checkpoint.hub import resolve
    from p5t5.checkpoint.info import INFO, CheckpointInfo
    from p5t5.data.explanations.build import check_split
    from p5t5.data.records.loading import load
    from p5t5.data.splits import split_by
    from p5t5.model.configuration import PRESETS
    from p5t5.updating.new_interactions import split_of

    data = load(options.data)
    check_split(options.data, options.split)
    if options.model not in PRESETS and ((folder := resolve(options.model)) / INFO).is_file():
        # Of a damaged one, or other data: `start` says so.
        with suppress(ValueError, KeyError, TypeError, UserError):
            info = CheckpointInfo.read(folder)
            if info.split == options.split and info.data.hash == data.hash:
                return split_of(info, data)
    return split_by(options.split, data)


def start(options: StartOptions, split: Split, seed: int) -> Checkpoint:
    """The checkpoint to train: a p5t5 folder's, or a new one from a preset or a T5 checkpoint.

    A p5t5 folder keeps its own prompts, identifiers and ways of building examples. Raises UserError for an
    option that was given although the model already fixes it otherwise.
    """
    if options.dropout != AUTO and not 0 <= options.dropout < 1:
        raise UserError(f"--dropout {options.dropout}: must be at least 0 and below 1, or {AUTO:g} for auto.")
    dropout = options.dropout if options.dropout != AUTO else default_dropout(split)
    for name in ("max_history", "max_continue", "candidates", "train_candidates", "max_words"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: must be at least 1.")
    from p5t5.checkpoint.checkpoint import INFO, Checkpoint
    from p5t5.checkpoint.creation import create_checkpoint
    from p5t5.checkpoint.hub import resolve, set_dropout
    from p5t5.model.configuration import PRESETS
    from p5t5.tasks.base import BuildOptions
    from p5t5.text.prompts import lint, load_prompts

    if options.model not in PRESETS and (resolve(options.model) / INFO).is_file():
        checkpoint = Checkpoint.load(options.model)
        checkpoint.check_same(split.data)
        if checkpoint.info.split != split.scheme:
            raise UserError(
                f"--split: {options.model} was trained on the split {checkpoint.info.split}; with "
                f"{split.scheme} its training data would hold test rows."
            )
        _refuse_idle(options, _fixed(checkpoint))
        if "prompts" in options.given and load_prompts(options.prompts or None) != checkpoint.prompts:
            _refuse_idle(options, {"prompts": None})
        set_dropout(checkpoint.model, dropout)
        return checkpoint
    if options.model not in PRESETS:
        _refuse_idle(options, {"vocabulary_size": None, "start_from_factors": None})
    prompts = load_prompts(options.prompts or None)
    lint(prompts)
    build = BuildOptions(
        max_history=options.max_history,
        max_continue=options.max_continue,
        candidates=options.candidates,
        train_candidates=options.train_candidates,
        max_words=options.max_words,
        seed=seed,
    )
    return create_checkpoint(
        split,
        prompts,
        model=options.model,
        options=build,
        item_identifiers=options.item_identifiers,
        user_identifiers=choose_user_identifiers(options.user_identifiers, split),
        vocabulary_size=options.vocabulary_size,
        dropout=dropout,
        whole_word_embeddings=options.whole_word_embeddings,
        start_from_factors=options.start_from_factors,
        seed=seed,
    )


def default_dropout(split: Split) -> float:
    """0.1 if there are texts to generate (without dropout they overfit), else 0: soft targets regularize enough."""
    return 0.1 if any(split.data.has(column) for column in ("review", "explanation")) else 0.0


def choose_user_identifiers(method: str, split: Split) -> str:
    """The method that "auto" stands for: one token per user overfits where there are many users with few interactions
    each, and dominates the head's cost; tokens of a tree over tastes are shared. Ratings need to know the user."""
    if method != "auto":
        return method
    return "collaborative" if has_short_histories(split) and split.data.rating is None else "atomic"


def has_short_histories(split: Split) -> bool:
    """Fewer than FEW_INTERACTIONS training interactions a user, on average."""
    return len(split.rows("train")) < FEW_INTERACTIONS * split.data.number_of_users


def _fixed(checkpoint: Checkpoint) -> dict[str, Any]:
    """option → the value that a p5t5 model has for it; None where it does not say."""
    build, names = checkpoint.info.options, checkpoint.info.identifiers
    return {
        **{
            name: getattr(build, name)
            for name in ("max_history", "max_continue", "candidates", "train_candidates", "max_words")
        },
        **{f"{of}_identifiers": "none" if one is None else one["method"] for of, one in names.items()},
        "whole_word_embeddings": checkpoint.model.config.whole_word_embeddings,
        "vocabulary_size": None,
        "start_from_factors": None,
    }


def _refuse_idle(options: StartOptions, fixed: Mapping[str, Any]) -> None:
    for name, own in fixed.items():
        if name in options.given and getattr(options, name) not in (own, "auto"):
            keeps = "its own" if own is None else own
            raise UserError(
                f"--{name} {getattr(options, name)} has no effect: {options.model} keeps {keeps}. "
                "Leave it out, or start from another model."
            )


def identity(stage: str, checkpoint: Checkpoint, **shaping: Any) -> dict[str, Any]:
    """What identifies a run of this stage, by name; ``shaping``: options that shape its examples.

    --resume refuses the checkpoint of another run, though its weights would fit.
    """
    info = checkpoint.info
    build = {name: value for name, value in asdict(info.options).items() if name not in ("seed", "epoch")}
    return {
        "stage": stage,
        "data": info.data.hash,
        "split": info.split,
        "tokenizer": digest(checkpoint.tokenizer.backend_tokenizer.to_str()),
        "prompts": _digest_json([dataclasses.astuple(prompt) for prompt in checkpoint.prompts]),
        "starting model": _digest_json([info.model, info.stages]),
        **{f"--{name}": value for name, value in {**build, **shaping}.items()},
    }


def identifier_tokens(checkpoint: Checkpoint) -> list[int]:
    """Ids of all tokens that exist to name items and users, ascending; identifiers in plain text have none."""
    from p5t5.text.tokenizer import WORD_START

    known = checkpoint.tokenizer.get_vocab()
    spellings = [*checkpoint.catalogue.items["identifier"], *checkpoint.users.values()]
    pieces = {WORD_START + piece for spelling in spellings for piece in spelling.split() if piece[0] == "<"}
    return sorted(known[piece] for piece in pieces if piece in known)


def check_out(out: str, training: TrainOptions) -> None:
    """UserError where ``out`` holds finished work, unless the options say to resume, restart or overwrite it."""
    from p5t5.training.checkpointing import find_checkpoints
    from p5t5.training.run_folder import CHECKPOINTS

    if (Path(out) / "interactions.parquet").exists():
        raise UserError(f"--out {out} holds a data folder: name another folder for the model.")
    if training.overwrite or training.restart:
        return
    resumable = bool(find_checkpoints(Path(out) / CHECKPOINTS))
    if training.resume and resumable:
        return
    go_on = "continue its training with --resume, or " if resumable else ""
    check_free(out, f"{go_on}replace it with --overwrite")


def _digest_json(value: Any) -> str:
    return digest(json.dumps(value, sort_keys=True, default=str))
