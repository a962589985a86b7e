"""Ranked items against transformers' `generate` on the same weights, and what is built on ranking."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.decoding_cases import (
    EOS,
    FIRST_ITEM,
    MODELS,
    PAD,
    assert_same_ranking,
    brute_force,
    build,
    generate,
    identifiers,
    layouts,
    make_model,
    prompts,
)

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.decoding import ranking as decoding
from p5t5.decoding.batches import batches
from p5t5.decoding.tree_scoring import PathTree
from p5t5.model.configuration import P5T5Config
from p5t5.model.modeling import P5T5ForConditionalGeneration


@layouts
@pytest.mark.parametrize("scores", ["vocabulary", "trie"])
@pytest.mark.parametrize(("k", "items", "levels"), [(5, 90, 3), (20, 200, 4), (50, 250, 2), (20, 150, 1)])
def test_same_as_generate(model, scores, k, items, levels):
    rows = identifiers(items, levels, 150 if levels == 1 else 50 if levels < 4 else 24)
    ids, mask = prompts(4)
    ours = decoding.rank_items(model, ids, mask, build(rows), k, scores=scores)
    theirs = generate(model, ids, mask, rows, k, scores, end=False)
    assert_same_ranking(ours.items, ours.scores, *theirs)


@layouts
@pytest.mark.parametrize("scores", ["vocabulary", "trie"])
def test_same_as_generate_with_scored_end(model, scores):
    rows = identifiers(60, 3, 20)
    ids, mask = prompts(3, seed=1)
    ours = decoding.rank_items(model, ids, mask, build(rows), 6, scores=scores, score_eos=True)
    theirs = generate(model, ids, mask, rows, 6, scores, end=True)
    assert_same_ranking(ours.items, ours.scores, *theirs)


def test_our_own_model_with_whole_word_embeddings():
    fields = MODELS["tied"].config.to_dict()
    fields = {
        name: fields[name] for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
    }
    torch.manual_seed(1)
    model = P5T5ForConditionalGeneration(P5T5Config(**fields, whole_word_embeddings=True, max_words=9))
    with torch.no_grad():
        model.encoder.whole_words.weight.normal_()
        model.encoder.word_start[::3] = False
    rows = identifiers(90, 3, 20)
    ids, mask = prompts(4)
    ours = decoding.rank_items(model, ids, mask, build(rows), 6)
    theirs = generate(model, ids, mask, rows, 6, "vocabulary", end=False)
    assert_same_ranking(ours.items, ours.scores, *theirs)
    with torch.no_grad():
        model.encoder.whole_words.weight.zero_()
    assert np.abs(decoding.rank_items(model, ids, mask, build(rows), 6).scores - ours.scores).max() > 1e-3


def test_twenty_thousand_items_against_generate():
    model = make_model(True, seed=3, vocabulary=900)
    rows = identifiers(20_000, 3, 200, seed=3)
    ids, mask = prompts(2, seed=3)
    for scores in ("vocabulary", "trie"):
        ours = decoding.rank_items(model, ids, mask, build(rows), 20, scores=scores)
        assert_same_ranking(ours.items, ours.scores, *generate(model, ids, mask, rows, 20, scores, end=False))


@pytest.mark.parametrize("scores", ["vocabulary", "trie"])
def test_one_beam_is_greedy(scores):
    rows = identifiers(80, 3, 10)
    ids, mask = prompts(5)
    model = MODELS["tied"]
    ours = decoding.rank_items(model, ids, mask, build(rows), 1, scores=scores)
    theirs, _ = generate(model, ids, mask, rows, 1, scores, end=False)
    np.testing.assert_array_equal(ours.items, theirs)


@layouts
@pytest.mark.parametrize("scores", ["vocabulary", "trie"])
def test_identifiers_of_several_lengths(model, scores):
    """Against a plain beam search over tuples that keeps finished items apart, as ours does. `generate`
    drops a finished item that is not among its step's first K, so it may only be worse, never better."""
    rows = identifiers(120, 4, 7, variable=True)
    ids, mask = prompts(4)
    ours = decoding.rank_items(model, ids, mask, build(rows), 8, scores=scores)
    items, values, certified = plain_beam_search(model, ids, mask, rows, 8, scores)
    assert_same_ranking(ours.items, ours.scores, items, values)
    np.testing.assert_array_equal(ours.certified, certified)
    _, theirs = generate(model, ids, mask, rows, 8, scores, end=True)
    assert (ours.scores >= theirs - 1e-4).all()


def plain_beam_search(model, ids, mask, rows, k, scores):
    """The slow twin: tuples and dicts, a full forward per prefix."""
    paths = {(*row, EOS): item for item, row in enumerate(rows)}
    prefixes = {path[:n] for path in paths for n in range(len(path) + 1)}
    following = {
        p: sorted({q[-1] for q in prefixes if len(q) == len(p) + 1 and q[:-1] == p}) for p in prefixes
    }
    items, values, certified = [], [], []
    for user in range(len(ids)):
        live, finished, bound = [(0.0, ())], [], -np.inf
        while live:
            candidates = []
            for score, prefix in live:
                tokens = torch.tensor([[PAD, *prefix]])
                with torch.no_grad():
                    out = model.eval()(
                        input_ids=ids[user : user + 1],
                        attention_mask=mask[user : user + 1],
                        decoder_input_ids=tokens,
                    )
                logits = out.logits[0, -1]
                if scores == "trie":
                    only = torch.full_like(logits, -np.inf)
                    only[following[prefix]] = logits[following[prefix]]
                    logits = only
                logp = logits.log_softmax(-1)
                candidates += [(score + float(logp[t]), (*prefix, t)) for t in following[prefix]]
            finished += [c for c in candidates if c[1] in paths]
            going = sorted((c for c in candidates if c[1] not in paths), reverse=True)
            live, pruned = going[:k], going[k:]
            bound = max([bound, *(score for score, _ in pruned[:1])])
        best = sorted(finished, reverse=True)[:k]
        items.append([paths[path] for _, path in best])
        values.append([score for score, _ in best])
        certified.append(bound <= values[-1][-1])
    return np.array(items), np.array(values), np.array(certified)


def test_bfloat16_overlaps():
    rows = identifiers(400, 3, 20, seed=5)
    ids, mask = prompts(16, seed=5)
    model = make_model(True, seed=5).bfloat16()
    ours = decoding.rank_items(model, ids, mask, build(rows), 20)
    theirs, _ = generate(model, ids, mask, rows, 20, "vocabulary", end=False)
    overlap = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(ours.items, theirs, strict=True)])
    assert overlap >= 0.95


@layouts
@pytest.mark.parametrize("variable", [False, True], ids=["fixed", "variable"])
def test_score_items(model, variable):
    rows = identifiers(90, 4, 6, variable)
    ids, mask = prompts(5, seed=9)
    truth = brute_force(model, ids, mask, rows, end=variable)
    rng = np.random.default_rng(0)
    candidates = Ragged.from_lists([rng.integers(0, 90, n) for n in (30, 0, 1, 7, 90)])
    scores = decoding.score_items(model, ids, mask, build(rows), candidates)
    np.testing.assert_array_equal(scores.offsets, candidates.offsets)
    np.testing.assert_allclose(scores.values, truth[candidates.row_of_value, candidates.values], atol=1e-4)


def test_shared_beginnings_run_once():
    rows = [(60, 70, 80), (60, 70, 81), (60, 71, 80), (61, 70, 80)]
    positions = np.array([[0, 1, 2, 3], [0, 0, 1, 1]])
    tree = PathTree.of(build(rows), positions, 3)
    assert [row[0].tolist() for row in tree.row] == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 2]]
    assert [row[1].tolist() for row in tree.row] == [[0, 0, 0, 0]] * 3
    assert tree.capacity == 1 + 2 + 3


def test_score_choices_and_expected_value():
    model = MODELS["tied"]
    ids, mask = prompts(4)
    choices = [[5], [7, 8], [5, 9], [5], [7, 8, EOS]]
    ours = decoding.score_choices(model, ids, mask, choices)
    truth = brute_force(model, ids, mask, [tuple(t for t in c if t != EOS) for c in choices], end=True)
    np.testing.assert_allclose(ours, truth, atol=1e-4)
    value = decoding.expected_value(np.log([[0.1, 0.3], [0.5, 0.0 + 1e-30]]), np.array([1.0, 5.0]))
    np.testing.assert_allclose(value, [4.0, 1.0], atol=1e-6)


def test_rank_all_keeps_the_order_of_the_prompts():
    model, trie = MODELS["tied"], build(identifiers(80, 3, 8))
    rng = np.random.default_rng(1)
    inputs = Ragged.from_lists([rng.integers(2, FIRST_ITEM, n) for n in rng.integers(2, 30, 23)])
    exclude = Ragged.from_lists([rng.integers(0, 80, 5) for _ in range(23)])
    done = []
    ranked = decoding.rank_all(
        model, inputs, trie, 4, exclude=exclude, token_budget=100, progress=done.append
    )
    assert sum(done) == 23 and len(done) > 3
    for row in range(23):
        ids = torch.from_numpy(inputs[row].astype(np.int64))[None]
        own = Ragged.from_lists([exclude[row]])
        one = decoding.rank_items(model, ids, torch.ones_like(ids), trie, 4, exclude=own)
        assert_same_ranking(ranked.items[row : row + 1], ranked.scores[row : row + 1], one.items, one.scores)
    empty = decoding.rank_all(model, Ragged.from_lists([]), trie, 4)
    assert empty.items.shape == (0, 4)


@given(st.lists(st.integers(1, 200), max_size=60), st.integers(1, 1000))
@settings(max_examples=60, deadline=None)
def test_batches_cover_every_row_within_the_budget(lengths, budget):
    parts = batches(np.array(lengths, np.int64), budget)
    assert sorted(np.concatenate(parts).tolist() if parts else []) == list(range(len(lengths)))
    for rows in parts:
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or longest * len(rows) <= budget


def test_the_training_flag_is_put_back():
    model = make_model()
    ids, mask = prompts(2)
    model.train()
    decoding.rank_items(model, ids, mask, build(identifiers(9, 2, 3)), 2)
    assert model.training and model.decoder.block[0].layer[0].dropout.training


def test_says_what_is_wrong():
    model, trie = MODELS["tied"], build(identifiers(9, 2, 3))
    ids, mask = prompts(2)
    with pytest.raises(UserError, match="choose one of vocabulary, trie"):
        decoding.rank_items(model, ids, mask, trie, 2, scores="local")
    with pytest.raises(UserError, match="k=0"):
        decoding.rank_items(model, ids, mask, trie, 0)
    with pytest.raises(UserError, match="exclude has 1 rows for 2 prompts"):
        decoding.rank_items(model, ids, mask, trie, 2, exclude=Ragged.from_lists([[1]]))
    with pytest.raises(UserError, match="item 9 is not in the catalogue"):
        decoding.score_items(model, ids, mask, trie, Ragged.from_lists([[1], [9]]))
