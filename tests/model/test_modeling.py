"""The model: an exact loss, T5 checkpoints in and out, a growing vocabulary, whole words."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from p5t5.core.errors import UserError
from p5t5.model.configuration import P5T5Config, preset_config
from p5t5.model.initialization import (
    grow_vocabulary,
    identifier_norm,
    initialize,
    near_bias,
    set_word_starts,
    start_identifiers,
)
from p5t5.model.modeling import P5T5ForConditionalGeneration, export_t5

SHAPE = {
    "vocab_size": 50,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
V10 = dict(SHAPE, feed_forward_proj="relu")
V11 = dict(SHAPE, feed_forward_proj="gated-gelu", tie_word_embeddings=False)


def plain_t5(fields: dict, seed: int = 0) -> T5ForConditionalGeneration:
    """A random plain T5, with a head of its own where the layout says so."""
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(T5Config(**fields)).eval()
    if fields.get("tie_word_embeddings") is False:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight))
    return model


def batch(seed: int = 0, rows: int = 6) -> dict[str, torch.Tensor]:
    """Padded random rows of different lengths, with labels and weights."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(2, 50, (rows, 9), generator=generator)
    labels = torch.randint(2, 50, (rows, 5), generator=generator)
    mask = torch.ones_like(inputs)
    weights = torch.rand(labels.shape, generator=generator)
    for row in range(rows):
        mask[row, 4 + row % 5 :] = 0
        labels[row, 1 + row % 5 :] = -100
    inputs[mask == 0] = 0
    weights[labels == -100] = 0
    return {"input_ids": inputs, "attention_mask": mask, "labels": labels, "label_weights": weights}


def without(values: dict, *names: str) -> dict:
    return {name: value for name, value in values.items() if name not in names}


def logits(model, values) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**without(values, "label_weights")).logits


@pytest.mark.parametrize("layout", [V10, V11], ids=["tied", "untied"])
@pytest.mark.parametrize("training", [False, True])
def test_loss_is_the_weighted_sum_over_items(layout, training):
    model = P5T5ForConditionalGeneration.from_t5(plain_t5(dict(layout, dropout_rate=0.0)))
    values = batch()
    nll = functional.cross_entropy(
        logits(model, values).flatten(0, 1), values["labels"].flatten(), ignore_index=-100, reduction="none"
    )
    weights = values["label_weights"].flatten()
    model.train(training)
    weighted = (nll * weights).sum()
    torch.testing.assert_close(model(**values).loss, weighted / weights.sum())
    torch.testing.assert_close(model(**values, num_items_in_batch=7).loss, weighted / 7)
    mean = model(**without(values, "label_weights")).loss
    torch.testing.assert_close(mean, nll.sum() / (values["labels"] != -100).sum())
    summed = model(**without(values, "label_weights"), num_items_in_batch=torch.tensor(7)).loss
    torch.testing.assert_close(summed, nll.sum() / 7)


@pytest.mark.parametrize("layout", [V10, V11], ids=["tied", "untied"])
def test_same_as_plain_t5(layout):
    plain = plain_t5(layout)
    model = P5T5ForConditionalGeneration.from_t5(plain)
    values = without(batch(), "label_weights")
    ours, theirs = model(**values), plain(**values)
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.loss, theirs.loss)
    assert list(ours) == list(theirs)[:1] + [key for key in ours if key != "loss"]
    torch.testing.assert_close(model(**values, return_dict=False)[0], theirs.loss)
    arguments = {
        "input_ids": values["input_ids"],
        "attention_mask": values["attention_mask"],
        "max_new_tokens": 6,
    }
    assert torch.equal(model.generate(**arguments, num_beams=3), plain.generate(**arguments, num_beams=3))


def test_accumulated_gradient_is_the_whole_batch_gradient():
    """HF's Trainer hands num_items_in_batch to each micro-batch; stock T5 ignores it."""
    model = P5T5ForConditionalGeneration.from_t5(plain_t5(dict(V10, dropout_rate=0.0))).double().train()
    values = without(batch(), "label_weights")
    items = (values["labels"] != -100).sum()

    def gradient(micro: int) -> torch.Tensor:
        model.zero_grad()
        for start in range(0, 6, micro):
            part = {name: value[start : start + micro] for name, value in values.items()}
            model(**part, num_items_in_batch=items).loss.backward()
        return model.shared.weight.grad.clone()

    torch.testing.assert_close(gradient(6), gradient(1), atol=1e-12, rtol=1e-9)
    assert model.accepts_loss_kwargs


def test_training_computes_the_head_at_real_labels_only(monkeypatch):
    model = initialize(P5T5Config(**SHAPE))
    seen = []
    monkeypatch.setattr(model, "head", lambda hidden: seen.append(hidden.shape) or model.lm_head(hidden))
    values = batch()
    real = int((values["labels"] != -100).sum())
    handle = model.encoder.register_forward_hook(lambda *_: None)  # somebody looks: transformers' forward
    model(**values).loss.backward()
    assert seen == [(real, 16)]
    handle.remove()
    monkeypatch.setattr("p5t5.model.head_loss.HeadLoss.apply", lambda hidden, *_: seen.append(hidden.shape))
    model(**values)
    assert seen == [(real, 16)] * 2


@pytest.mark.parametrize("layout", [V10, V11], ids=["tied", "untied"])
def test_t5_checkpoints_load_and_export(layout, tmp_path):
    plain = plain_t5(layout)
    plain.save_pretrained(tmp_path / "t5")
    model = P5T5ForConditionalGeneration.from_pretrained(tmp_path / "t5")
    assert isinstance(model.config, P5T5Config)
    assert model.config.untied_head == (layout is V11)
    assert model.config.scale_decoder_outputs == (layout is V10)
    values = batch()
    torch.testing.assert_close(logits(model, values), logits(plain, values))
    # Trap: transformers' tie_weights() and a second load must leave an untied head alone.
    model.tie_weights()
    model.save_pretrained(tmp_path / "ours")
    for cls in (P5T5ForConditionalGeneration, AutoModelForSeq2SeqLM):
        again = cls.from_pretrained(tmp_path / "ours")
        assert isinstance(again, P5T5ForConditionalGeneration)
        assert (again.lm_head.weight is again.shared.weight) == (layout is V10)
        torch.testing.assert_close(logits(again, values), logits(plain, values))
    export_t5(model, tmp_path / "exported")
    exported = T5ForConditionalGeneration.from_pretrained(tmp_path / "exported")
    assert exported.config.model_type == "t5" and type(exported) is T5ForConditionalGeneration
    assert exported.config.scale_decoder_outputs == (layout is V10)
    torch.testing.assert_close(logits(exported, values), logits(plain, values))


def test_original_v11_config_loads(tmp_path):
    """Checkpoints of transformers 4 say tie_word_embeddings false and have no decoder start in places."""
    plain = plain_t5(V11)
    plain.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    text = path.read_text().replace('"tie_word_embeddings": true', '"tie_word_embeddings": false')
    path.write_text(
        text.replace('"scale_decoder_outputs": false,', "").replace('"decoder_start_token_id": 0,', "")
    )
    model = P5T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert model.config.untied_head and not model.config.scale_decoder_outputs
    assert model.config.decoder_start_token_id == 0
    torch.testing.assert_close(logits(model, batch()), logits(plain, batch()))


@pytest.mark.parametrize("layout", [V10, V11], ids=["tied", "untied"])
def test_growing_the_vocabulary_leaves_old_logits(layout, tmp_path):
    model = P5T5ForConditionalGeneration.from_t5(plain_t5(layout))
    before = logits(model, batch())
    grow_vocabulary(model, 60)
    after = logits(model, batch())
    assert (
        after.shape[-1] == 60 and model.config.vocab_size == 60 == model.get_input_embeddings().num_embeddings
    )
    torch.testing.assert_close(after[..., :50], before)
    assert (model.lm_head.weight is model.shared.weight) == (layout is V10)
    assert model.encoder.embed_tokens.weight is model.shared.weight is model.decoder.embed_tokens.weight
    assert model.shared.weight[50:].std().item() == pytest.approx(
        model.shared.weight[:50].std().item(), rel=0.2
    )
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(P5T5ForConditionalGeneration.from_pretrained(tmp_path), batch()), after)
    with pytest.raises(ValueError, match="cannot grow"):
        grow_vocabulary(model, 10)


def test_initialise_is_seeded_and_scaled():
    torch.manual_seed(9)
    before = torch.rand(1)
    torch.manual_seed(9)
    one, same, other = (initialize(P5T5Config(**SHAPE), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), before), "the caller's random state must not move"
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.shared.weight, other.shared.weight)
    assert one.shared.weight.std().item() == pytest.approx(0.35, rel=0.1)
    norm = one.decoder.final_layer_norm.weight * identifier_norm(16)
    torch.testing.assert_close(norm, torch.full((16,), 20.0), msg="logits must be able to span ±20")
    assert one.training


def test_position_biases_start_by_preferring_near_tokens():
    config = P5T5Config(**SHAPE)
    model = initialize(config)
    for stack, bidirectional in ((model.encoder, True), (model.decoder, False)):
        attention = stack.block[0].layer[0].SelfAttention
        bias = attention.compute_bias(12, 12, device="cpu")[0].detach()  # [heads, queries, keys]
        behind = bias[:, 11].flip(-1)  # by distance from the last query back
        assert (behind[:-1].diff(dim=-1)[:, :7] < 0).all(), "each head but the last falls with the distance"
        assert (behind[-1] == 0).all() and behind[0, 1] == -1
        if bidirectional:
            torch.testing.assert_close(bias[:, 0], bias[:, 11].flip(-1))
        assert torch.equal(attention.relative_attention_bias.weight, near_bias(config, bidirectional))


@pytest.mark.parametrize("width", [4, 16, 30])
@pytest.mark.parametrize("untied", [False, True])
def test_start_identifiers(width, untied):
    model = initialize(P5T5Config(**SHAPE, untied_head=untied))
    before = model.shared.weight.clone()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors[:, : min(width, 16)], axis=1, keepdims=True)
    vectors[2] = -vectors[1]  # what the shared token 42 would be the mean of: nothing
    ids = np.array([[40, 41], [42, 43], [42, -1]])
    start_identifiers(model, ids, vectors)
    rows = model.shared.weight.detach().numpy() / identifier_norm(16)
    np.testing.assert_allclose(np.linalg.norm(rows[40:44], axis=1), 1, atol=1e-5)
    used = min(width, 16)
    assert rows[40, :used] @ vectors[0, :used] > 0.98
    assert abs(rows[42, :used] @ vectors[1, :used]) < 0.98
    assert torch.equal(model.shared.weight[:40], before[:40]) and torch.equal(
        model.shared.weight[44:], before[44:]
    )
    if untied:
        np.testing.assert_allclose(
            model.lm_head.weight.detach().numpy()[40:44] / identifier_norm(16), rows[40:44], atol=1e-6
        )


def whole_word_model() -> P5T5ForConditionalGeneration:
    model = initialize(P5T5Config(**SHAPE, whole_word_embeddings=True, max_words=8)).eval()
    set_word_starts(
        model, ["<pad>", "</s>", "▁a", "b", "▁<item_a1>", "▁<item_b1>"] + ["▁x"] * 44, continuing=[5]
    )
    return model


def test_whole_words(tmp_path):
    model = whole_word_model()
    assert model.encoder.word_start[:6].tolist() == [True, True, True, False, True, False]
    assert torch.count_nonzero(model.encoder.whole_words.weight) == 0
    values = batch()
    plain = initialize(P5T5Config(**SHAPE)).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(logits(model, values), logits(plain, values))
    with torch.no_grad():
        model.encoder.whole_words.weight.normal_()
    ids = torch.tensor([[2, 3, 4, 5, 1]])
    expected = model.shared(ids) + model.encoder.whole_words(torch.tensor([[1, 1, 2, 2, 3]]))
    torch.testing.assert_close(model.encode(ids), model.encoder(inputs_embeds=expected).last_hidden_state)
    assert not torch.allclose(model.encode(ids), plain.encode(ids))
    # generate and the Auto class see them too
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again.encode(ids), model.encode(ids))
    arguments = {
        "max_new_tokens": 1,
        "min_new_tokens": 1,
        "output_scores": True,
        "return_dict_in_generate": True,
    }
    scores = again.generate(ids, **arguments).scores[0]
    first = model(input_ids=ids, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).logits[:, -1]
    torch.testing.assert_close(scores[:, 2:], first[:, 2:])
    grow_vocabulary(again, 55)
    assert again.encoder.word_start.shape == (55,)
    with pytest.raises(UserError, match="whole-word"):
        export_t5(model, tmp_path / "t5")


def test_whole_words_can_be_added_to_a_checkpoint(tmp_path):
    """Only the missing table is initialised, at zero; an untied head that was loaded stays."""
    plain = plain_t5(V11)
    P5T5ForConditionalGeneration.from_t5(plain).save_pretrained(tmp_path)
    config = P5T5Config.from_pretrained(tmp_path, whole_word_embeddings=True)
    model = P5T5ForConditionalGeneration.from_pretrained(tmp_path, config=config)
    assert torch.count_nonzero(model.encoder.whole_words.weight) == 0
    torch.testing.assert_close(logits(model, batch()), logits(plain, batch()))


def test_whole_words_learn():
    model = whole_word_model().train()
    model(**batch()).loss.backward()
    assert model.encoder.whole_words.weight.grad.abs().sum() > 0


def test_presets():
    config = preset_config("tiny", 100, dropout=0.0)
    assert (config.d_model, config.num_layers, config.num_heads, config.d_kv, config.d_ff) == (
        128,
        2,
        4,
        32,
        512,
    )
    assert config.vocab_size == 100 and config.dropout_rate == 0 and config.decoder_start_token_id == 0
    with pytest.raises(UserError, match="tiny, mini, small, base"):
        preset_config("huge", 100)


@pytest.mark.parametrize(
    "first",
    [
        "import p5t5; from transformers import AutoModelForSeq2SeqLM",
        "import p5t5; from transformers import AutoConfig, PreTrainedTokenizerFast",
    ],
)
def test_auto_classes_know_us_after_import(first, tmp_path):
    """In a fresh interpreter each: what was imported first decides who registers us, and when."""
    initialize(P5T5Config(**SHAPE)).save_pretrained(tmp_path)
    code = (
        f"{first}\nfrom transformers import AutoConfig, AutoModelForSeq2SeqLM\n"
        f"print(type(AutoConfig.from_pretrained({str(tmp_path)!r})).__name__)\n"
        f"print(type(AutoModelForSeq2SeqLM.from_pretrained({str(tmp_path)!r})).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["P5T5Config", "P5T5ForConditionalGeneration"], done.stderr


def test_import_is_light():
    code = "import sys, p5t5; print('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == [
        "False"
    ]
