"""Free text token by token, greedy or sampled: the encoder and its projections once, answers that have
ended leave the batch. Beams go to transformers' `generate`, which the greedy path equals token for token.

Greedy text tends to one safe sentence for everybody, and a single sample to nonsense. Of many samples the
one that the others are most like is neither (`consensus`), and what must be said can be asked for (`Wanted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from p5t5.decoding.t5_layers import encode, inference
from p5t5.decoding.tree_decoder import NEVER, TreeDecoder, remember, token_logits
from p5t5.errors import UserError
from p5t5.ragged import Ragged


@dataclass(frozen=True)
class TextOptions:
    """How free text is decoded; the names are transformers'. ``sample``: draw instead of the best token.

    ``samples``: of so many draws the one that agrees best with the others is the answer. ``wanted_bonus``:
    added to the logit of the first wanted token until it is said; more says it earlier. ``item_share``: of a sample's
    gain, what is told of the item instead of by the other samples (`consensus`).
    """

    max_new_tokens: int = 48
    min_new_tokens: int = 0
    num_beams: int = 1
    no_repeat_ngram_size: int = 3
    repetition_penalty: float = 1.0
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    samples: int = 1
    wanted_bonus: float = 0.0
    item_share: float = 0.0

    def __post_init__(self) -> None:
        if self.samples > 1 and (not self.sample or self.num_beams > 1):
            raise UserError(f"samples={self.samples} are drawn: set sample=True, and leave num_beams at 1")


@dataclass(frozen=True)
class Wanted:
    """Tokens that each answer must hold, in order and together.

    ``tokens``: a list a prompt, empty where nothing is wanted. ``word_starts``: bool [vocabulary], the
    tokens that do not continue a word; one of them, or the end, follows the wanted ones.
    """

    tokens: Sequence[Sequence[int]]
    word_starts: np.ndarray


def draw(
    model,
    input_ids: Tensor,
    attention_mask: Tensor,
    options: TextOptions,
    forbid: Sequence[int],
    wanted: Wanted | None = None,
    never_first: Sequence[int] = (),
) -> list[list[list[int]]]:
    """The answers to each prompt, ``options.samples`` of them: token ids without start, padding and ``</s>``.

    ``forbid``: ids that must not appear, ``never_first``: those that must not begin an answer.
    """
    barred, unfit = [int(token) for token in forbid], [int(token) for token in never_first]
    if wanted is not None and options.num_beams > 1:
        raise UserError("beams can't be made to say what is wanted: leave num_beams at 1")
    with inference(model):
        if options.num_beams > 1:
            tokens = _by_beams(model, input_ids, attention_mask, options, barred, unfit)
        else:
            tokens = _token_by_token(model, input_ids, attention_mask, options, barred, unfit, wanted)
    eos, pad = int(model.config.eos_token_id), int(model.config.pad_token_id)
    texts = []
    for row in tokens[:, 1:].tolist():
        row = row[: row.index(eos)] if eos in row else row
        texts.append([token for token in row if token != pad])
    return [texts[at : at + options.samples] for at in range(0, len(texts), options.samples)]


def consensus(answers: Sequence[Sequence[int]], told: np.ndarray | None = None, share: float = 0.0) -> int:
    """The place of the answer that is most like the others; ties go to the first.

    Minimum Bayes risk (Kumar and Byrne 2004; Eikema and Aziz 2020): the samples stand for what people
    might have written, and the gain is the mean F1 of tokens and of pairs with each of the others, times BLEU's
    penalty for what is shorter than they are on average (Papineni et al. 2002): what is short agrees easily.
    ``told``: float [answers], such a gain from elsewhere, which counts for ``share`` of it.
    """
    if len(answers) == 1:
        return 0
    gain = np.zeros(len(answers))
    for size in (1, 2):
        gain += _agreement([_runs(answer, size) for answer in answers]) / (len(answers) - 1)
    if told is not None:
        gain = (1 - share) * gain + share * told
    lengths = np.array([len(answer) for answer in answers])
    brevity = np.exp(np.minimum(1 - lengths.mean() / np.maximum(lengths, 0.5), 0))
    return int(np.argmax(np.round(gain * brevity, 9)))


def _runs(answer: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return list(zip(*(answer[at:] for at in range(size)), strict=False))


def _agreement(grams: Sequence[Sequence[tuple[int, ...]]]) -> np.ndarray:
    """float64 [answers]: the sum of the F1 with each other answer."""
    number: dict[tuple[int, ...], int] = {}
    places = [[number.setdefault(gram, len(number)) for gram in own] for own in grams]
    counts = np.stack([np.bincount(np.array(own, np.int64), minlength=max(len(number), 1)) for own in places])
    shared = np.minimum(counts[:, None], counts[None]).sum(-1)
    both = counts.sum(1)[:, None] + counts.sum(1)
    f1 = 2 * shared / np.maximum(both, 1)
    np.fill_diagonal(f1, 0.0)
    return f1.sum(1)


def _by_beams(
    model,
    input_ids: Tensor,
    attention_mask: Tensor,
    options: TextOptions,
    forbid: list[int],
    never_first: list[int],
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
        begin_suppress_tokens=never_first or None,
        do_sample=options.sample,
        **drawing,
    )


def _token_by_token(
    model,
    input_ids: Tensor,
    attention_mask: Tensor,
    options: TextOptions,
    forbid: list[int],
    never_first: list[int],
    wanted: Wanted | None = None,
) -> Tensor:
    """long [B × samples, 1 + tokens]: the start token, the answer, padding behind ``</s>``."""
    eos, pad = int(model.config.eos_token_id), int(model.config.pad_token_id)
    rows, steps = len(input_ids) * options.samples, options.max_new_tokens
    device = input_ids.device
    start = int(model.config.decoder_start_token_id)
    tokens = torch.full((rows, 1 + steps), pad, device=device)
    tokens[:, 0] = start
    generator = None
    if options.seed is not None:
        generator = torch.Generator(device).manual_seed(options.seed)
    banned = torch.tensor(forbid, dtype=torch.long, device=device)
    memory = remember(model, input_ids, attention_mask)
    if options.samples > 1:
        memory = memory.rows(torch.arange(len(input_ids), device=device).repeat_interleave(options.samples))
    steering = (
        None if wanted is None else _Steering(wanted, options, model.lm_head.weight.shape[0], eos, device)
    )
    decoder = TreeDecoder(model, memory, steps)
    going = torch.arange(rows, device=device)  # the rows of ``tokens`` that the decoder still holds
    hidden = decoder.start()
    for step in range(steps):
        past = tokens[going, : step + 1]
        logits = token_logits(model, hidden, slice(None))[:, 0]
        logits = _without_repetition(logits, past, options)
        logits[:, banned] = NEVER
        if step == 0:
            logits[:, never_first] = NEVER
        if step < options.min_new_tokens:
            logits[:, eos] = NEVER
        if steering is not None:
            steering.before(logits, going, steps - step)
        chosen = _draw(logits, options, generator) if options.sample else logits.argmax(-1)
        if steering is not None:
            steering.after(chosen, going)
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


class _Steering:
    """Answers come to hold what is wanted: where one would end without it, it says that instead."""

    def __init__(self, wanted: Wanted, options: TextOptions, vocabulary: int, eos: int, device) -> None:
        table = torch.from_numpy(Ragged.from_lists(wanted.tokens).padded(-1).astype(np.int64))
        none = torch.full((len(table), 1), -1)  # what comes after the last one: nothing
        self.tokens = torch.cat([table, none], 1).to(device).repeat_interleave(options.samples, 0)
        self.length = (self.tokens >= 0).sum(1)
        self.place = torch.zeros_like(self.length)  # how many of the tokens have been said
        self.just = torch.zeros_like(self.length, dtype=torch.bool)  # the last of them a step ago
        self.continuing = torch.ones(vocabulary, dtype=torch.bool)
        self.continuing[: len(wanted.word_starts)] = torch.from_numpy(~wanted.word_starts[:vocabulary])
        self.continuing[eos] = False
        self.continuing = self.continuing.to(device)
        self.bonus, self.eos = options.wanted_bonus, eos

    def before(self, logits: Tensor, going: Tensor, left: int) -> None:
        """Changes float [rows, vocabulary] in place; ``left``: steps to come, this one included."""
        row = (self.place[going] < self.length[going]).nonzero()[:, 0]
        place, length = self.place[going[row]], self.length[going[row]]
        token = self.tokens[going[row], place]
        logits[row, token] = torch.logaddexp(logits[row, token] + self.bonus, logits[row, self.eos])
        logits[row, self.eos] = NEVER
        now = (place > 0) | (left <= length)  # begun, or no room to wait
        logits[row[now]] = NEVER
        logits[row[now], token[now]] = 0.0
        said = self.just[going].nonzero()[:, 0]
        logits[said] = logits[said].masked_fill(self.continuing, NEVER)

    def after(self, chosen: Tensor, going: Tensor) -> None:
        """``chosen``: long [rows], what is said now."""
        hit = chosen == self.tokens[going, self.place[going]]
        self.place[going] += hit
        self.just[going] = hit & (self.place[going] == self.length[going])


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
    # by the inverse of the distribution: `torch.multinomial` takes 20 times as long for many rows
    reached = probability.double().cumsum_(-1)
    draw = torch.rand(len(reached), 1, dtype=reached.dtype, device=reached.device, generator=generator)
    return torch.searchsorted(reached, draw * reached[:, -1:], right=True)[:, 0].clamp_(
        max=reached.shape[1] - 1
    )
