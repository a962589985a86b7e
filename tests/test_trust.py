"""How far ratings are trusted: hand-computed blends, and a fit that finds by how much a model boasts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_data import at_random

from p5t5.metrics.rating import choice_probabilities
from p5t5.prompts import load_prompts
from p5t5.ragged import Ragged
from p5t5.tasks import BuildOptions
from p5t5.tasks.columns import rating_index
from p5t5.trust import Trust, fit_trust, keep_trust, saved_trust

SCORES = np.log(np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]]))


def test_a_blend_by_hand():
    half = choice_probabilities(Trust(0.5, [0.5, 0.25, 0.25])(SCORES))
    by_hand = np.sqrt(np.exp(SCORES) * [0.5, 0.25, 0.25])
    np.testing.assert_allclose(half, by_hand / by_hand.sum(1, keepdims=True))


def test_the_ends():
    prior = [0.5, 0.25, 0.25]
    np.testing.assert_allclose(choice_probabilities(Trust(1, prior)(SCORES)), np.exp(SCORES))
    np.testing.assert_allclose(choice_probabilities(Trust(0, prior)(SCORES)), [prior, prior])
    silent = Trust(0.5, prior)(np.full((1, 3), -np.inf))
    assert np.isneginf(silent).all(), "no answer must not become the prior's"


class Boaster:
    """Knows the chances of each rating, and says them to the power of ``boast``."""

    def __init__(self, split, boast):
        self.prompts = load_prompts()
        self.renderer = SimpleNamespace(encode_inputs=lambda *_: Ragged.from_lists([]))
        self.split, self.boast = split, boast

    def rating_scores(self, examples, inputs, prompt_index):
        data = self.split.data
        truth = rating_index(data, data.rating[examples.rows])
        rng = np.random.default_rng(0)
        scores = rng.normal(0, 1, (len(truth), len(data.rating_values)))
        # A softmax's own draws: the truth is drawn from the chances that are told.
        drawn = (scores + rng.gumbel(size=scores.shape)).argmax(1)
        turned = np.take_along_axis(scores, self._turn(drawn, truth, scores.shape[1]), 1)
        return turned * self.boast

    @staticmethod
    def _turn(drawn, truth, choices):
        """Permutations that put what was drawn in the place of the truth."""
        places = np.tile(np.arange(choices), (len(drawn), 1))
        rows = np.arange(len(drawn))
        places[rows, truth], places[rows, drawn] = drawn, truth
        return places


@pytest.mark.parametrize(("boast", "low", "high"), [(1.0, 0.8, 1.2), (2.5, 0.25, 0.6)])
def test_the_fit_finds_how_much_a_model_boasts(boast, low, high):
    split = at_random(users=600)
    found = fit_trust(Boaster(split, boast), split, ["rating/score"], BuildOptions(epoch=-1))
    assert low <= found["rating/score"].trust <= high


def test_it_is_kept_until_further_training():
    checkpoint = SimpleNamespace(info={"stages": [{}]})
    keep_trust(checkpoint, {"rating/score": Trust(0.5, [0.5, 0.5])})
    kept = saved_trust(checkpoint)["rating/score"]
    assert kept.trust == 0.5 and kept.prior.tolist() == [0.5, 0.5]
    checkpoint.info["stages"].append({})
    assert saved_trust(checkpoint) == {}
    assert saved_trust(SimpleNamespace(info={"stages": []})) == {}
