"""A checkpoint answers the same after a trip over the disk, the Hub's cache included, and tells no secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from support.first_answers import logits
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from p5t5.checkpoint.checkpoint import Checkpoint, user_key
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.checkpoint.embedding_init import identity_dimensions, item_and_user_vectors, word_vectors
from p5t5.checkpoint.hub import load_model, resolve, set_dropout
from p5t5.core.errors import UserError
from p5t5.data.cooccurrence import factors
from p5t5.data.records.building import make_records
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.model.initialization import identifier_norm
from p5t5.tasks.base import BuildOptions
from p5t5.text.prompts import load_prompts
from p5t5.text.tokenizer import sentinel_ids, train_tokenizer


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate(users=40, items=160, seed=1).data)


@pytest.fixture(scope="module")
def checkpoint(split):
    made = create_checkpoint(split, load_prompts(), vocabulary_size=500, options=BuildOptions(max_history=5))
    made.model.eval()
    return made


def test_save_and_load_answer_alike(checkpoint, split, tmp_path):
    checkpoint.save(tmp_path, "# card")
    loaded = Checkpoint.load(tmp_path)
    torch.testing.assert_close(logits(loaded, split), logits(checkpoint, split), rtol=0, atol=0)
    assert loaded.prompts == checkpoint.prompts and dict(loaded.users) == dict(checkpoint.users)
    assert loaded.build_options() == checkpoint.build_options() and loaded.build_options().max_history == 5
    assert (tmp_path / "README.md").read_text() == "# card"
    assert not list(tmp_path.glob(".saving-*")), "the temporary folder must go"


def test_everybody_may_read_what_the_umask_lets_them(checkpoint, tmp_path):
    """safetensors writes 0600, which another user's service cannot read."""
    for umask, rights in ((0o022, 0o644), (0o027, 0o640)):
        before = os.umask(umask)
        try:
            checkpoint.save(tmp_path / f"{umask}")
        finally:
            os.umask(before)
        found = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / f"{umask}").iterdir()}
        assert found == dict.fromkeys(found, oct(rights))


def test_a_folder_holds_no_interactions_no_user_ids_and_no_pickles(checkpoint, split, tmp_path):
    checkpoint.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert "interactions.parquet" not in names
    assert {path.suffix for path in tmp_path.iterdir()} <= {
        ".json",
        ".safetensors",
        ".parquet",
        ".yaml",
        ".md",
    }
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".safetensors")
    secret = split.data.user_ids[7]
    assert user_key(secret).encode() in everything
    texts = [path.read_text() for path in tmp_path.iterdir() if path.suffix in (".json", ".yaml")]
    assert not any(f'"{secret}"' in text for text in texts)


def test_auto_classes_load_the_folder_without_remote_code(checkpoint, tmp_path):
    checkpoint.save(tmp_path)
    code = (
        "import sys, p5t5\n"
        "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n"
        "model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1])\n"
        "ids = AutoTokenizer.from_pretrained(sys.argv[1])('<item_3> <user_1> what next ?', return_tensors='pt')\n"
        "print(type(model).__name__, model.generate(**ids, max_new_tokens=3, do_sample=False).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    ids = AutoTokenizer.from_pretrained(tmp_path)("<item_3> <user_1> what next ?", return_tensors="pt")
    ours = checkpoint.model.generate(**ids, max_new_tokens=3, do_sample=False).tolist()
    assert done.stdout.strip().endswith(f"P5T5ForConditionalGeneration {ours}")


def test_a_hub_id_loads_from_a_hand_filled_cache(checkpoint, split, tmp_path, monkeypatch):
    repository = tmp_path / "models--somebody--films"
    revision = "0123456789abcdef0123456789abcdef01234567"
    checkpoint.save(repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path), raising=False
    )
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    loaded = Checkpoint.load("somebody/films")
    torch.testing.assert_close(logits(loaded, split), logits(checkpoint, split), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["./nowhere", "nobody/nothing", "two words"])
def test_what_is_not_there_is_said_in_one_sentence(name):
    with pytest.raises(UserError, match="there is no folder"):
        resolve(name)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a p5t5 checkpoint"):
        Checkpoint.load(tmp_path)
    with pytest.raises(UserError, match="no T5 model"):
        load_model(tmp_path)
    (tmp_path / "p5t5.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        Checkpoint.load(tmp_path)


def test_other_data_is_refused(checkpoint):
    with pytest.raises(UserError, match="another catalogue"):
        checkpoint.check(simulate(users=40, items=168, seed=3).data)


def test_other_interactions_are_refused_where_they_would_leak(checkpoint, split):
    """The same catalogue, other rows: this data's test rows may have been training rows there."""
    shorter = replace(split.data, hash="another")
    checkpoint.check(shorter)
    checkpoint.check_same(split.data)
    with pytest.raises(UserError, match="other interactions"):
        checkpoint.check_same(shorter)


@pytest.mark.parametrize(
    "name",
    ["p5t5.json", "model.safetensors", "tokenizer.json", "catalogue.parquet", "users.parquet", "config.json"],
)
@pytest.mark.parametrize("how", ["cut", "missing"])
def test_a_damaged_folder_is_named(name, how, checkpoint, tmp_path):
    checkpoint.save(tmp_path)
    if how == "cut":
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    else:
        (tmp_path / name).unlink()
    with pytest.raises(UserError):
        Checkpoint.load(tmp_path)


def test_saving_removes_the_results_of_the_model_before(checkpoint, tmp_path):
    (tmp_path / "results.json").write_text("[]")
    checkpoint.save(tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_a_user_nobody_knows_has_no_name(checkpoint, split):
    data = simulate(users=60, items=160, seed=1).data
    if data.item_ids.tolist() != split.data.item_ids.tolist():
        pytest.skip("the catalogues differ")
    renderer = checkpoint.renderer_for(data)
    known = [user_key(user) in checkpoint.users for user in data.user_ids]
    assert sum(known) == 40 and renderer is not None


def test_identifiers_start_at_factors_and_rating_biases(checkpoint, split):
    tokens = checkpoint.catalogue.tokens[:, 0]
    rows = checkpoint.model.shared.weight.detach()[torch.from_numpy(tokens.astype(np.int64))].numpy()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), identifier_norm(128), rtol=1e-4)
    own = identity_dimensions(split, 128)
    about = 128 - own  # of these the last quarter is the text's, and the last one the rating's
    dimensions = about - about // 4
    ours, theirs = rows[:, :dimensions], factors(split, dimensions, seed=0)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    assert ((ours * theirs).sum(1) > 0.99 * lengths).all()
    train = split.rows("train")
    counts = np.bincount(split.data.item[train], minlength=160)
    means = np.bincount(split.data.item[train], split.data.rating[train], 160) / np.maximum(counts, 1)
    assert np.corrcoef(means[counts > 3], rows[counts > 3, about - 1])[0, 1] > 0.8


def test_a_start_does_not_look_at_held_back_ratings(split):
    held_back = split.part > 0
    poisoned = replace(split.data, rating=np.where(held_back, 1, split.data.rating).astype(np.float32))
    for clean, other in zip(
        item_and_user_vectors(split, 32),
        item_and_user_vectors(replace(split, data=poisoned), 32),
        strict=True,
    ):
        np.testing.assert_array_equal(clean, other)


def test_words_start_beside_their_neighbours_and_by_their_ratings():
    """A world of two dialects: red things are praised, blue ones blamed."""
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 2, 400)
    words = [["red crimson", "blue azure"][c].split() for c in colour]
    reviews = [" ".join(rng.permutation([*pair, *pair, "thing"])) for pair in words]
    table = pd.DataFrame(
        {
            "user_id": [f"u{n % 40}" for n in range(400)],
            "item_id": [f"i{n % 20}" for n in range(400)],
            "timestamp": np.arange(400),
            "rating": np.where(colour == 0, 5.0, 1.0),
            "review": reviews,
        }
    )
    split = leave_one_out(make_records("x", table).index())
    texts = ["red", "crimson", "blue", "azure", "thing"]
    tokenizer = train_tokenizer(reviews, ["<item_0>"], size=300, whole=texts)
    often, vectors = word_vectors(split, tokenizer, 8, BuildOptions())
    pieces = tokenizer.convert_tokens_to_ids(["▁" + text for text in texts])
    red, crimson, blue, azure, _ = (vectors[often.tolist().index(piece)] for piece in pieces)
    assert red @ crimson > 0.8 and blue @ azure > 0.8 and red @ blue < 0.2
    assert min(red[-1], crimson[-1]) > 0.1 and max(blue[-1], azure[-1]) < -0.1
    poisoned = np.where(split.part > 0, 3, split.data.rating).astype(np.float32)
    column = [
        t if part == 0 else "red blue" for t, part in zip(split.data.texts["review"], split.part, strict=True)
    ]
    other = replace(split.data, rating=poisoned, texts={**split.data.texts, "review": column})
    again = word_vectors(replace(split, data=other), tokenizer, 8, BuildOptions())
    np.testing.assert_array_equal(vectors, again[1])


def test_users_known_by_their_history_alone(split):
    made = create_checkpoint(split, load_prompts(), vocabulary_size=500, user_identifiers="none")
    assert not made.users and not any("<user_" in token for token in made.tokenizer.get_vocab())


def test_dropout_can_be_changed(checkpoint):
    set_dropout(checkpoint.model, 0.25)
    rates = {module.p for module in checkpoint.model.modules() if isinstance(module, torch.nn.Dropout)}
    attention = checkpoint.model.encoder.block[0].layer[0].SelfAttention
    assert rates == {0.25} and attention.dropout == 0.25 and checkpoint.model.config.dropout_rate == 0.25
    set_dropout(checkpoint.model, 0.1)


@pytest.mark.parametrize("untied", [False, True], ids=["t5-small", "flan"])
@pytest.mark.parametrize("whole_words", [False, True])
def test_a_t5_checkpoint_keeps_what_it_knows(untied, whole_words, split, tmp_path):
    """Growing the vocabulary by identifiers moves no logit of the old tokens, in either layout."""
    tokenizer = train_tokenizer(["some text to learn the pieces from", "and more of it"] * 9, [], size=300)
    tokenizer.save_pretrained(tmp_path)
    size = len(tokenizer) + 28  # t5-small's embedding, too, has 28 rows more than its tokenizer has pieces
    config = T5Config(
        vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0,
        feed_forward_proj="gated-gelu" if untied else "relu", tie_word_embeddings=not untied,
    )  # fmt: skip
    torch.manual_seed(0)
    plain = T5ForConditionalGeneration(config).eval()
    if untied:
        plain.lm_head.weight = torch.nn.Parameter(torch.randn(size, 32))
        plain.config.scale_decoder_outputs = False
    plain.save_pretrained(tmp_path)
    ids, start = (
        tokenizer("some more text", return_tensors="pt")["input_ids"],
        torch.zeros(1, 1, dtype=torch.long),
    )
    with torch.no_grad():
        before = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)(
            input_ids=ids, decoder_input_ids=start
        ).logits
    made = create_checkpoint(split, load_prompts(), model=str(tmp_path), whole_word_embeddings=whole_words)
    made.save(tmp_path / "ours")
    made = Checkpoint.load(tmp_path / "ours")
    with torch.no_grad():
        after = made.model(input_ids=ids, decoder_input_ids=start).logits
    torch.testing.assert_close(after[..., : len(tokenizer)], before[..., : len(tokenizer)])
    assert (made.model.lm_head.weight is made.model.shared.weight) == (not untied)
    assert sentinel_ids(made.tokenizer).tolist() == sentinel_ids(tokenizer).tolist()
    assert (made.catalogue.tokens[:, 0] >= len(tokenizer)).all()
    text = " ".join(made.catalogue.items["identifier"][:3])
    assert made.tokenizer(text)["input_ids"] == [*made.catalogue.tokens[:3, 0].tolist(), 1]


def test_titles_that_a_tokenizer_spells_alike_are_refused():
    from p5t5.checkpoint.creation import check_distinct

    check_distinct(np.array([[3, 2], [3, -1]]), ["a b", "a"], "t5-small")
    with pytest.raises(UserError, match="t5-small spells 'Мир' and 'Война' alike"):
        check_distinct(np.array([[3, 2], [4, -1], [3, 2]]), ["Мир", "a", "Война"], "t5-small")
