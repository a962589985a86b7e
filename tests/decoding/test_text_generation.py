"""Free text and T5's sublayers against transformers'."""

import copy

import pytest
import torch
from support.decoding_cases import (
    EOS,
    MODELS,
    PAD,
    generate_text,
    layouts,
    make_model,
    prompts,
)

from p5t5.decoding import t5_layers
from p5t5.decoding.sampling import SampleNoise, draw_columns
from p5t5.decoding.text_generation import draw_texts
from p5t5.decoding.tree_decoder import encode_prompts


@layouts
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"min_new_tokens": 6, "no_repeat_ngram_size": 2}, {"repetition_penalty": 1.7}]
)
def test_generate_text(model, beams, options):
    """Greedy and beams equal transformers', answers that end early included."""
    ids, mask = prompts(12, seed=2)
    options = {"max_new_tokens": 12, "num_beams": beams, "no_repeat_ngram_size": 3, **options}
    favour_the_end(model, 4.0)
    try:
        texts = generate_text(model, ids, mask, **options)
        out = model.eval().generate(input_ids=ids, attention_mask=mask, **options)
    finally:
        favour_the_end(model, 0.25)
    assert texts == [until_end(row) for row in out[:, 1:].tolist()]
    shortest = options.get("min_new_tokens", 0)
    assert all(shortest <= len(text) <= 12 for text in texts)
    assert len({len(text) for text in texts}) > 1  # or nothing has left the batch


def favour_the_end(model, factor: float) -> None:
    with torch.no_grad():
        model.lm_head.weight[EOS] *= factor


def until_end(row: list[int]) -> list[int]:
    row = row[: row.index(EOS)] if EOS in row else row
    return [token for token in row if token != PAD]


@layouts
@pytest.mark.parametrize("beams", [1, 3])
def test_forbidden_tokens_do_not_appear(model, beams):
    """Nor do they change the others' places: penalties, and what may not be repeated, are transformers'."""
    ids, mask = prompts(4)
    options = {"max_new_tokens": 12, "num_beams": beams, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2}
    texts = generate_text(model, ids, mask, **options)
    forbid = sorted({t for text in texts for t in text} | set(range(100, 250)))
    assert len(forbid) > 151
    others = generate_text(model, ids, mask, forbid=forbid, **options)
    assert not {t for text in others for t in text} & set(forbid)
    out = model.eval().generate(input_ids=ids, attention_mask=mask, suppress_tokens=forbid, **options)
    assert others == [until_end(row) for row in out[:, 1:].tolist()]


@pytest.mark.parametrize("beams", [1, 3])
def test_unfit_beginnings_do_not_begin_but_may_follow(beams):
    model = MODELS["untied"]
    ids, mask = prompts(4)
    options = {"max_new_tokens": 12, "num_beams": beams}
    texts = generate_text(model, ids, mask, **options)
    unfit = sorted({text[0] for text in texts if text})
    others = generate_text(model, ids, mask, never_first=unfit, **options)
    assert unfit and not {text[0] for text in others if text} & set(unfit)
    unused = sorted(set(range(3, 300)) - {text[0] for text in texts if text})[:3]
    if beams == 1:
        assert generate_text(model, ids, mask, never_first=unused, **options) == texts


def test_a_narrow_nucleus_is_greedy():
    model, (ids, mask) = MODELS["tied"], prompts(3)
    greedy = generate_text(model, ids, mask, max_new_tokens=8)
    assert generate_text(model, ids, mask, max_new_tokens=8, sample=True, top_p=1e-6) == greedy


def test_sampling_is_seeded():
    ids, mask = prompts(3)
    draw = [
        generate_text(MODELS["tied"], ids, mask, max_new_tokens=8, sample=True, seed=s) for s in (1, 1, 2)
    ]
    assert draw[0] == draw[1] != draw[2]


def test_samples_do_not_depend_on_the_batch():
    """A prompt's answers are its own, wherever it stands; prompts in the same place of two batches share nothing."""
    ids, mask = prompts(6, seed=3)
    options = {"max_new_tokens": 8, "sample": True, "samples": 3, "seed": 5}
    together = draw_texts(MODELS["tied"], ids, mask, **options)
    for row in range(6):
        own = ids[row : row + 1, : int(mask[row].sum())]
        assert draw_texts(MODELS["tied"], own, torch.ones_like(own), **options) == [together[row]]
    noise = SampleNoise(ids, mask, 3, 5).at(0, torch.arange(18))
    assert len(set(noise[:, 0].tolist())) == 18
    again = SampleNoise(ids[3:], mask[3:], 3, 5).at(0, torch.arange(9))
    assert torch.equal(noise[9:], again)
    assert not torch.equal(noise, SampleNoise(ids, mask, 3, 5).at(1, torch.arange(18)))


@layouts
def test_users_who_share_a_prompt_are_answered_as_if_each_had_its_own(model):
    """Also after some have left, and a whole prompt with them."""
    ids, mask = prompts(4, seed=6)
    left = torch.tensor([0, 2, 6, 7, 8, 10])  # none of the second prompt's 3, 4, 5
    with t5_layers.inference(model):
        memory = encode_prompts(model, ids, mask)
        shared, own = memory.repeated(3), memory.rows(torch.arange(4).repeat_interleave(3))
        queries = torch.randn(12, 4, 2, 8, generator=torch.Generator().manual_seed(1))
        for users in (None, left, torch.tensor([1, 2, 5])):
            if users is not None:
                shared, own, queries = shared.rows(users), own.rows(users), queries[users]
            assert len(shared) == len(own) == len(queries)
            for layer in (0, 1):
                torch.testing.assert_close(shared.attend(layer, queries), own.attend(layer, queries))
        assert len(shared.keys[0]) == 3, "prompts that nobody has any more are forgotten"


@pytest.mark.parametrize("columns", [5, 64, 130])
def test_draws_follow_the_distribution(columns):
    logits = torch.full((1, columns), -float("inf"))
    logits[0, [0, columns // 2, columns - 1]] = torch.tensor([0.0, 1.0, 2.0])
    noise = (torch.arange(20_000, dtype=torch.float64)[:, None] + 0.5) / 20_000
    drawn = draw_columns(logits.repeat(20_000, 1), noise, 2.0)
    shares = torch.bincount(drawn, minlength=columns) / len(drawn)
    torch.testing.assert_close(shares, (logits[0] / 2).softmax(-1), atol=1e-3, rtol=0)
    assert set(drawn.tolist()) == {0, columns // 2, columns - 1}


def test_draws_are_those_of_the_whole_cumulative_sum():
    """Blocks are only faster: the slow twin adds up all columns, one behind the other."""
    logits = torch.randn(500, 1000, generator=torch.Generator().manual_seed(3)) * 3
    noise = torch.rand(500, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    reached = (logits.double() / 0.7).softmax(-1).cumsum(-1)
    slow = (reached <= noise).sum(-1)
    assert (draw_columns(logits, noise, 0.7) == slow).float().mean() > 0.995


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_ends_of_luck_fall_on_columns_that_may_be_drawn(noise):
    logits = torch.full((1, 200), -float("inf"))
    logits[0, [70, 150]] = 0.0
    drawn = draw_columns(logits, torch.full((1, 1), noise, dtype=torch.float64), 1.0)
    assert drawn.item() == (150 if noise else 70)


@layouts
def test_our_encoder_is_the_models(model):
    """The same numbers in fp32; in bf16 no further from them than transformers' own."""
    rounded = copy.deepcopy(model).bfloat16().eval()
    for ids, mask in (
        prompts(5, seed=11, longest=40),
        (torch.arange(2, 16).view(2, 7), torch.ones(2, 7).long()),
    ):
        with t5_layers.inference(model):
            true, ours, ours_rounded, theirs_rounded = (
                states[mask.bool()].float()
                for states in (
                    model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state,
                    t5_layers.encode(model, ids, mask),
                    t5_layers.encode(rounded, ids, mask),
                    rounded.encoder(input_ids=ids, attention_mask=mask).last_hidden_state,
                )
            )
        torch.testing.assert_close(ours, true, rtol=1e-4, atol=1e-5)
        assert (ours_rounded - true).norm() < 1.2 * (theirs_rounded - true).norm()


@pytest.mark.parametrize("rows", [3, 64])
def test_bfloat16_products_where_the_cpu_is_slow_at_them(monkeypatch, rows):
    monkeypatch.setattr(t5_layers, "slow_bfloat16", lambda: True)
    x, weight = torch.randn(rows, 40).bfloat16(), torch.randn(30, 40).bfloat16()
    out = t5_layers.matmul(x, weight)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), x.float() @ weight.float().T, rtol=0.02, atol=0.05)


def test_a_module_that_is_no_plain_linear_is_called():
    """LoRA and quantised layers keep their weights elsewhere: theirs must not be bypassed."""

    class Doubled(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = make_model(True, seed=4)
    inside = model.encoder.block[0].layer[0].SelfAttention
    twin, plain = Doubled(32, 32, bias=False), inside.v
    twin.weight = plain.weight
    inside.v = twin
    ids, mask = prompts(3)
    with t5_layers.inference(model):
        ours = t5_layers.encode(model, ids, mask)[mask.bool()]
        torch.testing.assert_close(
            ours, model.encoder(ids, mask).last_hidden_state[mask.bool()], rtol=1e-4, atol=1e-4
        )
        inside.v = plain
        assert (ours - t5_layers.encode(model, ids, mask)[mask.bool()]).abs().max() > 0.01
