"""Tiny random T5s, prompts and identifiers, and the slow ways to the answers that decoding must equal."""

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from p5t5.core.ragged import Ragged
from p5t5.decoding.text_generation import draw_texts, mbr_choice
from p5t5.decoding.trie import Trie

EOS, PAD, FIRST_ITEM = 1, 0, 60


def make_model(tied: bool = True, seed: int = 0, vocabulary: int = 320) -> T5ForConditionalGeneration:
    """A tiny random T5 whose probabilities are far from uniform; v1.0 (tied) or v1.1 (untied, gated)."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocabulary,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=PAD,
        feed_forward_proj="relu" if tied else "gated-gelu",
        tie_word_embeddings=tied,
        scale_decoder_outputs=tied,
    )
    model = T5ForConditionalGeneration(config)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(vocabulary, 32) * 0.3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.4)
    return model


MODELS = {"tied": make_model(True), "untied": make_model(False)}
layouts = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def prompts(users: int, seed: int = 0, longest: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    rows = Ragged.from_lists([rng.integers(2, FIRST_ITEM, n) for n in rng.integers(3, longest, users)])
    ids = torch.from_numpy(rows.padded(PAD).astype(np.int64))
    return ids, (torch.arange(ids.shape[1]) < torch.from_numpy(rows.lengths)[:, None]).long()


def identifiers(items: int, levels: int, branch: int, variable: bool = False, seed: int = 0) -> list[tuple]:
    """Distinct random identifiers; each level has its own tokens."""
    rng = np.random.default_rng(seed)
    rows: dict[tuple, None] = {}
    while len(rows) < items:
        depth = int(rng.integers(1, levels + 1)) if variable else levels
        rows[tuple(int(FIRST_ITEM + level * branch + rng.integers(branch)) for level in range(depth))] = None
    return list(rows)


def build(rows, **options) -> Trie:
    return Trie.build(Ragged.from_lists(rows).padded(-1), **options)


def generate(model, ids, mask, rows, k, scores, end):
    """(items [B][k], scores [B, k]) of transformers' beam search with a dict trie."""
    root: dict = {}
    for row in rows:
        node = root
        for token in (*row, EOS) if end else row:
            node = node.setdefault(token, {})

    def allowed(_, prefix):
        node = root
        for token in prefix.tolist()[1:]:
            node = node.get(token, {})
        return list(node) or [PAD]

    out = model.eval().generate(
        input_ids=ids,
        attention_mask=mask,
        num_beams=k,
        num_return_sequences=k,
        prefix_allowed_tokens_fn=allowed,
        max_new_tokens=max(map(len, rows)) + end,
        renormalize_logits=scores == "trie",
        length_penalty=0.0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    number = {row: item for item, row in enumerate(rows)}
    items = [number.get(tuple(t for t in row if t not in (PAD, EOS)), -1) for row in out.sequences.tolist()]
    value = out.sequences_scores if k > 1 else beamless_score(model, out, scores)
    return np.array(items).reshape(-1, k), value.view(-1, k).numpy()


def beamless_score(model, out, scores):
    """With one beam `generate` is greedy and gives no sequence score."""
    return model.compute_transition_scores(out.sequences, out.scores, normalize_logits=False).sum(1)


def assert_same_ranking(items, scores, other_items, other_scores, tolerance=1e-4):
    """The same scores, and the same items but where neighbours tie."""
    np.testing.assert_allclose(scores, other_scores, atol=tolerance)
    for row in range(len(items)):
        for place in np.flatnonzero(items[row] != other_items[row]):
            near = np.abs(np.delete(other_scores[row], place) - scores[row, place]).min(initial=np.inf)
            assert near < 2 * tolerance or place == len(items[row]) - 1, (row, place)


def brute_force(model, ids, mask, rows, end) -> np.ndarray:
    """[B, items]: log-probability of each identifier by one full forward an item."""
    table = np.zeros((len(ids), len(rows)), np.float64)
    model.eval()
    with torch.no_grad():
        for item, row in enumerate(rows):
            labels = torch.tensor([(*row, EOS) if end else row]).repeat(len(ids), 1)
            logits = model(input_ids=ids, attention_mask=mask, labels=labels).logits
            logp = logits.log_softmax(-1).gather(2, labels[..., None])
            table[:, item] = logp.sum((1, 2)).double().numpy()
    return table


def generate_text(model, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options) -> list[list[int]]:
    """One answer a prompt: of several the one that the others are most like."""
    drawn = draw_texts(model, input_ids, attention_mask, **options)
    return [answers[mbr_choice(answers)] for answers in drawn]
