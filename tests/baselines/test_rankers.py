import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from p5t5.baselines import base
from p5t5.baselines import rankers as b
from p5t5.baselines import rating as r
from p5t5.baselines.registry import default_scorers
from p5t5.baselines.review_regression import review_ridge
from p5t5.baselines.text_similarity import ContentSimilarity
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.metrics.ranking import list_ranks, ndcg, table_ranks

UNAIDED = ["popularity", "count_floor", "text_likeness"]  # without the package implicit


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(simulate(users=40, items=40, seed=3).data)


def altered(split: Split) -> Split:
    """The same training rows; every validation and test row has another item and rating."""
    data, held = split.data, split.part > 0
    item, rating = data.item.copy(), data.rating.copy()
    item[held] = (item[held] + 1) % data.number_of_items
    rating[held] = 6 - rating[held]
    return Split(replace(data, item=item, rating=rating), split.scheme, split.part)


class Table(base.Scorer):
    name = "table"

    def __init__(self, table: np.ndarray):
        self.table, self.number_of_items = table, table.shape[1]

    def scores(self, histories, users=None):
        return self.table[users]


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 9)),
        elements=st.sampled_from([0, 1, 2, np.nan]),
    ),
    st.integers(1, 12),
    st.integers(0, 2**16),
)
def test_top_and_ranks_against_a_slow_twin(table, k, seed):
    draw = np.random.default_rng(seed)
    rows, items = table.shape
    exclude = Ragged.from_lists([np.flatnonzero(draw.random(items) < 0.3) for _ in range(rows)], np.int32)
    histories = Ragged.from_lists([[]] * rows)
    scorer = Table(table)
    found, scores = scorer.top(histories, k, exclude, np.arange(rows))
    truth = draw.integers(0, items, rows)
    slow = []
    for row in range(rows):
        allowed = [i for i in range(items) if i not in exclude[row] and not np.isnan(table[row, i])]
        slow.append(sorted(allowed, key=lambda i: (-table[row, i], i)))
        best = slow[row][:k]
        assert found[row].tolist() == best + [-1] * (k - len(best))
        assert scores[row, : len(best)].tolist() == [table[row, i] for i in best]
        assert np.isneginf(scores[row, len(best) :]).all()
    ranks = table_ranks(table, truth, exclude)
    assert ranks.tolist() == [
        order.index(item) if item in order else -1 for order, item in zip(slow, truth.tolist(), strict=True)
    ]


def test_popularity_counts_training_rows_only(split):
    rows = split.rows("train")
    slow = [int((split.data.item[rows] == item).sum()) for item in range(split.data.number_of_items)]
    scorer = b.Popularity(split)
    assert scorer.scores(Ragged.from_lists([[0], []])).tolist() == [slow, slow]


def test_the_count_floor_against_a_slow_twin(split):
    data, train = split.data, split.rows("train")
    number = data.number_of_items
    counts, popular = np.zeros((number, number)), np.zeros(number)
    for user in range(data.number_of_users):
        seen = data.item[train[data.user[train] == user]].tolist()
        for later, item in enumerate(seen):
            popular[item] += 1
            for gap in range(1, 11):
                if later >= gap:
                    counts[seen[later - gap], item] += 1 / gap
                    counts[item, seen[later - gap]] += 0.5 / gap
    rows = split.rows("test")[:10]
    histories = split.history_items(rows, 99)
    expected = np.zeros((len(rows), number))
    for place in range(len(rows)):
        for age, item in enumerate(reversed(histories[place].tolist()[-20:])):
            expected[place] += 0.8**age * counts[item]
    expected /= np.sqrt(popular + 1)
    assert b.CooccurrenceRanker(split).scores(histories) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_long_histories_are_cut_and_repeats_add_up():
    histories = Ragged.from_lists([[3, 1, 3], []])
    matrix = base.history_matrix(histories, 4, 0.5).toarray()
    assert histories.to_lists() == [[3, 1, 3], []]
    assert matrix.tolist() == [[0, 0.5, 0, 1.25], [0, 0, 0, 0]]
    assert b._last(Ragged.from_lists([[1, 2, 3, 4], [], [5]]), 2).to_lists() == [[3, 4], [], [5]]


@pytest.mark.parametrize(
    "make", [b.Popularity, b.CooccurrenceRanker, ContentSimilarity, b.ItemKNN, b.ALS, b.BPR]
)
def test_no_scorer_looks_at_held_back_rows(split, make):
    if make in (b.ItemKNN, b.ALS, b.BPR):
        pytest.importorskip("implicit")
    rows = split.rows("test")
    histories, users = split.history_items(rows, 99), split.data.user[rows]
    scores = make(split).scores(histories, users)
    assert scores.shape == (len(rows), split.data.number_of_items) and scores.dtype == np.float32
    assert np.array_equal(scores, make(altered(split)).scores(histories, users))


@pytest.mark.parametrize(
    "make", [b.Popularity, b.CooccurrenceRanker, ContentSimilarity, b.ItemKNN, b.ALS, b.BPR]
)
def test_a_scorer_comes_back_from_its_state(split, make):
    if make in (b.ItemKNN, b.ALS, b.BPR):
        pytest.importorskip("implicit")
    rows = split.rows("test")
    histories, users = split.history_items(rows, 99), split.data.user[rows]
    scorer = make(split)
    again = make.restored(scorer.state())
    assert again.number_of_items == scorer.number_of_items
    assert np.array_equal(again.scores(histories, users), scorer.scores(histories, users))


def test_als_folds_histories_in_as_implicit_does(split):
    als = pytest.importorskip("implicit.als")
    scorer = b.ALS(split, factors=8)
    model = als.AlternatingLeastSquares(factors=8, regularization=scorer.regularisation)
    model.item_factors = scorer.items
    histories = Ragged.from_lists([[1, 2, 3], [4], [5, 5, 5, 6], []])  # 5 three times
    seen = sparse.csr_matrix(base.history_matrix(histories, scorer.number_of_items))
    folded = model.recalculate_user(np.arange(4), seen)
    np.testing.assert_allclose(scorer.scores(histories), folded @ scorer.items.T, atol=1e-4)


def test_bpr_takes_a_stranger_for_the_mean_user(split):
    pytest.importorskip("implicit")
    scorer = b.BPR(split, factors=4)
    found = scorer.scores(Ragged.from_lists([[0]]), np.array([-1]))
    np.testing.assert_allclose(found[0], scorer.items @ scorer.users.mean(0), rtol=1e-5)


def test_scorers_in_chunks_and_on_candidates(split, monkeypatch):
    monkeypatch.setattr(base, "HISTORIES_AT_ONCE", 7)
    rows = split.rows("test")
    histories = split.history_items(rows, 99)
    scorer = b.CooccurrenceRanker(split)
    whole = scorer.scores(histories)
    candidates = Ragged.from_lists([[row % 5, 7, 9][: row % 4] for row in range(len(rows))], np.int32)
    found = scorer.candidate_scores(histories, candidates)
    assert found.to_lists() == [whole[row][candidates[row]].tolist() for row in range(len(rows))]
    items, _ = scorer.top(histories, 5)
    assert np.array_equal(items, base.top_of(whole, 5)[0])


def test_bpr_says_that_it_needs_users(split):
    pytest.importorskip("implicit")
    with pytest.raises(UserError, match="users"):
        b.BPR(split).scores(Ragged.from_lists([[1]]))


def test_a_missing_package_is_named(split, monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(b.importlib, "import_module", refuse)
    with pytest.raises(UserError, match=r"implicit.*p5t5\[baselines\]"):
        b.ItemKNN(split)
    assert [scorer.name for scorer in default_scorers(split, False)] == UNAIDED


def test_with_implicit_three_more_are_measured(split):
    pytest.importorskip("implicit")
    names = [scorer.name for scorer in default_scorers(split, True)]
    assert names == [*UNAIDED, "item_knn", "als", "bpr"]


def test_biases_solve_their_normal_equations(split):
    bias = r.BiasOnly(split, penalties=(3,), sweeps=300)
    train = r.Ratings(split, "train")
    users, items = bias.shape
    design = np.zeros((len(train.rating), users + items))
    design[np.arange(len(design)), train.user] = 1
    design[np.arange(len(design)), users + train.item] = 1
    solved = np.linalg.solve(
        design.T @ design + 3 * np.eye(users + items), design.T @ (train.rating - bias.mean)
    )
    assert np.concatenate([bias.user, bias.item]) == pytest.approx(solved, abs=1e-6)


def test_each_als_step_against_a_slow_twin():
    draw = np.random.default_rng(0)
    row, column = draw.integers(0, 5, 30), draw.integers(0, 6, 30)
    value, other, ridge = draw.normal(size=30), draw.normal(size=(6, 3)), np.array([2.0, 2.0, 5.0])
    fast = r._solve(r._matrix(row, column, value, (5, 6)), other, ridge)
    for user in range(5):
        mine = row == user
        features = np.c_[other[column[mine], :2], np.ones(mine.sum())]
        target = value[mine] - other[column[mine], 2]
        assert fast[user] == pytest.approx(
            np.linalg.solve(features.T @ features + np.diag(ridge), features.T @ target)
        )


def test_rating_baselines_are_in_order_and_see_training_ratings_only(split):
    test = r.Ratings(split, "test")
    mean, bias, factors = r.rating_baselines(split, with_surprise=False)
    assert mean.mean == pytest.approx(r.Ratings(split, "train").rating.mean())
    assert test.error(bias) < 0.7 * test.error(mean)
    assert test.error(factors) < 1.2 * test.error(bias)
    for predictor in (bias, factors):
        guess = predictor.predict(test.user, test.item)
        assert (guess >= 1).all() and (guess <= 5).all()
    changed = altered(split)
    assert np.array_equal(
        r.GlobalMean(changed).predict(test.user, test.item), mean.predict(test.user, test.item)
    )
    one = {"penalties": (3,)}
    assert np.array_equal(r.BiasOnly(changed, **one).user, r.BiasOnly(split, **one).user)
    one |= {"ranks": (4,)}
    assert np.allclose(
        r.MatrixFactorization(replace_bias(changed, split), **one).item,
        r.MatrixFactorization(split, **one).item,
    )


def replace_bias(changed: Split, split: Split) -> Split:
    """The altered split with the true validation rows: MF's biases choose their penalty on those."""
    data, old = changed.data, split.data
    validation = split.part == 1
    item = np.where(validation, old.item, data.item)
    rating = np.where(validation, old.rating, data.rating)
    return Split(replace(data, item=item, rating=rating), split.scheme, split.part)


def test_without_ratings(split):
    bare = Split(replace(split.data, rating=None), split.scheme, split.part)
    assert r.rating_baselines(bare) == []
    with pytest.raises(UserError, match="no rating column"):
        r.GlobalMean(bare)
    assert review_ridge(bare, split.rows("test")) is None


def test_surprise_predicts_what_it_predicts_itself_and_nothing_of_strangers(split):
    surprise = pytest.importorskip("surprise")
    one = {"factors": (4,), "epochs": (20,), "penalties": (0.05,)}
    ours = r.SurpriseSVD(split, **one)
    train, test = r.Ratings(split, "train"), r.Ratings(split, "test")
    table = pd.DataFrame({"user": train.user, "item": train.item, "rating": train.rating})
    known = surprise.Dataset.load_from_df(table, surprise.Reader(rating_scale=(ours.low, ours.high)))
    model = surprise.SVD(n_factors=4, n_epochs=20, reg_all=0.05, random_state=0)
    model.fit(known.build_full_trainset())
    theirs = [model.predict(*pair).est for pair in zip(test.user, test.item, strict=True)]
    # Its order of users differs from ours, and so does what is drawn for whom: near, not the same.
    assert ours.predict(test.user, test.item) == pytest.approx(theirs, abs=0.5)
    assert test.error(ours) < 0.8 * test.error(r.GlobalMean(split))
    changed = r.SurpriseSVD(altered(split), **one)
    assert np.array_equal(changed.user, ours.user), "held-out ratings change nothing"
    data, first = split.data, split.data.user == 0
    part = np.where(first & (split.part == 0), 3, split.part)  # user 0 has no training rating
    stranger = r.SurpriseSVD(Split(data, split.scheme, part), **one)
    assert not stranger.user[0].any()


def test_surprise_is_named_where_it_is_missing(split, monkeypatch):
    monkeypatch.setitem(sys.modules, "surprise", None)
    with pytest.raises(UserError, match=r"scikit-surprise.*p5t5\[baselines\]"):
        r.SurpriseSVD(split)


@pytest.mark.parametrize("columns", [("review",), ("review", "summary")])
def test_ratings_are_in_the_reviews(split, columns):
    pytest.importorskip("sklearn")
    rows = split.rows("test")
    guess = review_ridge(split, rows, columns)
    error = ((guess - split.data.rating[rows]) ** 2).mean()
    assert error < 0.5 * split.data.rating[rows].var()
    assert review_ridge(split, rows[:0], columns).tolist() == []


def test_reviews_without_a_word_give_no_ridge(split):
    pytest.importorskip("sklearn")
    silent = replace(split.data, texts={**split.data.texts, "review": ["!"] * len(split.data.user)})
    assert review_ridge(Split(silent, split.scheme, split.part), split.rows("test")) is None


def test_known_values_on_real_data(shared_data):
    """benchmarks.md: Musical Instruments, popularity .0390, co-occurrence .0466; RMSE .990 and .960."""
    from p5t5.data.sources import amazon

    folder = shared_data / "amazon-musical-instruments"
    split = leave_one_out(amazon.read(folder / "reviews.json.gz", folder / "items.csv").index())
    rows = split.rows("test")
    history, truth = split.history_items(rows, 10**6), split.data.item[rows]
    assert len(rows) == 1429
    for scorer, known in ((b.Popularity(split), 0.0390), (b.CooccurrenceRanker(split), 0.0466)):
        found = ndcg(list_ranks(scorer.top(history, 10, exclude=history)[0], truth), 10).mean()
        assert found == pytest.approx(known, abs=0.0015), scorer.name
    test = r.Ratings(split, "test")
    assert np.sqrt(test.error(r.GlobalMean(split))) == pytest.approx(0.990, abs=0.001)
    assert np.sqrt(test.error(r.BiasOnly(split))) == pytest.approx(0.960, abs=0.004)
