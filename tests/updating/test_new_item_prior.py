"""New items are no likelier, taken together, than their share of the catalogue."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.ranking import all_item_scores
from p5t5.tasks.base import ITEM, Column, Examples
from p5t5.text.prompts import load_prompts
from p5t5.updating.new_item_prior import (
    MAX_HISTORY,
    SYNTHETIC_HISTORIES,
    TASK,
    cap_new_item_probability,
    histories,
)

NEW = 8


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """The last items are as likely as if everybody had chosen them."""
    split = leave_one_out(simulate(users=30, items=60, seed=1).data)
    made = create_checkpoint(split, load_prompts(), vocabulary_size=500)
    made.info.tasks = [TASK]
    with torch.no_grad():
        weight = made.model.lm_head.weight
        tokens = made.catalogue.tokens[:, 0].astype(np.int64)
        told = histories(weight.numpy()[tokens], np.arange(60), 0)
        weight[tokens[-NEW:]] = weight[tokens[:NEW]] * 4
        assert share_of(made, told) > 2 * NEW / 60
    return made


def share_of(checkpoint, told) -> float:
    """The mean probability of the new items, by the decoder that users are answered by."""
    prompts = checkpoint.prompts
    fit = [
        n
        for n, one in enumerate(prompts)
        if one.task == TASK and not one.held_out and "{history}" in one.input
    ]
    fit = [n for n in fit if prompts[n].input.count("{") == 1]
    examples = Examples(TASK, np.zeros(len(told), np.int64), {"history": Column.listed(ITEM, told).ended()})
    inputs = checkpoint.renderer.encode_inputs(examples, np.array(fit)[np.arange(len(told)) % len(fit)])
    scores = np.zeros((len(told), len(checkpoint.catalogue)))
    for rows, ids, mask in padded_batches(inputs, 2048):
        scores[rows] = all_item_scores(checkpoint.model, ids, mask, checkpoint.catalogue.trie)
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return float(chances[:, -NEW:].sum(1).mean())


def test_they_are_brought_down_to_their_share_and_nothing_else_moves(checkpoint):
    new = np.arange(60) >= 60 - NEW
    tokens = checkpoint.catalogue.tokens[:, 0].astype(np.int64)
    told = histories(checkpoint.model.lm_head.weight.detach().numpy()[tokens[~new]], np.flatnonzero(~new), 0)
    moved = replace(checkpoint, model=copy.deepcopy(checkpoint.model))
    amount = cap_new_item_probability(moved, new, 0)
    assert amount > 0
    assert share_of(moved, told) == pytest.approx(NEW / 60, abs=1e-4)
    before, after = (one.model.lm_head.weight.detach().numpy() for one in (checkpoint, moved))
    others = np.setdiff1d(np.arange(len(before)), tokens[new])
    np.testing.assert_array_equal(before[others], after[others])
    step = before[tokens[new]] - after[tokens[new]]
    np.testing.assert_allclose(step, np.broadcast_to(step[0], step.shape), atol=1e-5)
    # All are lowered alike: who is before whom among them stays.
    again = replace(checkpoint, model=copy.deepcopy(checkpoint.model))
    assert cap_new_item_probability(again, new, 0) == amount
    assert cap_new_item_probability(moved, new, 0) == pytest.approx(0, abs=0.02)


def test_a_model_that_ranks_nothing_stays_as_it_is(checkpoint):
    other = replace(
        checkpoint,
        model=copy.deepcopy(checkpoint.model),
        info=checkpoint.info.copy(tasks=["rating/score"]),
    )
    assert cap_new_item_probability(other, np.arange(60) >= 60 - NEW, 0) == 0
    assert torch.equal(other.model.lm_head.weight, checkpoint.model.lm_head.weight)


def test_histories_are_of_like_items():
    corner = np.repeat(np.eye(4), 30, 0) + 0.01 * np.random.default_rng(0).standard_normal((120, 4))
    told = histories(corner, np.arange(1000, 1120), 3)
    assert len(told) == SYNTHETIC_HISTORIES and told.lengths.min() >= 1 and told.lengths.max() <= MAX_HISTORY
    for row in range(len(told)):
        assert len({int(item - 1000) // 30 for item in told[row]}) == 1
    np.testing.assert_array_equal(told.values, histories(corner, np.arange(1000, 1120), 3).values)
