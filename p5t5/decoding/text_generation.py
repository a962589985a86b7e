"""Free text token by token, greedy or sampled: the encoder and its projections once, answers that have
ended leave the batch. Beams go to transformers' `generate`, which the greedy path equals token for token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from p5t5.decoding.t5_layers import encode, inference
from p5t5.decoding.tree_decoder import NEVER, TreeDecoder, remember, token_logits


@dataclass(frozen=True)
class TextOptions:
    """How free text is decoded; the names are transformers'. ``sample``: draw instead of the best token."""

    max_new_tokens: int = 48
    min_new_tokens: int = 0
    num_beams: int = 1
    no_repeat_ngram_size: int = 3
    repetition_penalty: float = 1.0
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


def generate(
    model, input_ids: Tensor, attention_mask: Tensor, options: TextOptions, forbid: Sequence[int]
) -> list[list[int]]:
    """Token ids of each answer without start, padding and ``</s>``; ``forbid``: ids that must not appear."""
    run = _by_beams if options.num_beams > 1 else _token_by_token
    with inference(model):
        tokens = run(model, input_ids, attention_mask, options, [int(token) for token in forbid])
    eos, pad = int(model.config.eos_token_id), int(model.config.pad_token_id)
    texts = []
    for row in tokens[:, 1:].tolist():
        row = row[: row.index(eos)] if eos in row else row
        texts.append([token for token in row if token != pad])
    return texts


def _by_beams(
    model, input_ids: Tensor, attention_mask: Tensor, options: TextOptions, forbid: list[int]
) -> Tensor:
    from transformers.modeling_outputs import BaseModelOutput

    drawing = {"temperature": options.temperature, "top_p": options.top_p} if options.sample else {}
    if options.sample and options.seed is not None:
        torch.manual_seed(options.seed)
    return model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=encode(model, input_ids, attention_mask)),
        attention_mask=attention_mask,
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens or None,
        num_beams=options.num_beams,
        no_repeat_ngram_size=options.no_repeat_ngram_size or None,
        repetition_penalty=options.repetition_penalty,
        suppress_tokens=forbid or None,
        do_sample=options.sample,
        **drawing,
    )


def _token_by_token(
    model, input_ids: Tensor, attention_mask: Tensor, options: TextOptions, forbid: list[int]
) -> Tensor:
    """long [B, 1 + tokens]: the start token, the answer, padding behind ``</s>``."""
    eos, pad = int(model.config.eos_token_id), int(model.config.pad_token_id)
    rows, steps = len(input_ids), options.max_new_tokens
    device = input_ids.device
    start = int(model.config.decoder_start_token_id)
    tokens = torch.full((rows, 1 + steps), pad, device=device)
    tokens[:, 0] = start
    generator = None
    if options.seed is not None:
        generator = torch.Generator(device).manual_seed(options.seed)
    banned = torch.tensor(forbid, dtype=torch.long, device=device)
    decoder = TreeDecoder(model, remember(model, input_ids, attention_mask), steps)
    going = torch.arange(rows, device=device)  # the rows of ``tokens`` that the decoder still holds
    hidden = decoder.start()
    for step in range(steps):
        past = tokens[going, : step + 1]
        logits = token_logits(model, hidden, slice(None))[:, 0]
        logits = _without_repetition(logits, past, options)
        logits[:, banned] = NEVER
        if step < options.min_new_tokens:
            logits[:, eos] = NEVER
        chosen = _draw(logits, options, generator) if options.sample else logits.argmax(-1)
        tokens[going, step + 1] = chosen
        left = chosen != eos
        if step + 1 == steps or not bool(left.any()):
            break
        # an ended row costs a step's work until it leaves, leaving costs a copy of all that stays
        if int(left.sum()) <= 0.75 * len(going):
            going, chosen = going[left], chosen[left]
            decoder.keep(left.nonzero()[:, 0])
        hidden = decoder.step(chosen[:, None], torch.zeros_like(chosen)[:, None])
    ended = ((tokens == eos).cumsum(1) - (tokens == eos).long()) > 0
    return tokens.masked_fill_(ended, pad)


def _without_repetition(logits: Tensor, past: Tensor, options: TextOptions) -> Tensor:
    """Bars tokens that would repeat an n-gram, and makes used tokens less likely (CTRL's penalty)."""
    if options.repetition_penalty != 1.0:
        used = logits.gather(1, past)
        used = torch.where(used < 0, used * options.repetition_penalty, used / options.repetition_penalty)
        logits = logits.scatter(1, past, used)
    size = options.no_repeat_ngram_size
    if size and past.shape[1] >= size:
        seen = past.unfold(1, size, 1)  # [B, n-grams, size]
        opening = past[:, past.shape[1] - size + 1 :][:, None]
        row, place = (seen[..., :-1] == opening).all(-1).nonzero(as_tuple=True)
        logits[row, seen[row, place, -1]] = NEVER
    return logits


def _draw(logits: Tensor, options: TextOptions, generator: torch.Generator | None) -> Tensor:
    """One token a row by temperature and nucleus: the fewest tokens whose probability reaches ``top_p``."""
    probability = (logits / options.temperature).softmax(-1)
    if options.top_p < 1.0:
        ranked, order = probability.sort(-1, descending=True)
        ranked[ranked.cumsum(-1) - ranked >= options.top_p] = 0.0
        probability = torch.zeros_like(probability).scatter_(1, order, ranked)
    return torch.multinomial(probability, 1, generator=generator)[:, 0]
