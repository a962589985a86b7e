"""Only real, allowed items, each once; and proven top K against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.decoding_cases import (
    FIRST_ITEM,
    MODELS,
    assert_same_ranking,
    brute_force,
    build,
    identifiers,
    layouts,
    prompts,
)

from p5t5.core.ragged import Ragged
from p5t5.decoding import ranking as decoding


@pytest.fixture(params=[(), (2,)], ids=["no wider beams", "wider beams"])
def wider(request, monkeypatch):
    """Without wider beams every case goes through the exhaustive part."""
    monkeypatch.setattr("p5t5.decoding.tree_scoring.WIDER", request.param)


@layouts
@pytest.mark.parametrize("variable", [False, True], ids=["fixed", "variable"])
@pytest.mark.usefixtures("wider")
def test_exact_against_brute_force(model, variable):
    rows = identifiers(150, 3, 8, variable)
    ids, mask = prompts(6, seed=2)
    truth = brute_force(model, ids, mask, rows, end=variable)
    order = np.argsort(-truth, 1)[:, :7]
    best = np.take_along_axis(truth, order, 1)
    trie = build(rows)
    exact = decoding.rank_items(model, ids, mask, trie, 7, exact=True)
    assert exact.certified.all()
    assert_same_ranking(exact.items, exact.scores, order, best)
    beam = decoding.rank_items(model, ids, mask, trie, 7)
    assert not beam.certified.all()  # or this test shows nothing
    right = np.abs(beam.scores - best).max(1) < 1e-4
    assert right[beam.certified].all()
    everything = decoding.all_item_scores(model, ids, mask, trie)
    np.testing.assert_allclose(everything, truth, atol=1e-4)


@pytest.mark.parametrize("exclude", [None, Ragged.from_lists([[3, 4, 5], [], [8], list(range(140))])])
@pytest.mark.usefixtures("wider")
def test_exact_with_trie_scores_and_exclusion(exclude):
    """Trie-local probabilities depend on what is excluded: the truth is a wide beam, which prunes nothing."""
    model, rows = MODELS["tied"], identifiers(150, 3, 8)
    ids, mask = prompts(4, seed=4)
    exact = decoding.rank_items(model, ids, mask, build(rows), 5, scores="trie", exact=True, exclude=exclude)
    wide = decoding.rank_items(model, ids, mask, build(rows), 150, scores="trie", exclude=exclude)
    assert wide.certified.all() and exact.certified.all()
    assert_same_ranking(exact.items, exact.scores, wide.items[:, :5], wide.scores[:, :5])


def test_exact_search_in_several_chunks(monkeypatch):
    monkeypatch.setattr("p5t5.decoding.tree_scoring.MAX_PATHS", 7)
    monkeypatch.setattr("p5t5.decoding.tree_scoring.WIDER", ())
    model, rows = MODELS["tied"], identifiers(200, 3, 9, variable=True)
    ids, mask = prompts(3, seed=6)
    truth = brute_force(model, ids, mask, rows, end=True)
    exact = decoding.rank_items(model, ids, mask, build(rows), 9, exact=True)
    np.testing.assert_allclose(exact.scores, -np.sort(-truth, 1)[:, :9], atol=1e-4)
    np.testing.assert_allclose(decoding.all_item_scores(model, ids, mask, build(rows)), truth, atol=1e-4)


def test_one_token_identifiers_are_exact():
    rows = [(FIRST_ITEM + item,) for item in np.random.default_rng(0).permutation(200).tolist()]
    ids, mask = prompts(5)
    model = MODELS["untied"]
    truth = brute_force(model, ids, mask, rows, end=False)
    ours = decoding.rank_items(model, ids, mask, build(rows), 10)
    assert ours.certified.all()
    order = np.argsort(-truth, 1)[:, :10]
    assert_same_ranking(ours.items, ours.scores, order, np.take_along_axis(truth, order, 1))


fixed = st.lists(st.tuples(*[st.integers(60, 65)] * 3), min_size=1, max_size=40, unique=True)
varied = st.lists(
    st.lists(st.integers(60, 63), min_size=1, max_size=4).map(tuple), min_size=1, max_size=40, unique=True
)
single = st.lists(st.tuples(st.integers(60, 300)), min_size=1, max_size=40, unique=True)


@given(
    st.one_of(fixed, varied, single),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from(decoding.SCORES),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_only_allowed_items_once_and_as_many_as_there_are(rows, k, exact, scores, data):
    """Where the beam is as wide as the catalogue nothing is pruned, so fewer than k means fewer allowed."""
    trie = build(rows)
    ids, mask = prompts(3, seed=7)
    some = st.lists(st.integers(0, len(rows) - 1), max_size=len(rows))
    exclude = data.draw(st.one_of(st.none(), st.lists(some, min_size=3, max_size=3)))
    allow = data.draw(st.one_of(st.none(), some, st.lists(some, min_size=3, max_size=3)))
    per_user = bool(allow) and isinstance(allow[0], list)
    ranked = decoding.rank_items(
        MODELS["tied"],
        ids,
        mask,
        trie,
        k,
        exclude=None if exclude is None else Ragged.from_lists(exclude),
        allow=None if allow is None else Ragged.from_lists(allow) if per_user else np.array(allow, np.int64),
        scores=scores,
        exact=exact,
    )
    for user in range(3):
        left = set(range(len(rows)))
        if allow is not None:
            left &= set(allow[user] if per_user else allow)
        left -= set(exclude[user]) if exclude else set()
        items = ranked.items[user][ranked.items[user] >= 0].tolist()
        assert len(items) == len(set(items)) and set(items) <= left
        assert len(items) == min(k, len(left))
        assert (ranked.items[user][len(items) :] == -1).all()
        finite = ranked.scores[user][: len(items)]
        assert np.isfinite(finite).all() and (np.diff(finite) <= 0).all()
        assert np.isneginf(ranked.scores[user][len(items) :]).all()


def test_exclusion_equals_a_trie_without_the_items():
    model, rows = MODELS["tied"], identifiers(100, 3, 7)
    ids, mask = prompts(3, seed=8)
    trie = build(rows)
    gone = np.arange(0, 100, 3)
    for scores in decoding.SCORES:
        left = np.setdiff1d(np.arange(100), gone)
        ways = [
            decoding.rank_items(model, ids, mask, trie.without(gone), 9, scores=scores),
            decoding.rank_items(
                model, ids, mask, trie, 9, scores=scores, exclude=Ragged.from_lists([gone] * 3)
            ),
            decoding.rank_items(model, ids, mask, trie, 9, scores=scores, allow=left),
            decoding.rank_items(
                model, ids, mask, trie, 9, scores=scores, allow=Ragged.from_lists([left] * 3)
            ),
        ]
        for other in ways[1:]:
            assert_same_ranking(other.items, other.scores, ways[0].items, ways[0].scores)
            np.testing.assert_array_equal(other.certified, ways[0].certified)
