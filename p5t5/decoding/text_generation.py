"""Free text, greedy or sampled: the encoder runs once, and finished answers leave the batch.

Beam search is left to transformers' `generate`, which the greedy path equals token for token. Greedy decoding tends to
produce one generic sentence for everybody, and a single sample may be nonsense; the sample most similar to many
others is neither (MBR, `mbr_choice`). Tokens can be required (`RequiredTokens`).
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
    """Free text, greedy by default: the samples of each prompt, token ids without start, padding and ``</s>``.

    ``forbid``: token ids that must not appear (identifiers, sentinels); ``wanted``: tokens that must;
    ``never_first``: ids that must not begin the answer.
    ``options``: those of `TextOptions` (max_new_tokens=48, min_new_tokens=0, num_beams=1,
    no_repeat_ngram_size=3, repetition_penalty=1.0, sample=False, temperature=1.0, top_p=1.0, seed=None,
    samples=1, wanted_bonus=0.0); ``samples``: the number of samples per prompt.
    Raises UserError for options that exclude each other.
    """
    return text_generation.generate(
        model, input_ids, attention_mask, TextOptions(**options), list(forbid), wanted, never_first
    )


@dataclass(frozen=True)
class TextOptions:
    """How free text is decoded; names as in transformers. ``sample``: draw tokens instead of taking the best.

    ``samples``: draw so many and answer with the one chosen by MBR. ``wanted_bonus``:
    added to the logit of the first required token until it is generated; more brings it earlier. ``item_weight``: weight,
    in a sample's MBR gain, of its similarity to the item's texts instead of to the other samples (`mbr_choice`).
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
            raise UserError(f"samples={self.samples} needs sample=True and num_beams=1")


@dataclass(frozen=True)
class RequiredTokens:
    """Tokens that each answer must contain, consecutively and in order.

    ``tokens``: one list per prompt, empty where nothing is required. ``word_starts``: bool [vocabulary], the
    tokens that do not continue a word; one of them, or the end, follows the required ones.
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
    """The samples of each prompt, ``options.samples`` of them: token ids without start, padding and ``</s>``.

    ``forbid``: ids that must not appear; ``never_first``: ids that must not begin an answer.
    Raises UserError for required tokens with beam search.
    """
    forbidden, never_first_ids = [int(token) for token in forbid], [int(token) for token in never_first]
    if wanted is not None and options.num_beams > 1:
        raise UserError("required tokens are not supported with beam search (num_beams > 1)")
    with inference(model):
        if options.num_beams > 1:
            tokens = _by_beams(model, input_ids, attention_mask, options, forbidden, never_first_ids)
        else:
            tokens = _token_by_token(
                model, input_ids, attention_mask, options, forbidden, never_first_ids, wanted
            )
    eos, pad = int(model.config.eos_token_id), int(model.config.pad_token_id)
    texts = []
    for row in tokens[:, 1:].tolist():
        row = row[: row.index(eos)] if eos in row else row
        texts.append([token for token in row if token != pad])
    return [texts[start : start + options.samples] for start in range(0, len(texts), options.samples)]


def mbr_choice(
    answers: Sequence[Sequence[int]], item_gain: np.ndarray | None = None, item_weight: float = 0.0
) -> int:
    """The index of the answer most similar to the others; the first of equals.

    Minimum Bayes risk (Kumar and Byrne 2004; Eikema and Aziz 2020): the samples stand for what people
    might have written, and the gain is the mean F1 of unigrams and of bigrams with each of the others, times BLEU's
    brevity penalty relative to their mean length (Papineni et al. 2002), since short answers overlap easily.
    ``item_gain``: float [answers], such a gain from elsewhere, mixed in with weight ``item_weight``.
    """
    if len(answers) == 1:
        return 0
    gain = np.zeros(len(answers))
    for size in (1, 2):
        gain += _f1_with_others([_ngrams(answer, size) for answer in answers]) / (len(answers) - 1)
    if item_gain is not None:
        gain = (1 - item_weight) * gain + item_weight * item_gain
    lengths = np.array([len(answer) for answer in answers])
    brevity = np.exp(np.minimum(1 - lengths.mean() / np.maximum(lengths, 0.5), 0))
    return int(np.argmax(np.round(gain * brevity, 9)))


def _ngrams(answer: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return list(zip(*(answer[start:] for start in range(size)), strict=False))


def _f1_with_others(grams: Sequence[Sequence[tuple[int, ...]]]) -> np.ndarray:
    """float64 [answers]: the sum of the F1 of each with all others."""
    column_of: dict[tuple[int, ...], int] = {}
    columns = [[column_of.setdefault(gram, len(column_of)) for gram in answer] for answer in grams]
    counts = np.stack(
        [np.bincount(np.array(row, np.int64), minlength=max(len(column_of), 1)) for row in columns]
    )
    shared = np.zeros((len(grams), len(grams)))
    for times in range(1, counts.max(initial=0) + 1):  # min(a, b) = the number of t ≥ 1 with t ≤ a and t ≤ b
        occurs = (counts >= times).astype(np.float32)
        shared += occurs @ occurs.T
    total_lengths = counts.sum(1)[:, None] + counts.sum(1)
    f1 = 2 * shared / np.maximum(total_lengths, 1)
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

    sampling = {"temperature": options.temperature, "top_p": options.top_p} if options.sample else {}
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
        **sampling,
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
    """long [B × samples, 1 + tokens]: the start token, the answer, padding after ``</s>``."""
    eos, pad = int(model.config.eos_token_id), int(model.config.pad_token_id)
    rows, steps = len(input_ids) * options.samples, options.max_new_tokens
    device = input_ids.device
    start = int(model.config.decoder_start_token_id)
    tokens = torch.full((rows, 1 + steps), pad, device=device)
    tokens[:, 0] = start
    noise = SampleNoise(input_ids, attention_mask, options.samples, options.seed) if options.sample else None
    head = _Head(model, forbid, never_first)
    cache = encode_prompts(model, input_ids, attention_mask)
    if options.samples > 1:
        cache = cache.repeated(options.samples)
    steering = None if wanted is None else _Steering(wanted, options, head)
    decoder = TreeDecoder(model, cache, steps)
    going = torch.arange(rows, device=device)  # the rows of ``tokens`` that are still being decoded
    hidden = decoder.start()
    for step in range(steps):
        step_noise = None if noise is None else noise.at(step, going)
        chosen = torch.empty_like(going)
        for first in range(0, len(going), ROW_CHUNK):  # so that the logits of a few rows stay in the cache
            chunk = slice(first, first + ROW_CHUNK)
            logits = head.logits(hidden[chunk, 0])
            _without_repetition(logits, head.column_of[tokens[going[chunk], : step + 1]], options)
            if step == 0:
                logits[:, head.never_first] = NEVER
            if step < options.min_new_tokens:
                logits[:, head.eos] = NEVER
            if steering is not None:
                steering.before(logits, going[chunk], steps - step)
            columns = (
                logits.argmax(-1)
                if step_noise is None
                else draw_columns(logits, step_noise[chunk], options.temperature, options.top_p)
            )
            if steering is not None:
                steering.after(columns, going[chunk])
            chosen[chunk] = head.tokens[columns]
        tokens[going, step + 1] = chosen
        unfinished = chosen != eos
        if step + 1 == steps or not bool(unfinished.any()):
            break
        # a finished row costs a step's work until it is removed; removing rows copies all the others
        if int(unfinished.sum()) <= 0.75 * len(going):
            going, chosen = going[unfinished], chosen[unfinished]
            decoder.keep(unfinished.nonzero()[:, 0])
        hidden = decoder.step(chosen[:, None], torch.zeros_like(chosen)[:, None])
    ended = ((tokens == eos).cumsum(1) - (tokens == eos).long()) > 0
    return tokens.masked_fill_(ended, pad)


class _Head:
    """The head restricted to the tokens that a text may hold: identifiers can be more than half of the vocabulary.

    ``tokens``: long [columns], ascending; ``column_of``: long [vocabulary], the column of each, −1 for the others;
    ``eos``, ``never_first``: columns. The start token always has a column, since it precedes the first step.
    """

    def __init__(self, model, forbid: list[int], never_first: list[int]) -> None:
        weight = model.lm_head.weight
        allowed = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
        allowed[forbid] = False
        allowed[int(model.config.decoder_start_token_id)] = True
        self.tokens = allowed.nonzero()[:, 0]
        self.weight = weight[self.tokens]
        self.column_of = torch.full_like(allowed, -1, dtype=torch.long)
        self.column_of[self.tokens] = torch.arange(len(self.tokens), device=weight.device)
        self.eos = int(self.column_of[int(model.config.eos_token_id)])
        self.never_first = self.column_of[never_first]
        self.never_first = self.never_first[self.never_first >= 0]

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [rows, columns] from states [rows, d_model]."""
        return matmul(hidden, self.weight).float()


class _Steering:
    """Makes answers contain the required tokens: where one would end without them, it continues with them.

    All tokens here are columns of the head. Raises ValueError where a required token is forbidden.
    """

    def __init__(self, wanted: RequiredTokens, options: TextOptions, head: _Head) -> None:
        device, vocabulary = head.column_of.device, len(head.column_of)
        table = torch.from_numpy(Ragged.from_lists(wanted.tokens).padded(-1).astype(np.int64)).to(device)
        columns = head.column_of[table.clamp(min=0)]
        if bool(((columns < 0) & (table >= 0)).any()):
            raise ValueError("a required token is forbidden")
        columns = columns.masked_fill(table < 0, -1)
        none = torch.full((len(table), 1), -1, device=device)  # after the last token: nothing
        self.tokens = torch.cat([columns, none], 1).repeat_interleave(options.samples, 0)
        self.length = (self.tokens >= 0).sum(1)
        self.done = torch.zeros_like(self.length)  # how many of the tokens have been generated
        self.just = torch.zeros_like(self.length, dtype=torch.bool)  # the last of them in the step before
        continuing = torch.ones(vocabulary, dtype=torch.bool)
        continuing[: len(wanted.word_starts)] = torch.from_numpy(~wanted.word_starts[:vocabulary])
        self.continuing = continuing.to(device)[head.tokens]
        self.continuing[head.eos] = False
        self.bonus, self.eos = options.wanted_bonus, head.eos

    def before(self, logits: Tensor, going: Tensor, left: int) -> None:
        """Changes ``logits`` float [rows, columns] in place; ``left``: steps to come, including this one."""
        row = (self.done[going] < self.length[going]).nonzero()[:, 0]
        done, length = self.done[going[row]], self.length[going[row]]
        token = self.tokens[going[row], done]
        logits[row, token] = torch.logaddexp(logits[row, token] + self.bonus, logits[row, self.eos])
        logits[row, self.eos] = NEVER
        now = (done > 0) | (left <= length)  # already begun, or no room to wait
        logits[row[now]] = NEVER
        logits[row[now], token[now]] = 0.0
        said = self.just[going].nonzero()[:, 0]
        logits[said] = logits[said].masked_fill(self.continuing, NEVER)

    def after(self, chosen: Tensor, going: Tensor) -> None:
        """Records ``chosen``, long [rows], the columns generated in this step."""
        hit = chosen == self.tokens[going, self.done[going]]
        self.done[going] += hit
        self.just[going] = hit & (self.done[going] == self.length[going])


def _without_repetition(logits: Tensor, past: Tensor, options: TextOptions) -> None:
    """In place: forbids tokens that would repeat an n-gram, and makes used ones less likely (CTRL's penalty)."""
    if options.repetition_penalty != 1.0:
        used = logits.gather(1, past)
        used = torch.where(used < 0, used * options.repetition_penalty, used / options.repetition_penalty)
        logits.scatter_(1, past, used)
    size = options.no_repeat_ngram_size
    if size and past.shape[1] >= size:
        seen = past.unfold(1, size, 1)  # [B, n-grams, size]
        opening = past[:, past.shape[1] - size + 1 :][:, None]
        row, position = (seen[..., :-1] == opening).all(-1).nonzero(as_tuple=True)
        logits[row, seen[row, position, -1]] = NEVER
