"""The sublayers with their backward by hand, against finite differences and against transformers' modules."""

from __future__ import annotations

import pytest
import torch
from support.tiny_training import VOCABULARY, tiny_model
from torch import nn
from torch.nn import functional
from transformers.models.t5 import modeling_t5

import p5t5.model.modeling
from p5t5.model.cpu_forward import can_fuse, position_bias
from p5t5.model.cpu_kernels import (
    CrossAttention,
    Diagonals,
    FeedForward,
    KeyPadding,
    KeysAndValues,
    LayerConfig,
    RMSNorm,
    SelfAttention,
    dropout_mask,
)
from p5t5.model.head_loss import HeadLoss, Lookup, TiedGradient

HEADS, SIZE, WIDTH = 2, 3, 5
SHAPES = [
    {},
    {"untied_head": True},
    {"whole_word_embeddings": True},
    {"feed_forward_proj": "gated-gelu", "untied_head": True, "scale_decoder_outputs": False},
    {"num_decoder_layers": 3},
]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn.requires_grad_()


def checked(function, *inputs) -> bool:
    """gradcheck with the same dropout masks at every evaluation."""

    def seeded(*values):
        torch.manual_seed(3)
        return function(*values)

    return torch.autograd.gradcheck(seeded, inputs, fast_mode=True)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_backwards_by_finite_differences(dropout):
    rules = LayerConfig(HEADS, 1e-6, dropout)
    x, bias = random(2, 4, WIDTH), random(HEADS, 4, 4, seed=1)
    qkv, out = random(3 * HEADS * SIZE, WIDTH, seed=2), random(WIDTH, HEADS * SIZE, seed=3)
    padding = KeyPadding(2, torch.tensor([[False, True], [False, False]])[:, None, None])
    assert checked(lambda *t: SelfAttention.apply(*t, padding, rules), x, qkv, out, bias)
    keys, values = random(2 * HEADS, 4, SIZE, seed=4), random(2 * HEADS, 4, SIZE, seed=5)
    query, y = random(HEADS * SIZE, WIDTH, seed=6), random(2, 3, WIDTH, seed=7)
    assert checked(lambda *t: CrossAttention.apply(*t, padding, rules), y, keys, values, query, out)
    inner, outer = random(7, WIDTH, seed=8), random(WIDTH, 7, seed=9)
    assert checked(lambda *t: FeedForward.apply(*t, rules), random(6, WIDTH), inner, outer)


def test_small_backwards_by_finite_differences():
    assert checked(lambda *t: RMSNorm.apply(*t, 1e-6), random(2, 3, WIDTH), random(WIDTH, seed=1))
    assert checked(Diagonals.apply, random(HEADS, 7))
    weight = random(4 * HEADS * SIZE, WIDTH, seed=2)
    assert checked(lambda *t: KeysAndValues.apply(*t, 4, HEADS), random(2, 3, WIDTH), weight)


def test_diagonals_by_hand():
    table = torch.tensor([[-2.0, -1.0, 0.0, 1.0, 2.0]])
    assert Diagonals.apply(table).tolist() == [[[0, 1, 2], [-1, 0, 1], [-2, -1, 0]]]


def test_the_loss_in_chunks(monkeypatch):
    hidden, weight = random(70, WIDTH), random(9, WIDTH, seed=1)
    labels, shares = torch.arange(70) % 9, torch.rand(70, dtype=torch.float64)
    monkeypatch.setattr("p5t5.model.head_loss.MAX_LOGITS", 1)  # 32 rows at a time
    loss = HeadLoss.apply(hidden, weight, labels, shares, None)
    loss.backward()
    found = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    slow = (functional.cross_entropy(hidden @ weight.t(), labels, reduction="none") * shares).sum()
    slow.backward()
    torch.testing.assert_close(loss, slow)
    torch.testing.assert_close(found, (hidden.grad, weight.grad))


def test_the_tied_table_gets_one_gradient_of_both_its_uses():
    table, ids = random(9, WIDTH), torch.tensor([0, 3, 3, 8])
    shares = torch.tensor([0.5, 1.0, 0.0, 0.25], dtype=torch.float64)
    tied = TiedGradient()
    loss = HeadLoss.apply(Lookup.apply(table, ids, tied).tanh(), table, ids, shares, tied)
    (2 * loss).backward()
    found, table.grad = table.grad, None
    slow = functional.cross_entropy(table[ids].tanh() @ table.t(), ids, reduction="none")
    (2 * (slow * shares).sum()).backward()
    torch.testing.assert_close(found, table.grad)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        loss.backward(retain_graph=True)


@pytest.mark.parametrize("changes", SHAPES, ids=lambda changes: next(iter(changes), "plain"))
def test_the_model_computes_what_transformers_computes(changes, monkeypatch):
    """Loss and every gradient, with padding on both sides, empty labels and accumulated twice."""
    # Theirs rounds the mean square to float32 even in float64.
    monkeypatch.setattr(modeling_t5.T5LayerNorm, "forward", exact_norm)
    model = tiny_model(dtype=torch.float64, **changes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1 * torch.randn(value.shape, dtype=value.dtype, generator=generator)
    batch = {
        "input_ids": torch.randint(2, VOCABULARY, (3, 7), generator=generator),
        "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [0] * 2 + [1] * 5]),
        "labels": torch.randint(2, VOCABULARY, (3, 4), generator=generator),
        "label_weights": torch.rand(3, 4, generator=generator, dtype=torch.float64),
    }
    batch["labels"][0, 2:] = -100

    def trained(fuse: bool):
        monkeypatch.setattr(p5t5.model.modeling, "can_fuse", lambda model: fuse)
        model.zero_grad()
        losses = []
        for more in ({"num_items_in_batch": 3.5}, {"num_items_in_batch": torch.tensor(2.0)}, {}):
            loss = model(**batch, **more).loss
            (3 * loss).backward()
            losses.append(loss.detach())
        return torch.stack(losses), [value.grad.clone() for value in model.parameters()]

    assert can_fuse(model)
    torch.testing.assert_close(trained(True), trained(False), rtol=1e-9, atol=1e-9)


def exact_norm(self, hidden):
    return self.weight * functional.rms_norm(hidden, hidden.shape[-1:], eps=self.variance_epsilon)


def test_position_bias_is_transformers_own():
    model = tiny_model()
    for stack in (model.encoder, model.decoder):
        theirs = stack.block[0].layer[0].SelfAttention.compute_bias(9, 9)[0]
        torch.testing.assert_close(position_bias(stack, 9), theirs)


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = dropout_mask((1000, 1000), 0.1)
    assert (~drop.kept).double().mean() == pytest.approx(26 / 256, abs=1e-3)
    assert drop(torch.ones(1000, 1000)).mean() == pytest.approx(1, abs=2e-3)
    assert dropout_mask((3,), 0.0) is None
    model = tiny_model(dropout=0.3)
    batch = {"input_ids": torch.arange(2, 8)[None], "labels": torch.arange(2, 5)[None]}
    torch.manual_seed(5)
    first, other = model(**batch).loss, model(**batch).loss
    torch.manual_seed(5)
    assert model(**batch).loss == first != other


def test_the_mean_gradient_under_dropout_is_transformers():
    """Over many draws the loss has the same mean either way: dropout stands in the same places."""
    model = tiny_model(dropout=0.2)
    batch = {"input_ids": torch.arange(2, 26).repeat(64, 1), "labels": torch.arange(2, 5).repeat(64, 1)}
    means = {}
    for fuse in (True, False):
        torch.manual_seed(0)
        p5t5.model.cpu_forward.can_fuse, kept = (
            (lambda model, fuse=fuse: fuse),
            p5t5.model.cpu_forward.can_fuse,
        )
        with torch.no_grad():
            means[fuse] = torch.stack([model(**batch).loss for _ in range(40)])
        p5t5.model.cpu_forward.can_fuse = kept
    spread = (means[True].var() / 40 + means[False].var() / 40).sqrt()
    assert abs(means[True].mean() - means[False].mean()) < 4 * spread + 2e-3


def test_whoever_touches_a_module_gets_transformers_forward():
    model = tiny_model()
    attention = model.encoder.block[0].layer[0].SelfAttention
    handle = attention.register_forward_hook(lambda *_: None)
    assert not can_fuse(model)
    handle.remove()
    assert can_fuse(model)
    attention.q = nn.Sequential(attention.q)  # as LoRA wraps it
    assert not can_fuse(model)
    assert not can_fuse(tiny_model(dtype=torch.bfloat16))
    wrapped = tiny_model()
    wrapped.shared = nn.Sequential(wrapped.shared)  # as peft does where it trains some tokens
    assert not can_fuse(wrapped)
    checkpointing = tiny_model()
    checkpointing.gradient_checkpointing_enable()
    assert not can_fuse(checkpointing)
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_fuse(tiny_model())
