"""Ratings read from reviews by words: ridge by hand and by a slow twin, priors, leak gates, and the checkpoint folder."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from support.tiny_data import at_random, by_hand

from p5t5.baselines import review_regression as reading
from p5t5.baselines.review_regression import RatingDistribution, ReviewRegressor, texts_of
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.data.text_features import WORD, WordCounts
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.judging import Judge
from p5t5.inference.predictor import Predictor
from p5t5.inference.rating_calibration import RatingCalibrator, RatingContext, saved_rating_calibration
from p5t5.inference.rating_calibration_fit import fit_rating_calibration, store_rating_calibration
from p5t5.inference.request import PromptFacts
from p5t5.metrics.rating import choice_probabilities
from p5t5.recommender import Recommender
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.columns import rating_index
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import load_prompts
from p5t5.updating.new_entities import add_items

OPTIONS = BuildOptions(epoch=-1)
TEXT, BOTH = "review/score", "review/score_with_headline"
NOUNS = [f"thing{number}" for number in range(12)]
OPINIONS = ("awful", "poor", "fair", "good", "superb")


def hand() -> Split:
    """A hundred people, half of whom say "good" with 5 and half "bad" with 1; then two rows that are held back."""
    n, part = 102, np.zeros(102, np.int8)
    part[100:] = 1, 2
    good = np.arange(n) % 2 == 0
    return Split(
        by_hand(
            user=np.arange(n, dtype=np.int32),
            item=np.zeros(n, np.int32),
            rating=np.where(good, 5, 1).astype(np.float32),
            texts={"review": np.where(good, "Good!", "bad").tolist(), "summary": [""] * n},
            user_ids=np.arange(n).astype(str),
        ).data,
        "loo",
        part,
    )


def told(users: int, seed: int = 0) -> Split:
    """People who say what they think, one time in five of something else."""
    tiny = at_random(users=users, items=20, longest=9, seed=seed)
    draw, n = np.random.default_rng(seed), len(tiny.data)
    rating = draw.integers(1, 6, n).astype(np.float32)
    said = np.where(draw.uniform(size=n) < 0.2, draw.integers(0, 5, n), rating - 1).astype(int)
    nouns = draw.choice(NOUNS, (n, 3))
    review = [
        f"It's {OPINIONS[one]} {' '.join(row)}. {row[0]}!" for one, row in zip(said, nouns, strict=True)
    ]
    summary = [f"{OPINIONS[one]} {row[1]}" for one, row in zip(said, nouns, strict=True)]
    texts = {"review": review, "summary": summary}
    values = np.arange(1, 6, dtype=np.float32)
    return Split(replace(tiny.data, rating=rating, texts=texts, rating_values=values), "loo", tiny.part)


def test_a_ridge_by_hand():
    """Columns ±½, ratings ±2, penalty ½: (25 + 25 + ½) w = 100, so each word is worth w = 1.98 about 3."""
    reader = ReviewRegressor.fit(hand(), TEXT, OPTIONS)
    assert reader.constant == pytest.approx(3, abs=1e-6)
    own, w = reader.weights["review"], 100 / 50.5
    assert dict(zip(own.words, own.weight.tolist(), strict=True)) == pytest.approx({"good": w, "bad": -w})
    assert (
        own.rarity == pytest.approx(1 + np.log(101 / 51))
        and own.weight.dtype == own.rarity.dtype == np.float32
    )
    texts = ["GOOD", "bad", "good good", "bad good", "good thing", "what?", ""]
    wanted = [3 + w, 3 - w, 3 + w, 3, 3 + w, np.nan, np.nan]
    np.testing.assert_allclose(reader({"review": texts}), wanted, atol=1e-6)
    assert reader({"review": []}).shape == (0,)
    shares = np.exp(reader.log_shares({"review": texts}))
    assert shares[0, 4] > 0.9 and shares[1, 0] > 0.9 and np.isnan(shares[5:]).all()
    np.testing.assert_allclose(shares[:5].sum(1), 1)


def features(text: str) -> Counter:
    """A slow twin: "it's" is one word, all else between letters and digits parts words."""
    found = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split()
    return Counter(found) + Counter(" ".join(pair) for pair in pairwise(found))


def slow_reader(split: Split, task: str, penalty: float, asked: np.ndarray) -> np.ndarray:
    data, train = split.data, [row for row in range(len(split.data)) if split.part[row] == 0]
    blocks, asks = [], []
    for column in ("review", "summary")[: 2 if task == BOTH else 1]:
        rows = [features(data.texts[column][row]) for row in train]
        holders = Counter(name for row in rows for name in row)
        names = [name for name in holders if holders[name] > 1]

        def table(counted, names=names, holders=holders):
            out = np.zeros((len(counted), len(names)))
            for at, row in enumerate(counted):
                for place, name in enumerate(names):
                    if row[name]:
                        rarity = 1 + np.log((1 + len(train)) / (1 + holders[name]))
                        out[at, place] = (1 + np.log(row[name])) * rarity
                out[at] /= max(np.linalg.norm(out[at]), 1e-300)
            return out

        blocks.append(table(rows))
        asks.append(table([features(data.texts[column][row]) for row in asked]))
    known, rating = np.hstack(blocks), data.rating[train].astype(float)
    centred = known - known.mean(0)
    weights = np.linalg.solve(
        centred.T @ centred + penalty * np.eye(known.shape[1]), centred.T @ (rating - rating.mean())
    )
    return rating.mean() + (np.hstack(asks) - known.mean(0)) @ weights


@pytest.mark.parametrize("task", [TEXT, BOTH])
def test_a_slow_twin_reads_the_same(task, monkeypatch):
    split = told(users=40)
    rows = split.rows("validation")
    monkeypatch.setattr(reading, "RIDGE_PENALTIES", (2.0,))
    reader = ReviewRegressor.fit(split, task, OPTIONS)
    texts = texts_of(TASKS[task].build(split, rows, OPTIONS))
    found = reader(texts)
    assert not np.isnan(found).any() and found.std() > 0.1
    np.testing.assert_allclose(found, slow_reader(split, task, 2.0, rows), atol=0.02)
    one_by_one = [reader({slot: [part[at]] for slot, part in texts.items()})[0] for at in range(len(rows))]
    np.testing.assert_allclose(one_by_one, found)
    monkeypatch.setattr(reading, "TEXTS_AT_ONCE", 3)
    np.testing.assert_allclose(reader(texts), found)


@given(st.lists(st.text("aA b'é.1_", max_size=12), max_size=6))
def test_words_and_pairs_have_their_names(texts):
    counts = WordCounts.of(texts)
    names, table = counts.names(), counts.table.toarray()
    assert len(set(names)) == len(names) <= table.shape[1]
    for text, row in zip(texts, table, strict=True):
        found = WORD.findall(text.lower())
        wanted = Counter(found) + Counter(" ".join(pair) for pair in pairwise(found))
        assert {name: int(n) for name, n in zip(names, row, strict=False) if n} == dict(wanted)
    assert counts.names(np.arange(len(names))[::-1]) == names[::-1]


def test_the_penalty_is_that_of_rows_that_were_held_out():
    """Where words say all, little is shrunk; where they say nothing, all that can be."""
    draw = np.random.default_rng(0)
    table = sparse.csr_array(np.where(draw.uniform(size=(400, 60)) < 0.2, 1.0, 0.0))
    held = np.arange(400) % 5 == 0
    says = table @ draw.normal(size=60)
    penalty, guess = reading._choose_penalty(table, says, held)
    assert penalty == reading.RIDGE_PENALTIES[0] and len(guess) == 80
    other = np.where(held, says + 100, says)  # what is held out is not learnt from
    np.testing.assert_array_equal(reading._choose_penalty(table, other, held)[1], guess)
    assert reading._choose_penalty(table, draw.normal(size=400), held)[0] == reading.RIDGE_PENALTIES[-1]


def test_a_fifth_of_the_pairs_is_held_out(monkeypatch):
    split, asked = told(users=60), []
    double = np.repeat(np.arange(len(split.data)), 2)  # everybody says everything twice
    data = replace(
        split.data,
        user=split.data.user[double],
        item=split.data.item[double],
        rating=split.data.rating[double],
        texts={name: [column[row] for row in double] for name, column in split.data.texts.items()},
    )
    chosen = reading._choose_penalty
    monkeypatch.setattr(reading, "_choose_penalty", lambda *given: asked.append(given[2]) or chosen(*given))
    ReviewRegressor.fit(Split(data, split.scheme, split.part[double]), TEXT, OPTIONS)
    held = asked[0].reshape(-1, 2)
    assert 0.1 < held.mean() < 0.3 and (held[:, 0] == held[:, 1]).all()


def test_many_reviews_are_drawn_from(monkeypatch):
    monkeypatch.setattr(reading, "MAX_REVIEWS", 120)
    split, asked = told(users=60), []
    build = TASKS[TEXT].build
    monkeypatch.setattr(TASKS[TEXT], "build", lambda *given: asked.append(given[1]) or build(*given))
    ReviewRegressor.fit(split, TEXT, OPTIONS)
    assert len(asked[0]) == 120 and (split.part[asked[0]] == 0).all() and (np.diff(asked[0]) > 0).all()


# As a prior


def test_the_prior_is_how_often_each_rating_goes_with_what_the_words_say():
    split = told(users=150)
    reader, values = ReviewRegressor.fit(split, TEXT, OPTIONS), split.data.rating_values
    rows = split.rows("test")
    texts = texts_of(TASKS[TEXT].build(split, rows, OPTIONS))
    truth = split.data.rating[rows]
    plain = np.array([0.1, 0.1, 0.1, 0.2, 0.5])
    asked, alone = (
        RatingContext(rows, Ragged.from_lists([]), np.zeros(0), texts),
        RatingCalibrator(0, plain, None, values, reader),
    )
    shares = np.exp(alone.log_priors(asked))
    np.testing.assert_allclose(shares, reader.shares(reader(texts)))
    np.testing.assert_allclose(shares.sum(1), 1)
    assert ((shares @ values - truth) ** 2).mean() < 0.75 * truth.var()
    assert (shares @ values).mean() == pytest.approx(truth.mean(), abs=0.2)
    likely = shares[np.arange(len(rows)), rating_index(split.data, truth)]
    assert np.log(likely).mean() > np.log(0.2) + 0.4, "surer than an even guess, and rightly"
    by_opinion = np.exp(
        alone.log_priors(replace(asked, texts={"review": [f"it's {word}" for word in OPINIONS]}))
    )
    assert (np.diff(by_opinion @ values) >= 0).all() and np.ptp(by_opinion @ values) > 2
    unknown = replace(asked, texts={"review": ["", "q", "…", "good"]})
    shares = np.exp(alone.log_priors(unknown))
    np.testing.assert_allclose(shares[:3], np.tile(plain, (3, 1)))
    np.testing.assert_allclose(shares[3], np.exp(reader.log_shares({"review": ["good"]}))[0])
    for nothing_told in (None, replace(asked, texts={})):
        np.testing.assert_allclose(np.exp(alone.log_priors(nothing_told)), [plain])
    one_value = RatingCalibrator(0, [1.0], None, [3], reader)
    np.testing.assert_allclose(one_value.log_priors(asked), [[0]])


def test_shares_go_into_json_and_back():
    draw = np.random.default_rng(0)
    guess = draw.normal(3, 1, 50)
    shares = RatingDistribution.fit(guess, draw.integers(0, 4, 50), 4)
    again = RatingDistribution.read(json.loads(json.dumps(shares.plain())))
    assert np.array_equal(again(guess), shares(guess)) and shares(guess).shape == (50, 4)
    assert np.array_equal(shares(np.array([99.0])), shares(guess.max(keepdims=True))), (
        "it does not go on beyond"
    )
    assert np.isnan(shares(np.array([np.nan]))).all()


def test_nothing_is_fitted_where_there_is_nothing_to_read():
    split = told(users=40)
    assert ReviewRegressor.fit(split, TEXT, OPTIONS) is not None
    n = len(split.data)
    single = replace(split.data, rating_values=np.ones(1, np.float32))
    assert ReviewRegressor.fit(Split(single, "loo", split.part), TEXT, OPTIONS) is None
    for review in ([""] * n, ["!"] * n, [f"word{row}" for row in range(n)]):
        data = replace(split.data, texts={**split.data.texts, "review": review})
        assert ReviewRegressor.fit(Split(data, "loo", split.part), TEXT, OPTIONS) is None
    assert ReviewRegressor.fit(at_random(), TEXT, OPTIONS) is None
    assert ReviewRegressor.fit(hand(), BOTH, OPTIONS) is None, "no row has a headline"
    few = np.where((np.cumsum(split.part == 0) > 99) & (split.part == 0), 2, split.part)
    assert ReviewRegressor.fit(Split(split.data, "loo", few), TEXT, OPTIONS) is None
    same = replace(split.data, user=np.zeros_like(split.data.user), item=np.zeros_like(split.data.item))
    assert ReviewRegressor.fit(Split(same, "loo", split.part), TEXT, OPTIONS) is None, (
        "no row can be held out"
    )


class Guarded(list):
    """A text column in which some rows must not be read."""

    def __init__(self, texts, forbidden):
        super().__init__(texts)
        self.forbidden = set(forbidden)

    def __getitem__(self, row):
        assert row not in self.forbidden, row
        return super().__getitem__(row)


@pytest.mark.parametrize("task", [TEXT, BOTH])
def test_no_validation_or_test_row_is_read(task):
    split = told(users=40)
    held = np.flatnonzero(split.part > 0)
    guarded = {name: Guarded(column, held.tolist()) for name, column in split.data.texts.items()}
    rating = split.data.rating.copy()
    rating[held] = 6 - rating[held]
    poisoned = {name: list(column) for name, column in split.data.texts.items()}
    for column in poisoned.values():
        for row in held.tolist():
            column[row] = "superb awful poison"
    others = (replace(split.data, texts=guarded), replace(split.data, texts=poisoned, rating=rating))
    one = ReviewRegressor.fit(split, task, OPTIONS)
    for data in others:
        two = ReviewRegressor.fit(Split(data, split.scheme, split.part), task, OPTIONS)
        assert one.shares.plain() == two.shares.plain()
        assert one.constant == two.constant and one.weights.keys() == two.weights.keys()
        for slot, own in one.weights.items():
            assert list(own.words) == list(two.weights[slot].words)
            assert np.array_equal(own.weight, two.weights[slot].weight)
            assert np.array_equal(own.rarity, two.weights[slot].rarity)
    train = Split(replace(split.data, rating=6 - split.data.rating), split.scheme, split.part)
    assert ReviewRegressor.fit(train, task, OPTIONS).shares.plain() != one.shares.plain()


def test_only_what_the_wording_tells_is_read():
    split = told(users=5)
    examples = TASKS[BOTH].build(split, split.rows("test")[:2], OPTIONS)
    prompts = load_prompts()
    place = next(at for at, prompt in enumerate(prompts) if prompt.task == BOTH)
    mute = [*prompts, replace(prompts[place], id="mute", input="stars that go with this review: {review}")]
    texts = texts_of(examples, mute, np.array([place, len(prompts)]))
    whole = texts_of(examples)
    assert whole["review"] == texts["review"] == [split.data.texts["review"][row] for row in examples.rows]
    assert texts["headline"] == [whole["headline"][0], ""] and whole["headline"][1]
    headline = TASKS["review/headline"].build(split, split.rows("test")[:2], OPTIONS)
    assert set(texts_of(headline)) == {"review"}, "a headline that is asked for is not told"


# In a checkpoint


@pytest.fixture(scope="module")
def records():
    return simulate(users=60, items=40, seed=1).records


@pytest.fixture(scope="module")
def split(records) -> Split:
    return leave_one_out(records.index())


@pytest.fixture(scope="module")
def checkpoint(split) -> Checkpoint:
    made = create_checkpoint(split, load_prompts(), model="tiny", vocabulary_size=400)
    made.info = made.info.copy(tasks=["rating/score", TEXT, BOTH], stages=[{}])
    found = fit_rating_calibration(
        Predictor(made, split.data), split, made.info.tasks, made.build_options(-1)
    )
    assert found["rating/score"].review_regressor is None and found[TEXT].review_regressor is not None
    found[TEXT].model_weight, found[BOTH].model_weight = 0.0, 0.5
    store_rating_calibration(made, found)
    return made


@pytest.mark.parametrize("task", [TEXT, BOTH])
def test_a_checkpoint_keeps_the_words(task, checkpoint, split, tmp_path):
    checkpoint.save(tmp_path)
    loaded = Checkpoint.load(tmp_path)
    texts = texts_of(TASKS[task].build(split, split.rows("test"), OPTIONS))
    fitted = ReviewRegressor.fit(split, task, checkpoint.build_options(-1))
    before, after = (saved_rating_calibration(one)[task].review_regressor for one in (checkpoint, loaded))
    assert "weights" not in vars(after), "read before it is asked"
    assert np.array_equal(after.log_shares(texts), before.log_shares(texts))
    assert np.array_equal(after.log_shares(texts), fitted.log_shares(texts))
    table = pd.read_parquet(tmp_path / "words.parquet")
    assert list(table) == ["task", "slot", "word", "rarity", "weight"]
    assert table["weight"].dtype == table["rarity"].dtype == np.float32
    assert set(zip(table["task"], table["slot"], strict=True)) == {
        (TEXT, "review"), (BOTH, "review"), (BOTH, "headline")
    }  # fmt: skip
    again = tmp_path / "again"
    loaded.save(again)
    assert (again / "words.parquet").read_bytes() == checkpoint.fitted["rating_calibration"].files[
        "words.parquet"
    ]


def test_words_that_are_not_the_models_own_are_refused(checkpoint, tmp_path):
    checkpoint.save(tmp_path)
    (tmp_path / "words.parquet").unlink()
    with pytest.raises(UserError, match=r"words\.parquet is missing"):
        saved_rating_calibration(Checkpoint.load(tmp_path))
    (tmp_path / "words.parquet").write_bytes(b"0")
    with pytest.raises(UserError, match="another model"):
        Recommender(Checkpoint.load(tmp_path))


def test_words_are_forgotten_after_further_training(checkpoint, records):
    trained = replace(checkpoint, info=checkpoint.info.copy(), fitted=dict(checkpoint.fitted))
    trained.add_stage({"stage": "finetune"})
    assert saved_rating_calibration(trained) == {}
    store_rating_calibration(trained, {"rating/score": RatingCalibrator(0.5, np.full(5, 0.2))})
    assert (
        not trained.fitted["rating_calibration"].files
        and saved_rating_calibration(trained)["rating/score"].review_regressor is None
    )
    grown = add_items(checkpoint, records.items.iloc[:1].assign(item_id="0new"))
    texts = {"review": ["it is perfect"]}
    assert saved_rating_calibration(grown)[TEXT].review_regressor(texts) == saved_rating_calibration(
        checkpoint
    )[TEXT].review_regressor(texts)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_same_text_gets_the_same_answer_in_evaluation_and_in_words(checkpoint, split, weight):
    kept = checkpoint.fitted["rating_calibration"]
    tasks = {task: {**one, "model_weight": weight} for task, one in kept.settings["tasks"].items()}
    calibration = replace(kept, settings={**kept.settings, "tasks": tasks})
    one = replace(checkpoint, fitted={"rating_calibration": calibration})
    rec, predictor, rows = Recommender(one), Predictor(one, split.data), split.rows("test")[:3]
    reviews = [split.data.texts["review"][row] for row in rows]
    answers = [rec(f"guess the stars: “{review}”") for review in reviews]
    assert {answer.task for answer in answers} == {TEXT}
    place = np.array([[prompt.id for prompt in one.prompts].index(answer.prompt) for answer in answers])
    examples = TASKS[TEXT].build(split, rows, one.build_options(-1))
    scores = predictor.answer_scores(examples, predictor.encode(examples, place), place)
    told = texts_of(examples, predictor.prompts, place)
    blended = predictor.calibrate(TEXT, scores, RatingContext.of_rows(split, rows, told))
    wanted = choice_probabilities(blended) @ split.data.rating_values
    np.testing.assert_allclose([answer.value for answer in answers], wanted, atol=1e-4)
    rated = next(Judge(predictor, split, one.build_options(-1)).judge(examples, place, ()))
    np.testing.assert_allclose(rated.values["rmse"], (wanted - split.data.rating[rows]) ** 2, atol=1e-4)
    headed = next(
        at for at, prompt in enumerate(one.prompts) if set(prompt.slots) == {"headline", "review", "rating"}
    )
    facts = PromptFacts(review=reviews[0], headline=split.data.texts["summary"][rows[0]])
    value = rec._answerer.answer(BOTH, headed, facts).value
    both = TASKS[BOTH].build(split, rows[:1], one.build_options(-1))
    where = np.array([headed])
    rated = next(Judge(predictor, split, one.build_options(-1)).judge(both, where, ()))
    assert (value - split.data.rating[rows[0]]) ** 2 == pytest.approx(rated.values["rmse"][0], abs=1e-4)


def test_evaluation_shows_the_model_alone_beside(checkpoint, split):
    found = evaluate_checkpoint(
        checkpoint, split, (TEXT,), part="validation", prompts=("seen",), progress=False
    )
    assert [one.protocol for one in found.measured] == ["expected", "expected, model alone"]
    rows = found.measured[0].rows
    texts = texts_of(TASKS[TEXT].build(split, rows, checkpoint.build_options(-1)))
    shares = np.exp(saved_rating_calibration(checkpoint)[TEXT].review_regressor.log_shares(texts))
    errors = (shares @ split.data.rating_values - split.data.rating[rows]) ** 2
    np.testing.assert_allclose(found.measured[0].values["rmse"], errors, atol=1e-5)
    assert errors.mean() < split.data.rating[rows].var(), "words say something"
