"""A model's words: prompts in, texts out; and the choice of how they are decoded, made on validation rows.

The choice is kept in the model's ``p5t5.json``, so that `p5t5 query` and `Recommender` decode as it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.core.ragged import Ragged
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.text_generation import RequiredTokens, TextOptions, draw_texts, mbr_choice
from p5t5.inference.item_phrases import ItemNgrams, ItemNgramTable
from p5t5.tasks.base import DISLIKE, LIKE, NO, WORDS, YES, Decoding, Examples
from p5t5.tasks.registry import TASKS
from p5t5.text.tokenizer import text_tokens

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint

UNSPEAKABLE = re.compile(r"^▁?<(item|user|extra_id)_")

KEY = "text_decoding"  # among the fitted artefacts of a checkpoint

ITEM_NGRAMS = "item_ngrams.parquet"  # a file of it

GREEDY = TextOptions()


class Writer:
    """Lets a model write; ``forbidden``: token ids that no text holds (identifiers, sentinels)."""

    def __init__(self, tokenizer: Any, token_budget: int = 8192) -> None:
        self.tokenizer, self.token_budget = tokenizer, token_budget

    @cached_property
    def forbidden(self) -> list[int]:
        return [n for piece, n in self.tokenizer.get_vocab().items() if UNSPEAKABLE.match(piece)]

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool [vocabulary]: the tokens that do not go on with a word: ``▁word``, punctuation, ``</s>``."""
        pieces = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        inside = [piece[:1].isalnum() or piece.startswith(("_", "<0x")) for piece in pieces]
        return ~np.array(inside, bool)

    def write(
        self,
        model: Any,
        inputs: Ragged,
        options: TextOptions = GREEDY,
        hints: Sequence[str] | None = None,
        never_first: Sequence[int] = (),
        phrases: ItemNgrams | None = None,
        items: np.ndarray | None = None,
    ) -> list[str]:
        """The answer to each rendered prompt; it holds the hint, where there is one ("": none), and begins
        with none of ``never_first`` (`answers_of_other_tasks`).

        ``phrases``, and ``items``: int [prompts], which item each is about, −1 for none: for ``options.item_weight``.
        """
        texts = [""] * len(inputs)
        for rows, drawn in self.draw(model, inputs, options, hints, never_first):
            asked = None if items is None else items[rows]
            found = self.select(drawn, options.item_weight, phrases, asked)
            for row, text in zip(rows.tolist(), found, strict=True):
                texts[row] = text
        return texts

    def draw(
        self,
        model: Any,
        inputs: Ragged,
        options: TextOptions,
        hints: Sequence[str] | None = None,
        never_first: Sequence[int] = (),
    ) -> Iterator[tuple[np.ndarray, list[list[list[int]]]]]:
        """(prompts' numbers, all the answers to each, as tokens), batch by batch; see `write`."""
        tokens = None if hints is None else text_tokens(self.tokenizer, hints)
        device = next(model.parameters()).device
        drawing = {name: value for name, value in asdict(options).items() if name != "item_weight"}
        for rows, ids, mask in padded_batches(inputs, self.token_budget // options.samples, device):
            wanted = None
            if tokens is not None:
                wanted = RequiredTokens([own[own >= 0].tolist() for own in tokens[rows]], self.word_starts)
            yield (
                rows,
                draw_texts(
                    model, ids, mask, forbid=self.forbidden, wanted=wanted, never_first=never_first, **drawing
                ),
            )

    def select(
        self,
        drawn: Sequence[Sequence[Sequence[int]]],
        share: float = 0.0,
        phrases: ItemNgrams | None = None,
        items: np.ndarray | None = None,
    ) -> list[str]:
        """The text of the answer to each prompt that the others of it and, for ``share``, ``phrases`` agree with."""
        chosen = []
        for row, answers in enumerate(drawn):
            told = None
            if share and phrases is not None and len(answers) > 1:
                told = phrases.expected_f1(-1 if items is None else int(items[row]), answers)
            chosen.append(answers[mbr_choice(answers, told, share)])
        return [text.strip() for text in self.tokenizer.batch_decode(chosen, skip_special_tokens=True)]


def required_words(examples: Examples) -> list[str] | None:
    """What each text must speak of; None where the task gives no hint."""
    hint = TASKS[examples.task].hint
    if not hint or hint not in examples.columns:
        return None
    elements = examples.columns[hint].elements
    return [" ".join(examples.texts[place] for place in elements[row]) for row in range(len(examples))]


def answers_of_other_tasks(task: str, tokenizer: Any, ratings: Sequence[float] | np.ndarray) -> list[int]:
    """Tokens that no text of the task begins with: each is the whole answer of another task (a rating, yes).

    A model that does not know a wording may take it for another task's; items and ratings are picked among
    items and ratings, and so a text is among texts. Empty where a rating belongs before the text.
    """
    if TASKS[task].decoding is not Decoding.TEXT:
        return []
    words = [*(WORDS[word] for word in (YES, NO, LIKE, DISLIKE)), *(f"{value:g}" for value in ratings)]
    ids = text_tokens(tokenizer, words)
    return [int(first) for first, *rest in ids.tolist() if all(token < 0 for token in rest)]


def describe_decoding(options: TextOptions) -> str:
    """How text is decoded, for people: "consensus of 32, temperature 0.6"."""
    parts = ["greedy"] if not options.sample else ["sampled"]
    if options.samples > 1:
        parts = [f"consensus of {options.samples}"]
    if options.num_beams > 1:
        parts.append(f"{options.num_beams} beams")
    if options.sample:
        parts.append(f"temperature {options.temperature:g}")
        parts += [f"top_p {options.top_p:g}"] if options.top_p < 1 else []
    parts += [f"hint +{options.wanted_bonus:g}"] if options.wanted_bonus else []
    parts += [f"what is said of the item {options.item_weight:g}"] if options.item_weight else []
    return ", ".join(parts)


def saved_options(checkpoint: Checkpoint) -> dict[str, TextOptions]:
    """Task → how its text is decoded, as was chosen for this model; empty where nothing was."""
    kept = checkpoint.fitted.get(KEY)
    if kept is None:
        return {}
    return {task: TextOptions(**one["options"]) for task, one in kept.settings["tasks"].items()}


def saved_item_ngrams(checkpoint: Checkpoint) -> dict[str, ItemNgrams]:
    """Slot → what training texts say of items, where a task's decoding was chosen to look at it."""
    kept = checkpoint.fitted.get(KEY)
    if kept is None or ITEM_NGRAMS not in kept.files:
        return {}
    table = ItemNgramTable(kept.files[ITEM_NGRAMS], kept.settings["lengths"])
    return {slot: table.read(slot, checkpoint.catalogue.item_ids) for slot in table.lengths}


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
