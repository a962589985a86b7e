"""How far ratings are trusted: hand-computed blends, the usual rating, a fit that finds how much a model boasts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_data import at_random, by_hand

from p5t5.baselines.rating import BiasOnly, Ratings
from p5t5.checkpoint.catalogue import ITEM_BIAS, Catalogue
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.inference.predictor import Predictor
from p5t5.inference.rating_calibration import (
    MARGIN,
    BiasPrior,
    RatingCalibrator,
    RatingContext,
    RecencyOffset,
    exponential_tilt,
    saved_rating_calibration,
)
from p5t5.inference.rating_calibration_fit import (
    fit_bias_prior,
    fit_rating_calibration,
    store_rating_calibration,
)
from p5t5.metrics.rating import choice_probabilities
from p5t5.recommender import Recommender
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.columns import rating_index
from p5t5.text.prompts import load_prompts
from p5t5.updating.new_entities import add_items

SCORES = np.log(np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]]))


def test_a_blend_by_hand():
    half = choice_probabilities(RatingCalibrator(0.5, [0.5, 0.25, 0.25])(SCORES))
    by_hand = np.sqrt(np.exp(SCORES) * [0.5, 0.25, 0.25])
    np.testing.assert_allclose(half, by_hand / by_hand.sum(1, keepdims=True))


def test_the_ends():
    prior = [0.5, 0.25, 0.25]
    np.testing.assert_allclose(choice_probabilities(RatingCalibrator(1, prior)(SCORES)), np.exp(SCORES))
    np.testing.assert_allclose(choice_probabilities(RatingCalibrator(0, prior)(SCORES)), [prior, prior])
    silent = RatingCalibrator(0.5, prior)(np.full((1, 3), -np.inf))
    assert np.isneginf(silent).all(), "no answer must not become the prior's"


class Boaster:
    """Knows the chances of each rating, and says them to the power of ``boast``."""

    def __init__(self, split, boast):
        self.prompts = load_prompts()
        self.split, self.boast = split, boast

    def encode(self, examples, prompt_index):
        return Ragged.from_lists([])

    def answer_scores(self, examples, inputs, prompt_index):
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
    found = fit_rating_calibration(Boaster(split, boast), split, ["rating/score"], BuildOptions(epoch=-1))
    assert low <= found["rating/score"].model_weight <= high


def test_it_is_kept_until_further_training():
    catalogue = Catalogue.build(["a"], np.array([[3]]))
    checkpoint = SimpleNamespace(info=SimpleNamespace(rating_values=[1, 2]), catalogue=catalogue, fitted={})
    store_rating_calibration(checkpoint, {"rating/score": RatingCalibrator(0.5, [0.5, 0.5])})
    kept = saved_rating_calibration(checkpoint)["rating/score"]
    assert kept.model_weight == 0.5 and kept.prior.tolist() == [0.5, 0.5] and kept.bias_prior is None
    assert ITEM_BIAS not in catalogue.items
    checkpoint.fitted.clear()  # as a stage of training does: test_checkpoint.py
    assert saved_rating_calibration(checkpoint) == {}


def test_a_like_is_blended_with_what_its_ratings_say():
    """.3 for the two upper of four ratings; with a usual rating at the middle both sides are as likely."""
    prior, values = np.array([0.4, 0.3, 0.2, 0.1]), np.array([1.0, 2, 3, 4])
    above = np.array([False, False, True, True])
    scores = np.log(np.array([[0.9, 0.1]]))
    found = choice_probabilities(RatingCalibrator(0, prior, liked=above)(scores))
    np.testing.assert_allclose(found, [[0.3, 0.7]])
    half = choice_probabilities(RatingCalibrator(0.5, prior, liked=above)(scores))
    wanted = np.sqrt([0.9 * 0.3, 0.1 * 0.7])
    np.testing.assert_allclose(half, [wanted / wanted.sum()])
    asked = RatingContext(np.array([0]), Ragged.from_lists([[]]), np.zeros(0))
    usual = BiasPrior(2.5, 1, np.zeros(1))
    even = choice_probabilities(
        RatingCalibrator(0, np.full(4, 0.25), usual, values, liked=above)(scores, asked)
    )
    np.testing.assert_allclose(even, [[0.5, 0.5]], atol=1e-6)


# The usual rating


def test_tilting_by_hand():
    """Two values: the chances of a mean are known. Three: e^θ = 2 doubles each step."""
    two = np.exp(exponential_tilt(np.array([0.9, 0.1]), np.array([0, 10]), np.array([2.0, 5.0])))
    np.testing.assert_allclose(two, [[0.8, 0.2], [0.5, 0.5]], atol=1e-9)
    prior = np.array([0.5, 0.25, 0.25])
    wanted = prior * [1, 2, 4] / (prior * [1, 2, 4]).sum()
    found = np.exp(
        exponential_tilt(
            prior, np.array([1, 2, 3]), np.array([wanted @ [1, 2, 3], np.nan, prior @ [1, 2, 3]])
        )
    )
    np.testing.assert_allclose(found, [wanted, prior, prior], atol=1e-9)


scales = st.lists(st.integers(-50, 50), min_size=2, max_size=20, unique=True).map(sorted)


@given(scales, st.integers(0, 999), st.lists(st.floats(-60, 60), max_size=20))
def test_a_tilted_prior_has_the_mean_that_is_asked_for(values, seed, means):
    values = np.array(values) / 2
    prior = np.random.default_rng(seed).dirichlet(np.full(len(values), 0.3)) + 1e-6
    ends, span = values[[0, -1]], values[-1] - values[0]
    means = np.array([*means, *ends, ends.mean()])
    found = np.exp(exponential_tilt(prior / prior.sum(), values, means))
    wanted = np.clip(means, ends[0] + MARGIN * span, ends[1] - MARGIN * span)
    np.testing.assert_allclose(found @ values, wanted, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1)


def test_the_usual_rating_by_hand():
    """Mean 3, biases 1 and −½; the person gave 5 to item 0 and 3 to item 1: 1 and ½ too much, over 2 + 2."""
    usual = BiasPrior(3, 2, np.array([1, -0.5, np.nan]))
    rated = Ragged.from_lists([[0, 1], [], [2], [0]])
    asked = RatingContext(np.array([1, 0, 2, -1]), rated, np.array([5, 3, 0, 1.0]))
    np.testing.assert_allclose(usual(asked), [3 - 0.5 + 1.5 / 4, 4, 3 - 3 / 3, np.nan])


def test_recent_ratings_by_hand():
    """As above; 1 and ½ leave ⅝ and ⅛ beyond the bias of 3/8: half of the first, all of the second, over 1½ + 1."""
    usual = BiasPrior(3, 2, np.array([1, -0.5]), RecencyOffset(half_life=1, penalty=1))
    asked = RatingContext(np.array([1, 0]), Ragged.from_lists([[0, 1], []]), np.array([5, 3.0]))
    np.testing.assert_allclose(usual(asked), [3 - 0.5 + 1.5 / 4 + (0.625 / 2 + 0.125) / 2.5, 4])


@pytest.mark.parametrize("mood", [0.0, 1.0])
def test_recency_is_found_where_moods_last(mood):
    """Ratings are drawn at random, or wander as the person's mood does; the latest are then the best guess."""
    split, draw = at_random(users=300), np.random.default_rng(0)
    first = np.r_[True, split.data.user[1:] != split.data.user[:-1]]
    steps = np.where(first, 0, draw.normal(0, mood, len(first)))
    walk = np.cumsum(steps) - np.cumsum(steps)[np.flatnonzero(first)][np.cumsum(first) - 1]
    rating = np.clip(np.round(3 + walk + draw.normal(0, 0.5, len(walk))), 1, 5)
    usual = fit_bias_prior(Split(replace(split.data, rating=rating), split.scheme, split.part))
    assert (usual.recency is not None) == bool(mood)


def test_without_trust_the_answer_is_that_of_bias_only():
    """On validation rows, whose histories are what bias-only was fitted on."""
    split = at_random(users=80)
    usual, rows = fit_bias_prior(split), split.rows("validation")
    bias = BiasOnly(split, (usual.user_penalty,))
    bias.item = usual.bias.astype(np.float64)
    data = split.data
    for row in rows.tolist():  # a slow twin: one person at a time
        earlier = [at for at in split.rows("train") if data.user[at] == data.user[row]]
        left = [data.rating[at] - usual.mean - bias.item[data.item[at]] for at in earlier]
        left = [one for one in left if np.isfinite(one)]
        bias.user[data.user[row]] = sum(left) / (len(left) + usual.user_penalty)
    guess = bias.predict(data.user[rows], data.item[rows])
    prior, values = np.full(4, 0.25), data.rating_values
    scores = np.random.default_rng(0).normal(size=(len(rows), 4))
    shares = choice_probabilities(
        RatingCalibrator(0, prior, usual, values)(scores, RatingContext.of_rows(split, rows))
    )
    span = MARGIN * (values[-1] - values[0])
    np.testing.assert_allclose(shares @ values, np.clip(guess, 1 + span, 5 - span), atol=1e-6)
    own = choice_probabilities(
        RatingCalibrator(1, prior, usual, values)(scores, RatingContext.of_rows(split, rows))
    )
    np.testing.assert_allclose(own, choice_probabilities(scores))


def test_it_is_bias_only_of_the_training_rows():
    split = at_random(users=80)
    usual = fit_bias_prior(split)
    rows = split.rows("validation")
    shifts = []
    for penalty in (2, 5, 10, 20):
        bias = BiasOnly(split, (usual.user_penalty,), validation=Ratings(split, rows[:0]))
        bias.user_penalty, bias.item_penalty = usual.user_penalty, penalty
        bias.refit(Ratings(split, "train"))
        wanted = bias.mean + bias.user[split.data.user[rows]] + bias.item[split.data.item[rows]]
        shifts.append(np.abs(usual(RatingContext.of_rows(split, rows)) - wanted).max())
    assert min(shifts) < 1e-5


def test_no_rating_of_validation_or_test_is_read():
    split = at_random(users=60)
    poisoned = split.data.rating.copy()
    held = split.part > 0
    poisoned[held] = np.where(np.isfinite(poisoned[held]), 6 - poisoned[held], np.nan)
    other = Split(replace(split.data, rating=poisoned), split.scheme, split.part)
    one, two = fit_bias_prior(split), fit_bias_prior(other)
    assert (one.mean, one.user_penalty, one.recency) == (two.mean, two.user_penalty, two.recency)
    assert np.array_equal(one.bias, two.bias)
    rows = split.rows("validation")
    assert np.array_equal(one(RatingContext.of_rows(split, rows)), two(RatingContext.of_rows(other, rows)))
    train_only = replace(split.data, rating=np.where(split.part == 0, np.nan, split.data.rating))
    assert fit_bias_prior(Split(train_only, split.scheme, split.part)) is None


def test_what_was_rated_before_by_hand():
    """User 0 at row 3: items 0 and 2 with 1 and 5, item 1 without a rating; user 1 at row 6: item 5 with 2."""
    asked = RatingContext.of_rows(by_hand(), np.array([3, 6, 5]))
    assert asked.item.tolist() == [3, 0, 5]
    assert asked.rated.to_lists() == [[0, 2], [5], []] and asked.ratings.tolist() == [1, 5, 2]


# In a checkpoint


@pytest.fixture(scope="module")
def records():
    return simulate(users=30, items=40, seed=1).records


@pytest.fixture(scope="module")
def checkpoint(records) -> Checkpoint:
    split = leave_one_out(records.index())
    made = create_checkpoint(split, load_prompts(), model="tiny", vocabulary_size=400)
    made.info = made.info.copy(tasks=["rating/score", "rating/like", "review/score"], stages=[{}])
    predictor = Predictor(made, split.data)
    found = fit_rating_calibration(predictor, split, made.info.tasks, made.build_options(-1))
    assert found["rating/score"].bias_prior is not None, "it names an item"
    assert found["review/score"].bias_prior is None, "it is told a review"
    assert found["rating/like"].bias_prior is not None, "a like is of an item too"
    found["rating/score"].model_weight = found["rating/like"].model_weight = 0.0
    store_rating_calibration(made, found)
    return made


def test_a_checkpoint_keeps_biases_of_items_and_of_no_person(checkpoint, records, tmp_path):
    checkpoint.save(tmp_path)
    loaded = Checkpoint.load(tmp_path)
    before, after = (saved_rating_calibration(one)["rating/score"] for one in (checkpoint, loaded))
    assert np.array_equal(before.bias_prior.bias, after.bias_prior.bias) and after.values.tolist() == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert (after.bias_prior.mean, after.bias_prior.user_penalty) == (
        before.bias_prior.mean,
        before.bias_prior.user_penalty,
    )
    assert loaded.catalogue.items[ITEM_BIAS].dtype == np.float32
    assert after.bias_prior.recency == before.bias_prior.recency
    assert set(loaded.fitted["rating_calibration"].settings["bias_prior"]) == {
        "mean",
        "user_penalty",
        "recency",
    }
    # One of before the biases: the prior is the same for everyone.
    old = replace(
        loaded, catalogue=replace(loaded.catalogue, items=loaded.catalogue.items.drop(columns=ITEM_BIAS))
    )
    assert saved_rating_calibration(old)["rating/score"].bias_prior is None
    value = Recommender(old).rate(loaded.catalogue.item_ids[0], history=[(loaded.catalogue.item_ids[1], 1)])
    assert list(value.distribution.values()) == pytest.approx(after.prior.tolist())
    with pytest.raises(UserError, match="40 items, but 3 values"):
        loaded.catalogue.set_item_bias(np.zeros(3))


def test_new_items_have_no_bias_yet(checkpoint, records):
    ids = checkpoint.catalogue.item_ids
    grown = add_items(checkpoint, records.items.iloc[:1].assign(item_id="0new"))
    bias = dict(zip(grown.catalogue.item_ids, grown.catalogue.item_bias, strict=True))
    assert np.isnan(bias.pop("0new"))
    assert bias == dict(zip(ids, checkpoint.catalogue.item_bias, strict=True))
    usual = saved_rating_calibration(grown)["rating/score"].bias_prior
    fresh = RatingContext(np.array([grown.catalogue.index_of["0new"]]), Ragged.from_lists([[]]), np.zeros(0))
    assert usual(fresh) == pytest.approx([usual.mean])


def test_answers_move_with_what_the_person_rated(checkpoint):
    rec, ids = Recommender(checkpoint), checkpoint.catalogue.item_ids
    low, high = (rec.rate(ids[0], history=[(item, stars) for item in ids[1:6]]) for stars in (1, 5))
    assert low < rec.rate(ids[0], history=[ids[1]]) < high
    usual = saved_rating_calibration(checkpoint)["rating/score"].bias_prior
    person = (5 - usual.mean - usual.bias[1:6]).sum() / (5 + usual.user_penalty)
    assert high == pytest.approx(min(usual.mean + usual.bias[0] + person, 5 - 4 * MARGIN), abs=1e-5)
    titles = checkpoint.catalogue.titles
    asked = "I gave {} {} stars and {} {} stars, what would I give {}?"
    one, two = (rec(asked.format(titles[1], n, titles[2], n, titles[0])) for n in (1, 5))
    assert one.task == two.task == "rating/score" and one.value < two.value


def test_the_model_alone_is_shown_beside(checkpoint, records):
    split = leave_one_out(records.index())
    found = evaluate_checkpoint(
        checkpoint, split, ("rating/score",), part="validation", prompts=("seen",), progress=False
    )
    assert [one.protocol for one in found.measured] == ["expected", "expected, model alone"]
    assert set(found.measured[0].values) == set(found.measured[1].values)
    assert {sample["protocol"] for sample in found.samples} == {"expected"}
    assert [table["protocol"] for table in found.calibration] == ["expected", "expected, model alone"]
    rows, data = found.measured[0].rows, split.data
    guess = saved_rating_calibration(checkpoint)["rating/score"].bias_prior(
        RatingContext.of_rows(split, rows)
    )
    errors = (np.clip(guess, 1 + 4 * MARGIN, 5 - 4 * MARGIN) - data.rating[rows]) ** 2
    np.testing.assert_allclose(found.measured[0].values["rmse"], errors, atol=1e-5)
    likes = evaluate_checkpoint(
        checkpoint, split, ("rating/like",), part="validation", prompts=("seen",), progress=False
    )
    assert [one.protocol for one in likes.measured] == ["choice", "choice, model alone"]
    priors = saved_rating_calibration(checkpoint)["rating/score"].log_priors(
        RatingContext.of_rows(split, rows)
    )
    above = np.exp(priors)[:, 3:].sum(1) > 0.5  # ratings from 1 to 5
    np.testing.assert_array_equal(likes.measured[0].values["accuracy"], above == (data.rating[rows] > 3))
    recommender, ids = Recommender(checkpoint), checkpoint.catalogue.item_ids
    low, high = (
        recommender(f"I gave {ids[1]} {stars} stars and {ids[2]} {stars} stars. Would I like {ids[0]}?")
        for stars in (1, 5)
    )
    assert low.task == high.task == "rating/like" and low.value < high.value
    trustless = replace(checkpoint, fitted={})
    alone = evaluate_checkpoint(
        trustless, split, ("rating/score",), part="validation", prompts=("seen",), progress=False
    )
    np.testing.assert_allclose(found.measured[1].values["rmse"], alone.measured[0].values["rmse"], atol=1e-5)
