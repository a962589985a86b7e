from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from support.small_data import TITLES, hostile

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.text.tokenizer import SENTINELS, identifier_ids, load_tokenizer, sentinel_ids, train_tokenizer

PIECES = [f"<item_{number}>" for number in range(30)] + ["<user_a1>", "<user_b1>"]
TEXTS = [clean_text(title) for title in TITLES] * 20 + ["the strings sound warm , 4 stars", "4"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, PIECES, size=420)


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory):
    """What a T5 checkpoint's folder holds: no byte fallback, sentinels, a tokenizer.json."""
    import sentencepiece  # noqa: F401  (the package is there: fail early, not inside transformers)
    from transformers import T5Tokenizer

    letters = [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?()'"]
    words = [("▁the", -3.0), ("▁st", -5.0), ("▁", -2.5)]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *words, *letters]
    vocab += [(name, 0.0) for name in reversed(SENTINELS)]
    folder = tmp_path_factory.mktemp("t5")
    T5Tokenizer(vocab=vocab).save_pretrained(folder)
    return folder


def test_ids_stand_in_the_promised_order(tokenizer):
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    assert names[:3] == ["<pad>", "</s>", "<unk>"]
    assert names[-len(PIECES) :] == ["▁" + piece for piece in PIECES]
    assert set(names[-len(PIECES) - 100 : -len(PIECES)]) == set(SENTINELS)
    assert identifier_ids(tokenizer, PIECES).tolist() == list(range(len(names) - len(PIECES), len(names)))


def test_sentinels_are_found_by_name(tokenizer):
    ids = sentinel_ids(tokenizer)
    assert len(ids) == 100
    assert tokenizer.convert_ids_to_tokens(ids[:2].tolist()) == ["<extra_id_0>", "<extra_id_1>"]
    assert ids.max() < identifier_ids(tokenizer, PIECES).min()  # and so are not the last tokens


def test_an_identifier_is_one_token_and_decodes_with_spaces(tokenizer):
    ids = tokenizer.encode("the <item_17> <item_1> <user_a1> <user_b1>")
    wanted = identifier_ids(tokenizer, ["<item_17>", "<item_1>", "<user_a1>", "<user_b1>"]).tolist()
    assert ids[-5:] == [*wanted, 1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the <item_17> <item_1> <user_a1> <user_b1>"


def test_wide_and_composed_letters_read_like_plain_ones(tokenizer):
    assert tokenizer.encode("Ｔｏｙ Cite\u0301") == tokenizer.encode("Toy Cité")


def test_training_is_deterministic():
    first, second = (train_tokenizer(iter(TEXTS), PIECES, size=400).backend_tokenizer.to_str() for _ in "ab")
    assert first == second


def test_words_to_be_kept_whole_are_one_piece_and_change_little_else(tokenizer):
    words = ["yes", "no", ";", ",", "4", "3.5", "Ω"]
    whole = train_tokenizer(TEXTS, PIECES, size=420, whole=[*words, "yes"])
    for word in words:
        assert whole.convert_ids_to_tokens(whole.encode(f"{word} {word}")) == ["▁" + word, "▁" + word, "</s>"]
    assert len(tokenizer.encode("3.5")) > 2
    assert whole.tokenize("the strings sound warm") == tokenizer.tokenize("the strings sound warm")
    assert whole.decode(whole.encode("a 3.55 Ωx"), skip_special_tokens=True) == "a 3.55 Ωx"


def test_saving_and_loading_keep_every_id(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "Cité 七人 <item_3> the strings \U0001f600"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert len(loaded) == len(tokenizer) and loaded.pad_token_id == 0 and loaded.eos_token_id == 1


@settings(max_examples=300, deadline=None)
@given(hostile)
def test_cleaned_text_round_trips_and_spells_no_reserved_token(tokenizer, text):
    text = clean_text(text)
    ids = tokenizer.encode(text, add_special_tokens=False)
    reserved = {0, 1, 2, *sentinel_ids(tokenizer).tolist(), *identifier_ids(tokenizer, PIECES).tolist()}
    assert not reserved & set(ids)
    assert tokenizer.decode(ids) == text


def test_no_text_and_too_small_a_size_are_user_errors():
    with pytest.raises(UserError, match="no text at all"):
        train_tokenizer(["", "  "], PIECES)
    with pytest.raises(UserError, match="try a larger size"):
        train_tokenizer(TEXTS, PIECES, size=100)


def test_identifiers_must_be_new_and_different(tokenizer):
    with pytest.raises(ValueError, match="new and different"):
        train_tokenizer(TEXTS, ["<item_1>", "<item_1>"], size=400)
    with pytest.raises(ValueError, match="no token '▁<item_999>'"):
        identifier_ids(tokenizer, ["<item_999>"])


def test_a_t5_checkpoints_tokenizer_keeps_its_ids_and_gains_identifiers(t5_folder):
    from transformers import AutoTokenizer

    old = AutoTokenizer.from_pretrained(t5_folder)
    new = load_tokenizer(t5_folder, PIECES)
    assert identifier_ids(new, PIECES).tolist() == list(range(len(old), len(old) + len(PIECES)))
    text = "the strings ; 4 stars !"
    assert new.encode(text) == old.encode(text)
    assert sentinel_ids(new).tolist() == [old.convert_tokens_to_ids(name) for name in SENTINELS]
    assert new.encode("the <item_3>")[1:] == [*identifier_ids(new, ["<item_3>"]).tolist(), 1]
    assert (
        new.decode(new.encode("the <item_3> <item_4>"), skip_special_tokens=True) == "the <item_3> <item_4>"
    )


def test_tokens_outside_the_vocabulary_keep_their_ids(t5_folder, tmp_path):
    """Some checkpoints have the sentinels as added tokens only, behind the vocabulary."""
    content = json.loads((t5_folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = [pair for pair in content["model"]["vocab"] if "extra_id" not in pair[0]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    old, new = load_tokenizer(t5_folder, PIECES), load_tokenizer(tmp_path, PIECES)
    assert sentinel_ids(new).tolist() == sentinel_ids(old).tolist()
    assert identifier_ids(new, PIECES).tolist() == identifier_ids(old, PIECES).tolist()


def test_other_folders_are_refused_in_a_sentence(t5_folder, tmp_path):
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path, PIECES)
    with pytest.raises(UserError, match="neither a folder nor"):
        load_tokenizer("nobody/nothing-at-all", PIECES)
    content = json.loads((t5_folder / "tokenizer.json").read_text())
    for broken, words in (
        ({**content, "model": {"type": "BPE", "vocab": {}, "merges": []}}, "is BPE, not a T5's Unigram"),
        ({**content, "added_tokens": [{**content["added_tokens"][0], "id": 9999}]}, "leaves ids unused"),
        ({**content, "model": {**content["model"], "vocab": content["model"]["vocab"][:40]}, "added_tokens": []},
         "lacks <extra_id_0>"),
        ({**content, "pre_tokenizer": {"type": "Punctuation", "behavior": "Isolated"}}, "does not keep <item_0> whole"),
    ):  # fmt: skip
        (tmp_path / "tokenizer.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match=words):
            load_tokenizer(tmp_path, PIECES[:1])
