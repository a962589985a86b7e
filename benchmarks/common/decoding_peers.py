"""What our decoding is measured against, in our own words and as fast as each design allows.

P1: transformers' beam search with a dict trie. P2: OpenP5's evaluation loop around it. P5: GRID's check
of every candidate prefix against every row of the catalogue. And two ways to score candidates without a
tree: a forward per candidate, and a decoder pass per candidate over encoder states computed once.
"""

from __future__ import annotations

import numpy as np
import torch

PAD, EOS = 0, 1


class DictTrie:
    """Nested dicts, token → children: what most projects use."""

    def __init__(self, rows) -> None:
        self.root: dict = {}
        for row in rows:
            node = self.root
            for token in row:
                node = node.setdefault(token, {})

    def __call__(self, batch_id: int, prefix: torch.Tensor) -> list[int]:
        """As ``prefix_allowed_tokens_fn``; the pad token at the end of a path keeps `generate` from raising."""
        node = self.root
        for token in prefix.tolist()[1:]:
            node = node.get(token, {})
        return list(node) or [PAD]


def generate_items(model, ids, mask, trie: DictTrie, k: int, levels: int, scores: str, scored: bool = False):
    """P1: (token rows [B, k, levels], scores [B, k] if ``scored``); ``levels`` steps, so that ``</s>`` is not generated."""
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            num_beams=k,
            num_return_sequences=k,
            prefix_allowed_tokens_fn=trie,
            max_new_tokens=levels,
            renormalize_logits=scores == "trie",
            length_penalty=0.0,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=scored,
        )
    values = out.sequences_scores.view(len(ids), k).float().numpy() if scored else None
    return out.sequences[:, 1:].view(len(ids), k, -1).numpy(), values


def evaluation_loop(
    model, tokenizer, prompts: list[str], gold: list[str], trie: DictTrie, k: int, levels: int, batch: int
):
    """P2: string prompts tokenised per batch in the order of the data, `generate` down to ``</s>``, answers
    decoded to strings and compared with the true one. Returns the 0/1 relevance rows [users, k] and the
    answers, best first."""
    relevance, ranked = [], []
    for at in range(0, len(prompts), batch):
        inputs = tokenizer(prompts[at : at + batch], return_tensors="pt", padding=True)
        with torch.inference_mode():
            out = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=levels + 1,
                prefix_allowed_tokens_fn=trie,
                num_beams=k,
                num_return_sequences=k,
                length_penalty=0.0,
                do_sample=False,
                output_scores=True,
                return_dict_in_generate=True,
            )
        answers = tokenizer.batch_decode(out.sequences, skip_special_tokens=True)
        for user, truth in enumerate(gold[at : at + batch]):
            own = answers[user * k : (user + 1) * k]
            ordered = sorted(
                zip(own, out.sequences_scores[user * k : (user + 1) * k].tolist(), strict=True),
                key=lambda p: -p[1],
            )
            relevance.append([float(answer == truth) for answer, _ in ordered])
            ranked.append([answer for answer, _ in ordered])
    return np.array(relevance), ranked


def candidates_naive(model, ids, mask, identifiers: torch.Tensor) -> np.ndarray:
    """[candidates]: one user's log-probabilities, the whole model run once per candidate (as one batch)."""
    count = len(identifiers)
    with torch.inference_mode():
        out = model(
            input_ids=ids.expand(count, -1),
            attention_mask=mask.expand(count, -1),
            decoder_input_ids=_shifted(identifiers),
        )
    return _sum_log_probabilities(out.logits, identifiers)


def candidates_encode_once(model, ids, mask, identifiers: torch.Tensor) -> np.ndarray:
    """The same with one encoder pass, its states repeated for every candidate."""
    from transformers.modeling_outputs import BaseModelOutput

    count = len(identifiers)
    with torch.inference_mode():
        states = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        out = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.expand(count, -1, -1)),
            attention_mask=mask.expand(count, -1),
            decoder_input_ids=_shifted(identifiers),
        )
    return _sum_log_probabilities(out.logits, identifiers)


def _shifted(identifiers: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(identifiers[:, :1]), identifiers[:, :-1]], 1)


def _sum_log_probabilities(logits: torch.Tensor, identifiers: torch.Tensor) -> np.ndarray:
    logp = logits.float().log_softmax(-1).gather(2, identifiers[..., None])
    return logp.sum((1, 2)).numpy()


def valid_prefixes(catalogue: torch.Tensor, prefixes: torch.Tensor) -> torch.Tensor:
    """P5: bool [prefixes]: whether any row of the catalogue [items, levels] begins so; all rows are compared."""
    width = prefixes.shape[1]
    found = [(catalogue[:, :width] == prefix).all(1).any() for prefix in prefixes]
    return torch.stack(found)
