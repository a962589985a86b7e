"""Soft targets: teachers that never saw what they speak of, and a loss that shares an answer's weight with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.tiny_training import tiny_model

from p5t5.baselines.text_similarity import content_rankers
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.encoded import Encoded, SoftTargets, on_disk
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.distillation import next_item_teacher as neighbours
from p5t5.distillation.next_item_teacher import (
    ALTERNATIVES,
    FOLDS,
    _blend,
    _uncounted,
    _without,
    next_item_soft_targets,
)
from p5t5.distillation.soft_targets import make_soft_targets
from p5t5.text.mixture import make_mixture
from p5t5.text.prompts import load_prompts
from p5t5.text.rendering import render_mixture
from p5t5.training.batching import collate, fingerprint


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate(users=300, items=80, seed=3).data)


@pytest.fixture(scope="module")
def checkpoint(split):
    return create_checkpoint(split, load_prompts(), vocabulary_size=400, start_from_factors=False)


def moved(split, rows):
    """The same data, with other items in the given rows."""
    item = split.data.item.copy()
    item[rows] = (item[rows] + 1) % split.data.number_of_items
    return replace(split, data=replace(split.data, item=item))


def test_neighbours_never_read_validation_or_test_rows(split):
    found = next_item_soft_targets(split)
    other = next_item_soft_targets(moved(split, np.flatnonzero(split.part != 0)))
    for one, two in zip(found, other, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_teacher_never_counted_the_user_it_speaks_to(split):
    mine = split.data.user == 5
    before, after = (
        _blend(_without(one, mine), content_rankers(one))
        for one in (split, moved(split, np.flatnonzero(mine)))
    )
    for one, two in zip(before.parts, after.parts, strict=True):
        for name, value in one.state().items():
            np.testing.assert_array_equal(value, two.state()[name])
    assert 5 in np.unique(split.data.user) and FOLDS > 1


def test_neighbour_soft_targets_are_shares_and_tell_more_than_chance(split):
    rows, items, shares = next_item_soft_targets(split)
    assert items.shape == shares.shape == (len(rows), ALTERNATIVES)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert (np.diff(shares, axis=1) <= 0).all(), "the likeliest first"
    assert (split.part[rows] == 0).all() and (split.history_lengths(rows) > 0).all()
    of_truth = (shares * (items == split.data.item[rows][:, None])).sum(1)
    assert of_truth.mean() > 3 / split.data.number_of_items


def test_neighbours_know_that_people_do_not_come_back(split):
    rows, items, shares = next_item_soft_targets(split)
    histories = split.history_items(rows, 10**6)
    past = np.zeros((len(rows), split.data.number_of_items), bool)
    past[histories.row_of_value, histories.values] = True
    repeats = past[np.arange(len(rows)), split.data.item[rows]].mean()
    distilled = (shares * np.take_along_axis(past, items, 1)).sum(1).mean()
    assert distilled < repeats + 0.05


def test_many_rows_are_drawn_from_for_counting_and_for_teaching(split, monkeypatch):
    """Up to a limit nothing is left out; beyond it whole users are not counted, and fewer rows are taught."""
    whole, trained = next_item_soft_targets(split), split.part == 0
    monkeypatch.setattr(neighbours, "MAX_COUNTED_ROWS", int(trained.sum()))
    monkeypatch.setattr(neighbours, "MAX_DISTILLED_ROWS", len(whole[0]))
    assert not _uncounted(split, 0).any()
    for one, two in zip(next_item_soft_targets(split), whole, strict=True):
        np.testing.assert_array_equal(one, two)
    monkeypatch.setattr(neighbours, "MAX_COUNTED_ROWS", 1000)
    left_out = _uncounted(split, 0)
    counted = split.data.user[~left_out & trained]
    assert 1000 - np.bincount(split.data.user).max() < len(counted) <= 1000
    assert not np.isin(split.data.user[left_out], counted).any()
    blends = []
    monkeypatch.setattr(neighbours, "_blend", lambda *given: blends.append(_blend(*given)) or blends[-1])
    monkeypatch.setattr(neighbours, "MAX_DISTILLED_ROWS", 200)
    rows, items, shares = next_item_soft_targets(split)
    sizes = [blend.parts[0].counts.sum() for blend in blends]
    assert sum(sizes) == (FOLDS - 1) * len(counted) and len(blends) == FOLDS
    assert len(rows) == len(items) == len(shares) == 200 and np.isin(rows, whole[0]).all()
    assert (np.diff(rows) > 0).all() and not np.isin(split.data.user[rows], counted).all()


def test_the_first_answer_is_taught_by_its_own_row_and_the_next_by_the_row_after(split, checkpoint):
    alphas = {"sequential/next_item": 0.5, "sequential/continue": 0.5}
    distilled, off = make_soft_targets(checkpoint, split, alphas)
    assert distilled is not None and not off
    mixture, _ = make_mixture(split, checkpoint.prompts, {"sequential/continue": 1.0}, size=50)
    _, examples, prompts, _ = next(iter(mixture.examples(0)))
    renderer = checkpoint.renderer_for(split.data)
    encoded = renderer.encode(examples, prompts, 1.0, distilled)
    number = distilled.numbers["sequential/continue"]
    names = checkpoint.catalogue.tokens[:, 0]
    for example, row in enumerate(examples.rows.tolist()):
        tokens = encoded.targets[example].tolist()
        soft_target_index = Ragged(encoded.soft_target_index, encoded.targets.offsets)[example].tolist()
        answers = [at for at, token in enumerate(tokens) if token in set(names.tolist())]
        assert [soft_target_index[at] for at in answers] == number[row : row + len(answers)].tolist()
        assert [tokens[at] for at in answers] == names[split.data.item[row : row + len(answers)]].tolist()
        assert all(soft_target_index[at] == -1 for at in range(len(tokens)) if at not in answers)
    assert (encoded.soft_target_index >= 0).any()


def a_mixture(split, checkpoint):
    rates = {
        "sequential/next_item": 1.0,
        "sequential/continue": 1.0,
        "explanation/explain": 1.0,
        "rating/score": 1.0,
    }
    mixture, _ = make_mixture(split, checkpoint.prompts, rates, size=40)
    distilled, _ = make_soft_targets(checkpoint, split, {"sequential/next_item": 0.25, "rating/score": 0.75})
    return mixture, distilled


def test_the_loss_shares_the_weight_as_a_slow_twin_does(split, checkpoint):
    mixture, distilled = a_mixture(split, checkpoint)
    renderer = checkpoint.renderer_for(split.data)
    encoded = render_mixture(renderer, mixture, 0, distilled)
    batch = collate(encoded, np.arange(12))
    plain = collate(render_mixture(renderer, mixture, 0), np.arange(12))
    weight = batch["label_weights"] + batch["soft_target_weights"].sum(-1)
    torch.testing.assert_close(weight, plain["label_weights"])
    model = tiny_model(dtype=torch.float64, vocab_size=len(checkpoint.tokenizer) + 8)
    model.eval()
    logs = (
        model(**{name: plain[name] for name in ("input_ids", "attention_mask", "labels")})
        .logits.detach()
        .log_softmax(-1)
    )
    slow = 0.0
    for example in range(12):
        for at in range(int((batch["labels"][example] != -100).sum())):
            strength = 0.0
            soft_target_index = int(Ragged(encoded.soft_target_index, encoded.targets.offsets)[example][at])
            own = float(plain["label_weights"][example, at])
            if soft_target_index >= 0:
                for token, share in zip(
                    distilled.soft_targets.tokens[soft_target_index],
                    distilled.soft_targets.shares[soft_target_index],
                    strict=True,
                ):
                    slow -= own * float(share) * float(logs[example, at, token])
                    strength += float(share)
            slow -= own * (1 - strength) * float(logs[example, at, batch["labels"][example, at]])
    for mode in (model.eval(), model.train()):  # the plain and the fused path
        loss = mode(**batch, num_items_in_batch=3.0).loss
        assert float(loss.detach()) == pytest.approx(slow / 3.0, rel=1e-6)


def test_soft_targets_survive_cutting_joining_and_the_disk(split, checkpoint):
    mixture, distilled = a_mixture(split, checkpoint)
    encoded = render_mixture(checkpoint.renderer_for(split.data), mixture, 0, distilled)
    halves = [encoded.take(np.arange(0, 17)), encoded.take(np.arange(17, 40))]
    for again in (Encoded.concatenate(halves), on_disk(halves)):
        np.testing.assert_array_equal(again.soft_target_index, encoded.soft_target_index)
        assert again.soft_targets is distilled.soft_targets
        assert fingerprint(again) == fingerprint(encoded)
    plain = replace(encoded, soft_targets=None, soft_target_index=None)
    mixed = Encoded.concatenate([halves[0], plain.take(np.arange(3))])
    assert (mixed.soft_target_index[len(halves[0].targets.values) :] == -1).all()
    assert fingerprint(plain) != fingerprint(encoded)
    weaker = SoftTargets(distilled.soft_targets.tokens, distilled.soft_targets.shares / 2)
    assert fingerprint(replace(encoded, soft_targets=weaker)) != fingerprint(encoded)


def test_identifiers_of_several_tokens_are_not_taught(split):
    several = create_checkpoint(
        split, load_prompts(), vocabulary_size=400, start_from_factors=False, item_identifiers="collaborative"
    )
    distilled, off = make_soft_targets(several, split, {"sequential/next_item": 0.5})
    assert distilled is None and "several tokens" in off[0]


@pytest.mark.parametrize("alphas", [{"review/headline": 0.5}, {"rating/score": 1.0}, {"rating/score": -0.1}])
def test_what_cannot_be_taught_is_refused(split, checkpoint, alphas):
    with pytest.raises(UserError, match="--soft_targets"):
        make_soft_targets(checkpoint, split, alphas)
