"""Text generation with a model: prompts in, texts out, decoded with options chosen on validation rows.

The options are saved in the model's ``p5t5.json``, so that `p5t5 query` and `Recommender` decode with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
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

UNSPEAKABLE = re.compile(r"^▁?<(item|user|extra_id)_")  # pieces that no text may contain

ARTIFACT = "text_decoding"  # among the fitted artifacts of a checkpoint

NGRAMS_FILE = "item_ngrams.parquet"  # a file of it

GREEDY = TextOptions()


class Writer:
    """Generates texts with a model; ``forbidden``: token ids that no text may contain (identifiers, sentinels)."""

    def __init__(self, tokenizer: Any, token_budget: int = 8192) -> None:
        self.tokenizer, self.token_budget = tokenizer, token_budget

    @cached_property
    def forbidden(self) -> list[int]:
        return [token for piece, token in self.tokenizer.get_vocab().items() if UNSPEAKABLE.match(piece)]

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool [vocabulary]: the tokens that do not continue a word: ``▁word``, punctuation, ``</s>``."""
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
        ngrams: ItemNgrams | None = None,
        items: np.ndarray | None = None,
    ) -> list[str]:
        """The answer to each rendered prompt. It contains the words of the hint, where there is one ("": none), and begins
        with none of ``never_first`` (`answers_of_other_tasks`).

        ``ngrams`` and ``items``, int [prompts], the item of each prompt (−1: none), are used by ``options.item_weight``.
        """
        texts = [""] * len(inputs)
        for rows, samples in self.sample(model, inputs, options, hints, never_first):
            items_of_batch = None if items is None else items[rows]
            texts_of_batch = self.select(samples, options.item_weight, ngrams, items_of_batch)
            for row, text in zip(rows.tolist(), texts_of_batch, strict=True):
                texts[row] = text
        return texts

    def sample(
        self,
        model: Any,
        inputs: Ragged,
        options: TextOptions,
        hints: Sequence[str] | None = None,
        never_first: Sequence[int] = (),
    ) -> Iterator[tuple[np.ndarray, list[list[list[int]]]]]:
        """(row numbers int64 [B], all samples of each prompt as token ids), batch by batch; arguments as in `write`."""
        tokens = None if hints is None else text_tokens(self.tokenizer, hints)
        device = next(model.parameters()).device
        sampling = {name: value for name, value in asdict(options).items() if name != "item_weight"}
        for rows, ids, mask in padded_batches(inputs, self.token_budget // options.samples, device):
            wanted = None
            if tokens is not None:
                wanted = RequiredTokens([hint[hint >= 0].tolist() for hint in tokens[rows]], self.word_starts)
            yield (
                rows,
                draw_texts(
                    model,
                    ids,
                    mask,
                    forbid=self.forbidden,
                    wanted=wanted,
                    never_first=never_first,
                    **sampling,
                ),
            )

    def select(
        self,
        samples: Sequence[Sequence[Sequence[int]]],
        item_weight: float = 0.0,
        ngrams: ItemNgrams | None = None,
        items: np.ndarray | None = None,
    ) -> list[str]:
        """The text of the sample of each prompt chosen by MBR: the one most similar to the other samples and, with
        weight ``item_weight``, to the n-grams of its item.
        """
        chosen = []
        for row, answers in enumerate(samples):
            similarity_to_item = None
            if item_weight and ngrams is not None and len(answers) > 1:
                similarity_to_item = ngrams.expected_f1(-1 if items is None else int(items[row]), answers)
            chosen.append(answers[mbr_choice(answers, similarity_to_item, item_weight)])
        return [text.strip() for text in self.tokenizer.batch_decode(chosen, skip_special_tokens=True)]


def required_words(examples: Examples) -> list[str] | None:
    """The words that each text must contain; None where the task gives no hint."""
    hint = TASKS[examples.task].hint
    if not hint or hint not in examples.columns:
        return None
    elements = examples.columns[hint].elements
    return [" ".join(examples.texts[index] for index in elements[row]) for row in range(len(examples))]


def answers_of_other_tasks(task: str, tokenizer: Any, ratings: Sequence[float] | np.ndarray) -> list[int]:
    """Token ids that no text of the task may begin with: each is the complete answer of another task (a rating, yes).

    A model that does not know a prompt may mistake it for another task's. Items and ratings are decoded among
    items and ratings only; this restricts texts to texts. Empty where a rating belongs before the text.
    """
    if TASKS[task].decoding is not Decoding.TEXT:
        return []
    words = [*(WORDS[word] for word in (YES, NO, LIKE, DISLIKE)), *(f"{value:g}" for value in ratings)]
    ids = text_tokens(tokenizer, words)
    return [int(first) for first, *rest in ids.tolist() if all(token < 0 for token in rest)]


def describe_decoding(options: TextOptions) -> str:
    """A description of how text is decoded: "consensus of 32, temperature 0.6". Result rows hold it."""
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
    """Task → how its text is decoded, as chosen for this model; empty where nothing was chosen."""
    artifact = checkpoint.fitted.get(ARTIFACT)
    if artifact is None:
        return {}
    return {task: TextOptions(**saved["options"]) for task, saved in artifact.settings["tasks"].items()}


def saved_item_ngrams(checkpoint: Checkpoint) -> dict[str, ItemNgrams]:
    """Slot → the n-gram counts of items, where a task's chosen decoding uses them."""
    artifact = checkpoint.fitted.get(ARTIFACT)
    if artifact is None or NGRAMS_FILE not in artifact.files:
        return {}
    table = ItemNgramTable(artifact.files[NGRAMS_FILE], artifact.settings["lengths"])
    return {slot: table.read(slot, checkpoint.catalogue.item_ids) for slot in table.lengths}
