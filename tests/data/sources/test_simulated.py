"""The simulated shop: its oracle against Monte Carlo, brute force and other answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from p5t5.core.ragged import Ragged
from p5t5.data.sources import simulated as shop
from p5t5.data.sources.oracle_scores import unigram_f1
from p5t5.data.sources.simulated import RATINGS, simulate
from p5t5.data.splits import leave_one_out


@pytest.fixture(scope="module")
def world():
    return simulate(users=400, items=160, seed=3)


@pytest.fixture(scope="module")
def split(world):
    return leave_one_out(world.data)


@pytest.fixture(scope="module")
def candidates(world, split):
    rng = np.random.default_rng(0)
    rows = []
    for row in split.rows("test"):
        history = world.data.item[world.data.user_start[world.data.user[row]] : row + 1]
        others = np.setdiff1d(np.arange(world.data.number_of_items), history)
        rows.append(np.concatenate([[world.data.item[row]], rng.permutation(others)[:99]]))
    return Ragged.from_lists(rows)


def test_same_seed_same_data_other_seed_other_data():
    hashes = [simulate(users=20, items=64, seed=seed, longest=14).data.hash for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_all_columns_are_there_and_nothing_repeats(world):
    data = world.data
    for column in ("rating", "timestamp", "title", "review", "summary", "feature", "explanation"):
        assert data.has(column)
    pairs = set(zip(data.user.tolist(), data.item.tolist(), strict=True))
    assert len(pairs) == len(data)
    assert np.diff(data.user_start).min() >= 12 and np.diff(data.user_start).max() <= 20
    assert len(set(data.titles)) == data.number_of_items
    assert data.rating_values.tolist() == [1, 2, 3, 4, 5]


def test_hidden_causes_and_tables_count_items_alike(world):
    data, causes = world.data, world.causes
    genres = list(shop.GENRES)
    assert data.items["genre"].tolist() == [genres[g] for g in causes.genre]
    for row in range(0, len(data), 97):
        assert (
            data.texts["feature"][row]
            == shop.GENRES[genres[causes.genre[data.item[row]]]][0][causes.feature[row]]
        )
        words = [shop.OPINIONS[word] for word in causes.opinions[row]]
        assert [
            word for word in data.texts["review"][row].replace(".", "").split() if word in shop.OPINIONS
        ] == words
        assert shop.OPINIONS[int(data.rating[row]) - 1] in data.texts["explanation"][row].split()


def test_sentences_of_different_genres_share_no_word():
    for (_, a), (_, b) in itertools.combinations(shop.GENRES.values(), 2):
        words = [set(text.format(feature="", opinion="").split()) for text in (a, b)]
        assert not words[0] & words[1]


def test_next_probabilities_are_a_distribution_over_unseen_items(world, split):
    chances = world.next_probabilities(split.rows("test"))
    np.testing.assert_allclose(chances.sum(1), 1)
    for place, row in enumerate(split.rows("test")[:50]):
        history = world.data.item[world.data.user_start[world.data.user[row]] : row]
        assert (chances[place, history] == 0).all() and (chances[place] > 0).sum() == 160 - len(history)


def test_next_probabilities_by_the_books(world):
    """A plain-Python twin of the written process, item by item."""
    data, causes = world.data, world.causes
    for row in (0, 1, 7, len(data) - 1):
        user = data.user[row]
        history = data.item[data.user_start[user] : row].tolist()
        chances = world.next_probabilities(np.array([row]))[0]
        for item in range(0, 160, 7):
            genre = causes.genre[item]
            taste = 0.5 / 8 + 0.5 * (genre == causes.favourite[user])
            p_genre = taste
            if history:
                p_genre = 0.15 * taste + 0.85 * (genre == causes.successor[causes.genre[history[-1]]])
            left = sum(causes.weight[i] for i in range(160) if causes.genre[i] == genre and i not in history)
            expected = 0 if item in history else p_genre * causes.weight[item] / left
            assert chances[item] == pytest.approx(expected, abs=1e-12)


def test_next_probabilities_are_calibrated_on_all_rows(world):
    """Of the items given probability p, about p come: the sampler and the oracle are one process."""
    rows = np.arange(len(world.data))
    chances = world.next_probabilities(rows)
    came = np.zeros_like(chances)
    came[rows, world.data.item] = 1
    edges = [0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 1]
    for low, high in itertools.pairwise(edges):
        inside = (chances > low) & (chances <= high)
        expected, spread = chances[inside].sum(), np.sqrt((chances[inside] * (1 - chances[inside])).sum())
        assert abs(came[inside].sum() - expected) < 4 * spread + 1


def test_rating_probabilities_match_monte_carlo(world):
    data, causes = world.data, world.causes
    rng = np.random.default_rng(0)
    quality = np.array(list(shop.MAKERS.values()))
    for row in (0, 100, 2000):
        user, item = data.user[row], data.item[row]
        mean = 3.2 + causes.generosity[user] + quality[causes.maker[item]]
        mean += 0.5 * (causes.genre[item] == causes.favourite[user])
        drawn = np.clip(np.round(mean + shop.NOISE * rng.standard_normal(200_000)), 1, 5)
        shares = [(drawn == value).mean() for value in RATINGS]
        np.testing.assert_allclose(world.rating_probabilities(np.array([row]))[0], shares, atol=0.005)


def test_ratings_and_features_are_drawn_as_told(world):
    rows = np.arange(len(world.data))
    expected = world.rating_probabilities(rows).sum(0)
    np.testing.assert_allclose(
        np.bincount(world.data.rating.astype(int), minlength=6)[1:], expected, atol=4 * len(rows) ** 0.5
    )
    main = world.causes.feature == world.causes.main_feature[world.data.item]
    assert main.mean() == pytest.approx(0.8, abs=0.02)
    right = world.causes.opinions == world.data.rating[:, None] - 1
    assert right.mean() == pytest.approx(0.8, abs=0.02)


def test_reviewed_rating_is_bayes_by_brute_force(world):
    table = shop._opinion_probabilities()
    for row in (3, 333, 3333):
        prior = world.rating_probabilities(np.array([row]))[0]
        joint = [
            prior[r] * np.prod([table[r, word] for word in world.causes.opinions[row]]) for r in range(5)
        ]
        np.testing.assert_allclose(
            world.reviewed_rating_probabilities(np.array([row]))[0], np.array(joint) / sum(joint)
        )
    np.testing.assert_allclose(table.sum(1), 1)
    assert table[0].tolist() == pytest.approx([0.8, 0.2, 0, 0, 0]) and table[2, 1] == pytest.approx(0.1)


def test_best_explanation_is_best_among_all_sentences_on_average(world):
    """No fixed way of changing the oracle's answer (another feature, another opinion) does better."""
    rows = np.arange(len(world.data))
    best = world.best(rows)["explanation/explain rouge1"]
    data, causes = world.data, world.causes
    expected_rating = np.round(world.rating_probabilities(rows) @ RATINGS).astype(int)
    sentences = shop._sentence_table()
    for shift_feature, shift_rating in ((0, 0), (1, 0), (0, 1), (0, -1)):
        scores = []
        for row in rows[::5]:
            genre = causes.genre[data.item[row]]
            feature = (causes.main_feature[data.item[row]] + shift_feature) % 3
            opinion = int(np.clip(expected_rating[row] - 1 + shift_rating, 0, 4))
            scores.append(unigram_f1(sentences[genre][feature][opinion], data.texts["explanation"][row]))
        assert np.mean(scores) < best + (0.012 if (shift_feature, shift_rating) == (0, 0) else -0.05)


def test_unigram_f1_is_rouge1():
    rouge = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1"])
    for a, b in itertools.product(
        ["on stage this tone sounds good", "quite nice tone", "the the tone"], repeat=2
    ):
        assert unigram_f1(a, b) == pytest.approx(rouge.score(b, a)["rouge1"].fmeasure)


def test_the_optimum_is_well_above_every_constant_and_copying(world, split, candidates):
    best, constant = world.best(candidates=candidates), world.best_constant(split, candidates=candidates)
    assert set(constant) <= set(best)
    assert best["sequential/next_item ndcg@10"] > 2 * constant["sequential/next_item ndcg@10"]
    assert best["direct/choose hr@1"] > 3 * constant["direct/choose hr@1"]
    assert best["rating/score rmse"] < 0.6 * constant["rating/score rmse"]
    assert best["review/score rmse"] < 0.25 * constant["review/score rmse"]
    for name in ("explanation/explain rouge1", "explanation/explain feature_match", "review/headline rouge1"):
        assert best[name] > 0.75 > 0.35 > constant[name]
    rows = split.rows("test")  # copying the last item is never right
    assert (world.data.item[rows] != world.data.item[rows - 1]).all()


def test_oracle_ranking_scores_by_brute_force(world, split, candidates):
    rows = split.rows("test")[:40]
    chances = world.next_probabilities(rows)
    gains, first = [], []
    for place, row in enumerate(rows):
        order = sorted(range(160), key=lambda item, p=place: (-chances[p, item], item))
        rank = order.index(world.data.item[row])
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0)
        among = [item for item in order if item in set(candidates[place].tolist())]
        first.append(among[0] == world.data.item[row])
    scores = world.best(rows, candidates.take(np.arange(40)))
    assert scores["sequential/next_item ndcg@10"] == pytest.approx(np.mean(gains))
    assert scores["direct/choose hr@1"] == pytest.approx(np.mean(first))


def test_oracle_score_agrees_with_its_own_expectation(world):
    """What the oracle expects to score is what it scores, over all rows: no luck, no peeking."""
    rows = np.arange(len(world.data))
    chances = -np.sort(-world.next_probabilities(rows), axis=1)[:, :10]
    expected = (chances / np.log2(np.arange(10) + 2)).sum(1)
    assert world.best(rows)["sequential/next_item ndcg@10"] == pytest.approx(expected.mean(), abs=0.015)
    ratings = world.rating_probabilities(rows)
    variance = ratings @ RATINGS**2 - (ratings @ RATINGS) ** 2
    assert world.best(rows)["rating/score rmse"] == pytest.approx(variance.mean() ** 0.5, abs=0.015)
