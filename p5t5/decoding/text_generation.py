"""Free text token by token, greedy or sampled: the encoder runs once, and finished answers leave the batch.

Beams go to transformers' `generate`, which the greedy path equals token for token. Greedy decoding tends to
one safe sentence for everybody, and a single sample to nonsense; of many samples the one most similar to the
others is neither (`mbr_choice`). Required tokens can be asked for (`RequiredTokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.decoding import text_generation
from p5t5.decoding.sampling import SampleNoise, draw_columns
from p5t5.decoding.t5_layers import encode, inference, matmul
from p5t5.decoding.tree_decoder import NEVER, ROW_CHUNK, TreeDecoder, encode_prompts


def draw_texts(
    model,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    forbid: Sequence[int] | np.ndarray = (),
    wanted: RequiredTokens | None = None,
    never_first: Sequence[int] = (),
    **options,
) -> list[list[list[int]]]:
    """Free text, greedy by default: the answers to each prompt, token ids without start, padding and ``</s>``.

    ``forbid``: token ids that must not appear (identifiers, sentinels); ``wanted``: that must;
    ``never_first``: that must not begin the answer.
    ``options``: those of `TextOptions` (max_new_tokens=48, min_new_tokens=0, num_beams=1,
    no_repeat_ngram_size=3, repetition_penalty=1.0, sample=False, temperature=1.0, top_p=1.0, seed=None,
    samples=1, wanted_bonus=0.0); ``samples`` answers a prompt.
    """
    return text_generation.generate(
        model, input_ids, attention_mask, TextOptions(**options), list(forbid), wanted, never_first
    )


@dataclass(frozen=True)
class TextOptions:
    """How free text is decoded; the names are transformers'. ``sample``: draw instead of the best token.

    ``samples``: of so many draws the one that agrees best with the others is the answer. ``wanted_bonus``:
    added to the logit of the first wanted token until it is said; more says it earlier. ``item_weight``: of a sample's
    gain, what is told of the item instead of by the other samples (`mbr_choice`).
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
    item_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.samples > 1 and (not self.sample or self.num_beams > 1):
            raise UserError(f"samples={self.samples} are drawn: set sample=True, and leave num_beams at 1")


@dataclass(frozen=True)
class RequiredTokens:
    """Tokens that each answer must hold, in order and together.

    ``tokens``: a list a prompt, empty where nothing is wanted. ``word_starts``: bool [vocabulary], the
    tokens that do not continue a word; one of them, or the end, follows the wanted ones.
    """

    tokens: Sequence[Sequence[int]]
    word_starts: np.ndarray


def generate(
    model,
    input_ids: Tensor,
    attention_mask: Tensor,
    options: TextOptions,
    forbid: Sequence[int],
    wanted: RequiredTokens | None = None,
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


def mbr_choice(answers: Sequence[Sequence[int]], told: np.ndarray | None = None, share: float = 0.0) -> int:
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
    shared = np.zeros((len(grams), len(grams)))
    for times in range(1, counts.max(initial=0) + 1):  # min(a, b) is how many of 1, 2, … neither is below
        often = (counts >= times).astype(np.float32)
        shared += often @ often.T
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
    wanted: RequiredTokens | None = None,
) -> Tensor:
    """long [B × samples, 1 + tokens]: the start token, the answer, padding behind ``</s>``."""
    eos, pad = int(model.config.eos_token_id), int(model.config.pad_token_id)
    rows, steps = len(input_ids) * options.samples, options.max_new_tokens
    device = input_ids.device
    start = int(model.config.decoder_start_token_id)
    tokens = torch.full((rows, 1 + steps), pad, device=device)
    tokens[:, 0] = start
    luck = SampleNoise(input_ids, attention_mask, options.samples, options.seed) if options.sample else None
    head = _Head(model, forbid, never_first)
    memory = encode_prompts(model, input_ids, attention_mask)
    if options.samples > 1:
        memory = memory.repeated(options.samples)
    steering = None if wanted is None else _Steering(wanted, options, head)
    decoder = TreeDecoder(model, memory, steps)
    going = torch.arange(rows, device=device)  # the rows of ``tokens`` that the decoder still holds
    hidden = decoder.start()
    for step in range(steps):
        falls = None if luck is None else luck.at(step, going)
        chosen = torch.empty_like(going)
        for first in range(0, len(going), ROW_CHUNK):  # the logits of a few rows at a time stay in the cache
            some = slice(first, first + ROW_CHUNK)
            logits = head.logits(hidden[some, 0])
            _without_repetition(logits, head.place[tokens[going[some], : step + 1]], options)
            if step == 0:
                logits[:, head.never_first] = NEVER
            if step < options.min_new_tokens:
                logits[:, head.eos] = NEVER
            if steering is not None:
                steering.before(logits, going[some], steps - step)
            found = (
                logits.argmax(-1)
                if falls is None
                else draw_columns(logits, falls[some], options.temperature, options.top_p)
            )
            if steering is not None:
                steering.after(found, going[some])
            chosen[some] = head.tokens[found]
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


class _Head:
    """The head at those tokens alone that a text may hold: identifiers can be more than half of the vocabulary.

    ``tokens``: long [columns], ascending; ``place``: long [vocabulary], the column of each of them, −1 for the others;
    ``eos``, ``never_first``: columns. The start token always has one: it is what is said before the first step.
    """

    def __init__(self, model, forbid: list[int], never_first: list[int]) -> None:
        weight = model.lm_head.weight
        spoken = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
        spoken[forbid] = False
        spoken[int(model.config.decoder_start_token_id)] = True
        self.tokens = spoken.nonzero()[:, 0]
        self.weight = weight[self.tokens]
        self.place = torch.full_like(spoken, -1, dtype=torch.long)
        self.place[self.tokens] = torch.arange(len(self.tokens), device=weight.device)
        self.eos = int(self.place[int(model.config.eos_token_id)])
        self.never_first = self.place[never_first]
        self.never_first = self.never_first[self.never_first >= 0]

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [rows, columns] of states [rows, d_model]."""
        return matmul(hidden, self.weight).float()


class _Steering:
    """Answers come to hold what is wanted: where one would end without it, it says that instead.

    All tokens here are columns of the head. ValueError where what is wanted is forbidden.
    """

    def __init__(self, wanted: RequiredTokens, options: TextOptions, head: _Head) -> None:
        device, vocabulary = head.place.device, len(head.place)
        table = torch.from_numpy(Ragged.from_lists(wanted.tokens).padded(-1).astype(np.int64)).to(device)
        columns = head.place[table.clamp(min=0)]
        if bool(((columns < 0) & (table >= 0)).any()):
            raise ValueError("a text is wanted to hold tokens that are forbidden")
        columns = columns.masked_fill(table < 0, -1)
        none = torch.full((len(table), 1), -1, device=device)  # what comes after the last one: nothing
        self.tokens = torch.cat([columns, none], 1).repeat_interleave(options.samples, 0)
        self.length = (self.tokens >= 0).sum(1)
        self.place = torch.zeros_like(self.length)  # how many of the tokens have been said
        self.just = torch.zeros_like(self.length, dtype=torch.bool)  # the last of them a step ago
        continuing = torch.ones(vocabulary, dtype=torch.bool)
        continuing[: len(wanted.word_starts)] = torch.from_numpy(~wanted.word_starts[:vocabulary])
        self.continuing = continuing.to(device)[head.tokens]
        self.continuing[head.eos] = False
        self.bonus, self.eos = options.wanted_bonus, head.eos

    def before(self, logits: Tensor, going: Tensor, left: int) -> None:
        """Changes float [rows, columns] in place; ``left``: steps to come, this one included."""
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


def _without_repetition(logits: Tensor, past: Tensor, options: TextOptions) -> None:
    """In place: bars tokens that would repeat an n-gram, and makes used ones less likely (CTRL's penalty)."""
    if options.repetition_penalty != 1.0:
        used = logits.gather(1, past)
        used = torch.where(used < 0, used * options.repetition_penalty, used / options.repetition_penalty)
        logits.scatter_(1, past, used)
    size = options.no_repeat_ngram_size
    if size and past.shape[1] >= size:
        seen = past.unfold(1, size, 1)  # [B, n-grams, size]
        opening = past[:, past.shape[1] - size + 1 :][:, None]
        row, place = (seen[..., :-1] == opening).all(-1).nonzero(as_tuple=True)
        logits[row, seen[row, place, -1]] = NEVER
