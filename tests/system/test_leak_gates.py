"""Leak gates on what is fitted: starting models, identifiers, factors; and on the text that is trained on.

`test_leakage.py` holds those on rows, histories and examples. On data without any signal, on the simulated
shop, and on real data folders (as `p5t5 prepare` writes them) that P5T5_DATA names, separated by ":".
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from support.tiny_data import at_random
from system.test_leakage import max_plus_one, numbers_of, poisoned

from p5t5.baselines.ease import EASE
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.data.cooccurrence import factors
from p5t5.data.records.building import make_records
from p5t5.data.records.loading import load
from p5t5.data.sources import amazon
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.distillation import next_item_teacher as neighbours
from p5t5.distillation.rating_teacher import rating_soft_targets
from p5t5.distillation.soft_targets import make_soft_targets
from p5t5.identifiers.methods import fit_identifiers
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.registry import TASKS, distilled
from p5t5.text.mixture import make_mixture
from p5t5.text.pretraining_corpus import build_corpus
from p5t5.text.prompts import load_prompts

METHODS = ("sequential", "random", "collaborative", "hybrid")
FOLDERS = [folder for folder in os.environ.get("P5T5_DATA", "").split(os.pathsep) if folder]
real = pytest.mark.parametrize("folder", FOLDERS or [None])


@pytest.fixture(scope="module")
def shop() -> Split:
    return leave_one_out(simulate(users=80, items=160, seed=11).data)


def prepared(folder: str | None) -> Split:
    if folder is None:
        pytest.skip("no real data: P5T5_DATA names no folders")
    return leave_one_out(load(folder))


@pytest.fixture(scope="module")
def noise() -> Split:
    """300 users with items drawn blindly from 2,000, each with a title of drawn words: nothing to be learnt."""
    split = at_random(users=300, items=2000, longest=8)
    words = np.array([f"word{number}" for number in range(50)])
    titles = [" ".join(words[row]) for row in np.random.default_rng(5).integers(0, 50, (2000, 3))]
    return Split(replace(split.data, items=split.data.items.assign(title=titles)), "loo", split.part)


def popular(split: Split) -> float:
    """NDCG@10 of the ten commonest training items."""
    counts = np.bincount(split.data.item[split.rows("train")], minlength=split.data.number_of_items)
    place = np.full(split.data.number_of_items, -1)
    place[np.argsort(-counts, kind="stable")[:10]] = np.arange(10)
    rank = place[split.data.item[split.rows("test")]]
    return float(np.where(rank >= 0, 1 / np.log2(np.maximum(rank, 0) + 2), 0).mean())


@pytest.mark.parametrize("method", METHODS)
def test_max_plus_one_finds_nothing_where_there_is_nothing_to_find(noise, method):
    """By chance NDCG@10 is 4.54 / 2,000 = .0023; two hits at the first place are .007."""
    assert max_plus_one(noise, numbers_of(fit_identifiers(method, noise, "item", 0))) < 0.012


def test_max_plus_one_finds_a_leak_there(noise):
    """Numbered over whole sequences, as P5 numbers them, the same rule finds the test items."""
    leaky = Split(noise.data, "loo", np.zeros_like(noise.part))
    assert max_plus_one(noise, numbers_of(fit_identifiers("sequential", leaky, "item", 0))) > 0.1


@real
def test_max_plus_one_stays_at_chance_on_real_data(folder):
    split = prepared(folder)
    chance = max(popular(split), 0.006)
    for method in METHODS if split.data.has("title") else METHODS[:-1]:
        assert max_plus_one(split, numbers_of(fit_identifiers(method, split, "item", 0))) < chance, method


def renumbered(split: Split) -> tuple[Split, np.ndarray]:
    """The same interactions with items under other ids, so in another order; and our number → its number."""
    data = split.data
    new = np.random.default_rng(0).permutation(data.number_of_items)
    interactions = {
        "user_id": data.user_ids[data.user],
        "item_id": [f"{new[item]:05d}" for item in data.item],
        "timestamp": np.arange(len(data)),
    }
    items = data.items.assign(item_id=[f"{number:05d}" for number in new])
    other = leave_one_out(make_records("renamed", pd.DataFrame(interactions), items).index())
    number = {item_id: place for place, item_id in enumerate(other.data.item_ids)}
    return other, np.array([number[item_id] for item_id in items["item_id"]])


def seen(split: Split) -> np.ndarray:
    return np.unique(split.data.item[split.rows("train")])


def closeness(split: Split, codes: np.ndarray, vectors: np.ndarray) -> float:
    """The mean cosine of two items that share their first code, less that of any two items."""
    items = seen(split)
    cosine, code = vectors[items] @ vectors[items].T, codes[items, 0]
    return float(cosine[code[:, None] == code].mean() - cosine.mean())


@pytest.mark.parametrize("method", ["collaborative", "hybrid", "sequential"])
def test_renumbered_items_are_clustered_alike(method):
    split = leave_one_out(simulate(users=600, items=96, seed=5, longest=14).data)
    assert len(seen(split)) == 96  # what nobody has visited is placed by a draw
    other, moved = renumbered(split)
    ours = fit_identifiers(method, split, "item", 0).codes
    theirs = fit_identifiers(method, other, "item", 0).codes[moved]
    if method == "sequential":  # in the order of the training rows, whatever the ids are
        assert np.array_equal(ours, theirs)
        return
    together = [codes[:, 0][:, None] == codes[:, 0] for codes in (ours, theirs)]
    agreed = (together[0] & together[1]).sum() / (together[0] | together[1]).sum()
    # Items on a median may change sides, and the text's SVD starts from a draw; by chance .03 agree.
    assert agreed > (0.9 if method == "collaborative" else 0.5)


def test_renumbered_items_have_the_same_factors():
    split = leave_one_out(simulate(users=600, items=96, seed=5, longest=14).data)
    other, moved = renumbered(split)
    ours, theirs = factors(split, 16), factors(other, 16)[moved]
    np.testing.assert_allclose(theirs @ theirs.T, ours @ ours.T, atol=1e-4)


def test_renumbered_items_have_like_factors_and_clusters_on_real_data(shared_data):
    """There factors are found by iterations from a draw, to about 1 %: clusters differ, but are as good."""
    split = leave_one_out(amazon.read(shared_data / "amazon-musical-instruments").index())
    other, moved = renumbered(split)
    items = seen(split)
    ours, theirs = factors(split, 64), factors(other, 64)[moved]
    gram = [vectors[items] @ vectors[items].T for vectors in (ours, theirs)]
    assert np.corrcoef(gram[0].ravel(), gram[1].ravel())[0, 1] > 0.99
    good = [
        closeness(split, codes, ours)
        for codes in (
            fit_identifiers("collaborative", split, "item", 0).codes,
            fit_identifiers("collaborative", other, "item", 0).codes[moved],
        )
    ]
    assert good[0] > 0.05 and good[1] == pytest.approx(good[0], rel=0.15)


@pytest.mark.parametrize("identifiers", ["atomic", "hybrid"])
def test_a_model_starts_the_same_whatever_is_held_out(shop, identifiers):
    """Tokenizer, catalogue, identifiers and every weight, the factors that embeddings start from included."""
    made = [
        create_checkpoint(
            split,
            load_prompts(),
            item_identifiers=identifiers,
            user_identifiers="atomic" if identifiers == "atomic" else "collaborative",
            vocabulary_size=500,
        )
        for split in (shop, poisoned(shop))
    ]
    ours, theirs = made
    assert ours.tokenizer.backend_tokenizer.to_str() == theirs.tokenizer.backend_tokenizer.to_str()
    assert np.array_equal(ours.catalogue.tokens, theirs.catalogue.tokens) and ours.users == theirs.users
    weights = theirs.model.state_dict()
    for name, value in ours.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_soft_targets_look_at_no_held_out_row(shop):
    """On every task that is taught: the rows that have a soft target, what it names, and its shares."""
    checkpoint = create_checkpoint(shop, load_prompts(), vocabulary_size=500, user_identifiers="none")
    alphas = dict.fromkeys(distilled(), 0.5)
    (ours, off), (theirs, also_off) = (
        make_soft_targets(checkpoint, split, alphas) for split in (shop, poisoned(shop))
    )
    assert off == also_off and set(ours.numbers) == set(theirs.numbers) >= {
        "sequential/next_item",
        "rating/score",
    }
    for task, numbers in ours.numbers.items():
        assert (numbers >= 0).any() and not (numbers[shop.part > 0] >= 0).any(), task
        assert np.array_equal(numbers, theirs.numbers[task]), task
    assert np.array_equal(ours.soft_targets.tokens, theirs.soft_targets.tokens)
    assert np.array_equal(ours.soft_targets.shares, theirs.soft_targets.shares)


@real
def test_soft_targets_look_at_no_held_out_row_on_real_data(folder, monkeypatch):
    """On a sample of 4,000 rows for next items, on all reviews and ratings otherwise."""
    split = prepared(folder)
    monkeypatch.setattr(neighbours, "MAX_CELLS", 0)
    other = poisoned(split)
    taught = [neighbours.next_item_soft_targets(each) for each in (split, other)]
    assert len(taught[0][0]) == neighbours.FIT_ROWS
    for task in ("rating/score", "review/score"):
        if not TASKS[task].missing(split.data):
            ours, theirs = (rating_soft_targets(each, task) for each in (split, other))
            assert len(ours[0]) and all(map(np.array_equal, ours, theirs)), task
    assert all(map(np.array_equal, *taught))


def test_ease_looks_at_no_held_out_row(shop):
    assert np.array_equal(EASE(shop).weights, EASE(poisoned(shop)).weights)


def held_out_hits(split: Split, size: int, titles: bool = True) -> tuple[int, list[str]]:
    """How many texts of training were read, and those in which a user meets the own test item.

    ``titles``: by its title too, where no two items share one, nor one is part of another.

    Tasks that choose or verify show items that the user has not met, by chance the test item: there only
    what is affirmed counts. Read as text, with the spelling of identifiers and titles, for it is text that the model is given.
    """
    data, prompts = split.data, load_prompts()
    checkpoint = create_checkpoint(split, prompts, vocabulary_size=500, start_from_factors=False)
    renderer = checkpoint.renderer_for(data)
    users = list(checkpoint.users.values())
    spelled = checkpoint.catalogue.items["identifier"].tolist()
    test = dict(
        zip(data.user[split.rows("test")].tolist(), data.item[split.rows("test")].tolist(), strict=True)
    )

    def tells(user: int, text: str) -> bool:
        item = test.get(user)
        if item is None:
            return False
        if spelled[item] in text or not titles:
            return spelled[item] in text
        return re.search(rf"(?<!\w){re.escape(data.titles[item])}(?!\w)", text) is not None

    read, hits = 0, []
    corpus = build_corpus(split, ("behaviour",), BuildOptions())
    number = {name: place for place, name in enumerate(users)}
    for text in renderer.element_text(corpus.column, corpus.texts):
        user = number[text.split()[0]]
        read, hits = read + 1, hits + [text] * tells(user, text)
    mixture, _ = make_mixture(split, prompts, size=size)
    for task, examples, index, _ in mixture.examples(0):
        kind = task.name.split("/")[1]
        for place, (asked, answer) in enumerate(renderer.text(examples, index)):
            text = f"{asked} {answer}"
            if kind == "choose":
                text = answer
            elif kind == "verify" and examples.answer[place] != 0:
                continue
            user = int(data.user[examples.rows[place]])
            read, hits = read + 1, hits + [text] * tells(user, text)
    return read, hits


def test_no_text_of_training_tells_a_user_s_test_item(shop):
    read, hits = held_out_hits(shop, 1500)
    assert read > 1200 and hits == []


@real
def test_no_text_of_training_tells_a_user_s_test_item_on_real_data(folder):
    read, hits = held_out_hits(prepared(folder), 5000, titles=False)
    assert read > 4000 and hits == []


def test_the_gate_sees_a_leak(shop, monkeypatch):
    """Were test rows trained on, the texts would tell."""
    rows = Split.rows
    monkeypatch.setattr(
        Split,
        "rows",
        lambda split, part: np.arange(len(split.data)) if part == "train" else rows(split, part),
    )
    assert len(held_out_hits(shop, 300)[1]) > 50
