"""New items are named and placed by their words, new users by their history; nothing that was known moves."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from support.first_answers import logits

from p5t5.checkpoint.checkpoint import Checkpoint, user_key
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.checkpoint.fitted import FittedArtifact
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.data.text_features import catalogue_texts, counted, unit, weighted, word_features
from p5t5.inference import rating_calibration as trust
from p5t5.inference import text_writer as writing
from p5t5.inference.item_phrases import ItemNgrams
from p5t5.inference.text_decoding_search import store_text_options
from p5t5.recommender import Recommender
from p5t5.tasks.base import BuildOptions
from p5t5.text.prompts import PLACEHOLDER, load_prompts
from p5t5.text.tokenizer import grow_tokenizer, identifier_ids
from p5t5.updating import embedding_transfer as likeness
from p5t5.updating.embedding_transfer import carried_over
from p5t5.updating.new_entities import add_items, add_users

METHODS = ("atomic", "random", "sequential", "semantic", "title")
NEW_USERS = 5


@pytest.fixture(scope="module")
def full():
    return simulate(users=30, items=160, seed=1).records


@pytest.fixture(scope="module")
def old(full):
    """The records without every tenth item and the last users."""
    cold = set(full.items["item_id"].tolist()[::10])
    table = full.interactions
    strangers = sorted(table["user_id"].astype(str).unique())[-NEW_USERS:]
    gone = table["item_id"].isin(cold) | table["user_id"].isin(strangers)
    items = full.items[~full.items["item_id"].isin(cold)].reset_index(drop=True)
    return replace(
        full, interactions=table[~gone].reset_index(drop=True), items=items, users=None, triples=None
    )


def made(records, **options) -> Checkpoint:
    split = leave_one_out(records.index())
    start = {"vocabulary_size": 500, "options": BuildOptions(max_history=5), **options}
    checkpoint = create_checkpoint(split, load_prompts(), **start)
    checkpoint.model.eval()
    return checkpoint


@pytest.fixture(scope="module")
def atomic(old) -> Checkpoint:
    return made(old)


@pytest.mark.parametrize("method", METHODS)
def test_new_items_are_named_and_the_known_ones_keep_their_names(full, old, method, tmp_path):
    checkpoint = made(old, item_identifiers=method, whole_word_embeddings=method == "random")
    data = full.index()
    grown = add_items(checkpoint, data.items)
    grown.check(data)
    assert len(checkpoint.catalogue) == 144 and len(grown.catalogue) == 160
    place = grown.catalogue.numbers(checkpoint.catalogue.item_ids)
    width = checkpoint.catalogue.tokens.shape[1]
    assert np.array_equal(grown.catalogue.tokens[place][:, :width], checkpoint.catalogue.tokens)
    spelled = grown.catalogue.items["identifier"].to_numpy()[place].tolist()
    assert spelled == checkpoint.catalogue.items["identifier"].tolist()
    # Every token is the identifier's own, in the grown tokenizer, and a row of the grown model.
    for number in (0, 7, 159):
        ids = grown.tokenizer.encode(grown.catalogue.items["identifier"][number], add_special_tokens=False)
        assert ids == [token for token in grown.catalogue.tokens[number].tolist() if token >= 0]
    assert grown.catalogue.tokens.max() < grown.model.shared.weight.shape[0] == grown.model.config.vocab_size
    used = torch.from_numpy(np.unique(checkpoint.catalogue.tokens.clip(0)).astype(np.int64))
    assert torch.equal(grown.model.shared.weight[used], checkpoint.model.shared.weight[used])
    if method == "random":
        continued = np.unique(grown.catalogue.tokens[:, 1:])
        assert not grown.model.encoder.word_start[continued].any()
    grown.save(tmp_path)
    again = Checkpoint.load(tmp_path)
    assert again.catalogue.items.equals(grown.catalogue.items) and torch.equal(
        again.model.shared.weight, grown.model.shared.weight
    )
    found = Recommender(again).recommend(
        history=[data.titles[3], data.titles[5]], allow=data.item_ids[place[:2]].tolist(), k=2
    )
    assert len(found) == 2


def test_what_the_model_said_of_known_items_it_says_still(atomic, full, old):
    split = leave_one_out(old.index())
    before = logits(atomic, split)
    grown = add_items(atomic, full.items)
    known = len(atomic.tokenizer)
    # The same questions: rendered by the old checkpoint, for the grown one has other item numbers.
    asked = replace(atomic, model=grown.model)
    torch.testing.assert_close(logits(asked, split)[..., :known], before[..., :known], rtol=0, atol=1e-5)
    assert len(atomic.tokenizer) == known and "identifier" in atomic.catalogue.items, (
        "the old one must not change"
    )


def test_the_order_of_the_new_items_changes_nothing(atomic, full):
    one, other = add_items(atomic, full.items), add_items(atomic, full.items.iloc[::-1])
    assert one.catalogue.items.equals(other.catalogue.items)
    assert torch.equal(one.model.shared.weight, other.model.shared.weight)


def test_a_new_item_starts_among_its_kind(atomic, full):
    """Embeddings are set by genre: the words must find the genre."""
    catalogue = atomic.catalogue.items
    genre = catalogue["attributes"].str.extract(r"genre (\w+)")[0]
    names = sorted(genre.unique())
    centres = torch.nn.functional.normalize(
        torch.randn(len(names), 128, generator=torch.Generator().manual_seed(3))
    )
    info = atomic.info.copy(identity_dimensions=0)  # the genre is all there is to find
    checkpoint = replace(atomic, model=copy.deepcopy(atomic.model), info=info)
    with torch.no_grad():
        tokens = torch.from_numpy(atomic.catalogue.tokens[:, 0].astype(np.int64))
        checkpoint.model.shared.weight[tokens] = 3 * centres[[names.index(name) for name in genre]]
    grown = add_items(checkpoint, full.items)
    new = ~np.isin(grown.catalogue.item_ids, atomic.catalogue.item_ids)
    rows = grown.model.shared.weight[torch.from_numpy(grown.catalogue.tokens[new, 0].astype(np.int64))]
    found = (rows @ centres.T).argmax(1).tolist()
    truth = [
        names.index(name) for name in grown.catalogue.items["attributes"][new].str.extract(r"genre (\w+)")[0]
    ]
    assert np.mean(np.array(found) == truth) > 0.9
    old = checkpoint.model.shared.weight[tokens]
    usual = (old - old.mean(0)).norm(dim=1).mean()
    torch.testing.assert_close((rows - old.mean(0)).norm(dim=1), usual.expand(len(rows)), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (pd.DataFrame({"title": ["A"]}), "item_id"),
        (pd.DataFrame({"item_id": ["n", "n"]}), "'n' occurs twice"),
        (pd.DataFrame({"item_id": ["n", " n"]}), "'n' occurs twice"),
        (pd.DataFrame({"item_id": ["n", " "]}), "row 1: item_id ' ' is empty"),
        (pd.DataFrame({"item_id": [None]}), "row 0: item_id None is empty"),
        (pd.DataFrame({"item_id": ["n\x00"]}), "holds control characters"),
        (
            pd.DataFrame({"item_id": ["n"], "genre": ["a"], " genre": ["b"]}),
            "' genre' is empty or occurs twice|'genre' is",
        ),
        (pd.DataFrame({"item_id": ["n"], "\u200b": ["a"]}), "is empty or occurs twice"),
    ],
)
def test_items_that_cannot_be_added_are_named(atomic, items, says):
    with pytest.raises(UserError, match=says):
        add_items(atomic, items)


def test_no_new_item_no_new_model(atomic, old):
    assert add_items(atomic, old.items) is atomic


def test_new_titles_are_cleaned(atomic):
    grown = add_items(atomic, pd.DataFrame({"item_id": ["n1"], "title": ["Lens </s> <item_3>"]}))
    title = grown.catalogue.titles[grown.catalogue.index_of["n1"]]
    assert "</s>" not in title and "<item_3>" not in title


def test_new_ids_and_column_names_are_cleaned(atomic):
    """A column's name is read as text, beside its values; ids are those that `p5t5 prepare` would make."""
    grown = add_items(atomic, pd.DataFrame({"item_id": [" n1", 7.0], "<item_3></s>": ["rare", "<item_4>"]}))
    assert {"n1", "7"} <= set(grown.catalogue.item_ids)
    for item_id in ("n1", "7"):
        told = grown.catalogue.items["attributes"][grown.catalogue.index_of[item_id]]
        assert "item 3" in told and "<item" not in told and "</s>" not in told


def test_what_was_fitted_holds_until_something_is_trained(atomic, full):
    """Naming is no training: the calibration and the choice of the text decoding stay."""
    info = atomic.info.copy(stages=[{"stage": "finetune"}])
    rated = {"rating/score": {"model_weight": 0.5, "prior": [0.2] * 5}}
    fitted = {
        trust.ARTIFACT: FittedArtifact({"tasks": rated}),
        writing.ARTIFACT: FittedArtifact({"tasks": {"explanation/explain": {"options": {"num_beams": 2}}}}),
    }
    old = replace(atomic, info=info, fitted=fitted)
    updated = add_items(old, full.items)
    assert [stage["stage"] for stage in updated.info.stages] == ["finetune", "add_items"]
    assert [stage["stage"] for stage in old.info.stages] == ["finetune"], "the old one must not change"
    assert trust.saved_rating_calibration(updated)["rating/score"].model_weight == 0.5
    assert writing.saved_options(updated)["explanation/explain"].num_beams == 2
    updated.add_stage({"stage": "finetune"})
    assert trust.saved_rating_calibration(updated) == {} and writing.saved_options(updated) == {}
    assert old.fitted.keys() == fitted.keys()


def test_what_is_said_of_items_stays_theirs_where_items_are_numbered_anew(atomic, full):
    old = replace(atomic, info=atomic.info.copy(stages=[{"stage": "finetune"}]))
    texts = Ragged.from_lists([[5, 6], [5, 7], [8, 6]])
    items = len(old.catalogue)
    found = {"explanation": ItemNgrams.of(texts, np.array([0, items - 1, items - 1]), items)}
    how = {"options": {"sample": True, "samples": 2, "item_weight": 1.0}}
    store_text_options(old, {"explanation/explain": how}, found)
    grown = add_items(old, full.items)
    last = grown.catalogue.index_of[old.catalogue.item_ids[-1]]
    assert last != items - 1
    before, after = (writing.saved_item_ngrams(one)["explanation"] for one in (old, grown))
    for place, now in ((0, 0), (items - 1, last)):
        answers = [[5], [6], [7], [8, 6]]
        np.testing.assert_array_equal(before.expected_f1(place, answers), after.expected_f1(now, answers))
    assert after.texts[now] == 2 and after.texts[-1] == 3


def test_a_tokenizer_grows_behind_its_last_token(atomic):
    known = len(atomic.tokenizer)
    grown = grow_tokenizer(atomic.tokenizer, ["<item_144>", "<item_145>"])
    assert identifier_ids(grown, ["<item_144>", "<item_145>"]).tolist() == [known, known + 1]
    text = "a lens after <item_3> and <user_2>"
    assert grown.encode(text) == atomic.tokenizer.encode(text)
    assert (
        grown.decode(grown.encode("likes <item_144> most"), skip_special_tokens=True)
        == "likes <item_144> most"
    )
    with pytest.raises(ValueError, match="new and different"):
        grow_tokenizer(grown, ["<item_144>"])


# Users


def test_a_new_user_is_asked_about_by_history_alone(atomic, full, old):
    """The model names its users; a stranger's question must not have an empty name in it."""
    data = full.index()
    grown = add_items(atomic, data.items)
    grown.info.tasks = ["sequential/next_item"]
    recommender = Recommender(grown)
    stranger = sorted(data.user_ids.tolist())[-1]
    assert user_key(stranger) not in grown.users
    facts = recommender._people.person(stranger, None, data)
    prompt = grown.prompts[recommender.operations.prompt("sequential/next_item", facts)]
    assert "user" not in PLACEHOLDER.findall(prompt.input)
    row = data.user_ids.tolist().index(stranger)
    items = data.item[data.user_start[row] : data.user_start[row + 1]]
    by_name = recommender.recommend(user=stranger, data=data, k=5)
    by_history = recommender.recommend(history=data.item_ids[items].tolist(), k=5)
    assert [one.item_id for one in by_name] == [one.item_id for one in by_history]
    with pytest.raises(UserError, match="not known to the model"):
        recommender.recommend(user="nobody")


def test_new_users_get_names_near_those_who_visit_the_same(full, old):
    twin = old.interactions["user_id"].astype(str).unique().tolist()[0]
    table = pd.concat(
        [old.interactions, old.interactions[old.interactions["user_id"] == twin].assign(user_id="zz")]
    )
    split = leave_one_out(replace(old, interactions=table).index())
    checkpoint = made(old)
    grown = add_users(checkpoint, split)
    assert list(grown.users)[: len(checkpoint.users)] == list(checkpoint.users)
    assert grown.users[user_key("zz")] == f"<user_{len(checkpoint.users)}>"
    ids = [identifier_ids(grown.tokenizer, [name])[0] for name in grown.users.values()]
    rows = grown.model.shared.weight[torch.tensor(np.array(ids, np.int64))]
    mean = rows[:-1].mean(0)
    near = torch.nn.functional.cosine_similarity(rows[:-1] - mean, (rows[-1] - mean)[None]).argmax()
    assert list(grown.users)[int(near)] == user_key(twin)
    assert add_users(grown, split) is grown
    assert add_users(
        replace(checkpoint, info=checkpoint.info.copy(identifiers={"item": None, "user": None})), split
    )


# Features


def test_weights_of_words_by_hand():
    counts = counted([["a", "b", "a"], ["a", "c"], ["b", "a"]])
    assert counts.toarray().tolist() == [[2, 1, 0], [1, 0, 1], [1, 1, 0]]
    found = weighted(counts).toarray()  # "c" is only in one row; rarity of a: 1, of b: 1 + log(4/3)
    rare = 1 + np.log(4 / 3)
    wanted = np.array([[1 + np.log(2), rare], [1, 0], [1, rare]])
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), rtol=1e-6)


def test_prices_and_aggregates_are_no_words():
    items = pd.DataFrame(
        {
            "item_id": ["1"],
            "title": ["Brush"],
            "attributes": ["brand OPI ; price 8.72 ; also_bought 17 ; kind Hair, Care"],
        }
    )
    assert catalogue_texts(items)["attributes"].tolist() == ["brand OPI, kind Hair, Care"]
    # Six words and three values as words; the price is none.
    assert word_features(pd.concat([catalogue_texts(items)] * 2)).shape == (2, 9)


def test_a_new_thing_is_placed_among_the_most_alike_by_hand(monkeypatch):
    """Two of three known things speak, by likeness to the fourth power: 0.6⁴ against 0.8⁴."""
    monkeypatch.setattr(likeness, "NEAREST", 2)
    known = sparse.csr_array(np.eye(3, dtype=np.float32))
    values = np.array([[4.0, 0], [0, 4], [-4, -4]])
    new = sparse.csr_array(np.array([[0.6, 0.8, 0], [0, 0, 0]], np.float32))
    deviation = 0.6**4 * np.array([4, 0]) + 0.8**4 * np.array([0, 4])
    usual = (4 + 4 + np.hypot(4, 4)) / 3
    found = carried_over(known, values, new)
    np.testing.assert_allclose(found, [deviation / np.hypot(*deviation) * usual, [0, 0]], rtol=1e-5)


def test_placing_many_against_one_at_a_time(monkeypatch):
    random = np.random.default_rng(0)
    known = unit(sparse.csr_array(random.random((60, 12)).astype(np.float32)))
    new = unit(sparse.csr_array(random.random((9, 12)).astype(np.float32)))
    values = random.normal(size=(60, 4))
    monkeypatch.setattr(likeness, "MAX_CELLS", 120)  # two at a time
    mean = values.mean(0)
    usual = np.mean([np.linalg.norm(one - mean) for one in values])
    for row, guess in zip(new.toarray(), carried_over(known, values, new), strict=True):
        likes = sorted(
            ((float(row @ other), place) for place, other in enumerate(known.toarray())), reverse=True
        )
        total = sum(like**4 * (values[place] - mean) for like, place in likes[:20])
        np.testing.assert_allclose(guess, mean + total / np.linalg.norm(total) * usual, atol=1e-4)
