"""What the training benchmark trains on: a data folder or simulated data, as examples and as a corpus."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.encoded import Encoded
from p5t5.core.ragged import Ragged
from p5t5.data.records.loading import load
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.text.mixture import make_mixture
from p5t5.text.pretraining_corpus import build_corpus
from p5t5.text.prompts import load_prompts
from p5t5.text.rendering import render_mixture
from p5t5.workflows.model_setup import choose_user_identifiers


@dataclass(frozen=True)
class Size:
    examples: int  # rendered and trained from
    trained: tuple[int, int]  # of them in a comparison: with the default peer, with the tuned one
    repeats: int
    batches: tuple[int, ...]  # the tuned peer's choices
    users: int  # of the simulated data


FULL = Size(40_000, (4_096, 12_288), 5, (16, 32, 64), 3000)
QUICK = Size(600, (64, 64), 2, (8,), 60)


class World:
    """The data, a start checkpoint for each shape, and its examples."""

    def __init__(self, data: str | None, size: Size):
        self.size = size
        self.data = load(data) if data else simulate(users=size.users).data
        self.split = leave_one_out(self.data)
        self._made: dict[str, Checkpoint] = {}

    def checkpoint(self, shape: str) -> Checkpoint:
        if shape not in self._made:
            users = choose_user_identifiers("auto", self.split)  # as `p5t5 finetune` names them
            self._made[shape] = create_checkpoint(
                self.split, load_prompts(), model=shape, dropout=0.0, user_identifiers=users
            )
        return self._made[shape]

    @cached_property
    def mixture(self):
        checkpoint = self.checkpoint("tiny")
        return make_mixture(
            self.split, checkpoint.prompts, None, checkpoint.build_options(), size=self.size.examples
        )[0]

    @cached_property
    def examples(self) -> Encoded:
        """A multi-task epoch whose loss is the peers': the mean over the data's target tokens.

        Batches hold as many tokens, not as many examples. Divided by its own targets, a batch of long inputs
        would count each of its few targets for more than the peer's do: so by its tokens, all the same.
        """
        encoded = render_mixture(self.checkpoint("tiny").renderer_for(self.data), self.mixture, 0)
        tokens = encoded.inputs.lengths + encoded.targets.lengths
        weights = np.full_like(encoded.weights, tokens.sum() / encoded.targets.lengths.sum())
        return replace(encoded, weights=weights, units=tokens.astype(np.int32))

    def corpus(self) -> tuple[Ragged, Ragged, np.ndarray, int]:
        """(tokens, groups, sentinels, eos) of the pretraining corpus, rows in random order."""
        checkpoint = self.checkpoint("tiny")
        sequences = build_corpus(self.split, options=checkpoint.build_options(0))
        renderer = checkpoint.renderer_for(self.data)
        tokens, groups = renderer.encode_elements(sequences.column, sequences.texts)
        order = np.random.default_rng(0).permutation(len(tokens))[: self.size.examples]
        sentinels = checkpoint.tokenizer.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(100)])
        return tokens.take(order), groups.take(order), np.array(sentinels), renderer.eos


def fresh(checkpoint: Checkpoint):
    """A copy of the start model."""
    return copy.deepcopy(checkpoint.model).train()
