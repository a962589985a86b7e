"""One predictor for evaluation and for people: examples in, plain arrays out.

It ranks, scores, chooses, rates and writes. `evaluation.judging` computes metrics from the arrays; `inference.answers` turns
them into answers for people. No attribute is set from outside: all choices are in the frozen `InferenceOptions`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.records.tables import IndexedRecords
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.ranking import Ranked, all_item_scores, rank_all, score_choices, score_items
from p5t5.decoding.text_generation import TextOptions
from p5t5.decoding.trie import Trie
from p5t5.inference.item_phrases import ItemNgrams
from p5t5.inference.rating_calibration import RatingContext, saved_rating_calibration
from p5t5.inference.text_writer import (
    GREEDY,
    Writer,
    answers_of_other_tasks,
    required_words,
    saved_item_ngrams,
    saved_options,
)
from p5t5.tasks.base import WORDS, Decoding, Examples
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True)
class InferenceOptions:
    """How a predictor answers.

    - ``token_budget``: padded tokens of a batch.
    - ``calibrated``: ratings and likes are blended with the fitted prior, where the checkpoint has one.
    - ``fitted_decoding``: text is decoded with the options chosen for the checkpoint; otherwise greedily.
    """

    token_budget: int = 8192
    calibrated: bool = True
    fitted_decoding: bool = True


class Predictor:
    """Answers examples with a checkpoint's model.

    ``data``: the data whose user numbers the examples have; None: the checkpoint's own numbering. ``item_ngrams``: by slot,
    n-gram counts of training texts in addition to those that the checkpoint stores (see `item_phrases`).
    Raises UserError where ``data`` has another catalogue.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        data: IndexedRecords | None = None,
        options: InferenceOptions | None = None,
        item_ngrams: Mapping[str, ItemNgrams] | None = None,
    ) -> None:
        self.options = options or InferenceOptions()
        self.model: Any = checkpoint.model
        self.tokenizer, self.prompts = checkpoint.tokenizer, checkpoint.prompts
        self.renderer = checkpoint.renderer if data is None else checkpoint.renderer_for(data)
        self.trie, self.titles = checkpoint.catalogue.trie, checkpoint.catalogue.titles
        self.rating_values = checkpoint.rating_values
        self.calibrators = saved_rating_calibration(checkpoint) if self.options.calibrated else {}
        self.text_options = saved_options(checkpoint) if self.options.fitted_decoding else {}
        self.item_ngrams = {**saved_item_ngrams(checkpoint), **(item_ngrams or {})}
        self._writer = Writer(self.tokenizer, self.options.token_budget)

    def with_model(self, model: Any) -> Predictor:
        """The same predictor with other weights, for validation while a model trains."""
        other = copy.copy(self)
        other.model = model
        return other

    def encode(self, examples: Examples, prompt_index: np.ndarray) -> Ragged:
        """Ragged int32: the rendered prompts, one per example; ``prompt_index`` int [n] into the prompts."""
        return self.renderer.encode_inputs(examples, prompt_index)

    # -- items

    def rank(
        self,
        inputs: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        allow: Ragged | np.ndarray | None = None,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Ranked:
        """The k best items of the catalogue for each input, padded with −1: int64 and float32 [n, k].

        ``exclude``: Ragged of n rows, items never to rank; ``allow``: rank only these, int for all inputs or Ragged of n rows.
        ``progress`` gets the number of inputs just done.
        """
        return rank_all(
            self.model,
            inputs,
            self.trie,
            k,
            exclude=exclude,
            allow=allow,
            token_budget=token_budget or self.options.token_budget,
            progress=progress,
        )

    def score(self, inputs: Ragged, candidates: Ragged) -> Ragged:
        """Ragged float32: the log-probability of each candidate item, in the order of ``candidates``."""
        scores = np.empty(len(candidates.values), np.float32)
        for rows, ids, mask in self._batches(inputs):
            part = score_items(self.model, ids, mask, self.trie, candidates.take(rows))
            for position, row in enumerate(rows.tolist()):
                scores[candidates.offsets[row] : candidates.offsets[row + 1]] = part[position]
        return Ragged(scores, candidates.offsets)

    # -- choices and ratings

    def answer_scores(self, examples: Examples, inputs: Ragged, prompt_index: np.ndarray) -> np.ndarray:
        """float32 [n, answers]: the model's own log-probabilities of the task's choices, or of the rating values."""
        words = [WORDS[choice] for choice in TASKS[examples.task].choices]
        words = words or [f"{value:g}" for value in self.rating_values]
        scores = np.full((len(inputs), len(words)), -np.inf, np.float32)
        targets = np.array([prompt.target for prompt in self.prompts], object)[prompt_index]
        for target in dict.fromkeys(targets.tolist()):
            rows_of_target = np.flatnonzero(targets == target)
            first, *rest = PLACEHOLDER.split(target)  # text, slot, text, slot, …
            choices = [self.renderer.encode_text(" ".join([first, word, *rest[1:2]])) for word in words]
            score = (
                score_choices if len(rest) < 3 else score_beginnings
            )  # does the target consist of this slot only?
            for rows, ids, mask in self._batches(inputs.take(rows_of_target)):
                scores[rows_of_target[rows]] = score(self.model, ids, mask, choices)
        return scores

    def calibrate(self, task: str, scores: np.ndarray, context: RatingContext | None) -> np.ndarray:
        """float [n, answers]: `answer_scores` blended with the task's fitted prior; unchanged where it has none."""
        calibrator = self.calibrators.get(task)
        return scores if calibrator is None else calibrator(scores, context)

    def choose(
        self,
        examples: Examples,
        inputs: Ragged,
        prompt_index: np.ndarray,
        context: RatingContext | None = None,
    ) -> np.ndarray:
        """float [n, choices]: calibrated log-probabilities of the task's choices (yes and no, like and dislike)."""
        return self.calibrate(examples.task, self.answer_scores(examples, inputs, prompt_index), context)

    def rate(
        self,
        examples: Examples,
        inputs: Ragged,
        prompt_index: np.ndarray,
        context: RatingContext | None = None,
    ) -> np.ndarray:
        """float [n, rating values]: calibrated log-probabilities, not normalized; a row of −inf where there is no answer.

        Raises UserError where the model was trained on data without ratings.
        """
        if not len(self.rating_values):
            raise UserError("the model was trained on data without ratings: it cannot give a number.")
        return self.choose(examples, inputs, prompt_index, context)

    # -- texts

    def write(
        self,
        examples: Examples,
        inputs: Ragged,
        items: np.ndarray | None = None,
        options: TextOptions | None = None,
    ) -> list[str]:
        """The texts of a task that writes, without the rating that may stand before them.

        ``items`` int [n]: the item of each example, −1 for none. ``options``: by default those chosen for the task.
        """
        options = options or self.text_options.get(examples.task, GREEDY)
        others = answers_of_other_tasks(examples.task, self.tokenizer, self.rating_values)
        ngrams = self.item_ngrams.get(TASKS[examples.task].target_slot)
        hints = required_words(examples)
        return self._without_ratings(
            examples.task, self._writer.write(self.model, inputs, options, hints, others, ngrams, items)
        )

    def write_plain(self, inputs: Ragged) -> list[str]:
        """The model's output for any rendered prompts, unconstrained by a task."""
        return self._writer.write(self.model, inputs)

    def generate(self, examples: Examples, inputs: Ragged, options: TextOptions) -> list[list[list[int]]]:
        """The tokens of all samples of each example, for `select` to choose among with different options; for a few examples."""
        others = answers_of_other_tasks(examples.task, self.tokenizer, self.rating_values)
        samples: list[list[list[int]]] = [[]] * len(inputs)
        hints = required_words(examples)
        for rows, samples_of_batch in self._writer.sample(self.model, inputs, options, hints, others):
            for row, samples_of_row in zip(rows.tolist(), samples_of_batch, strict=True):
                samples[row] = samples_of_row
        return samples

    def select(
        self,
        examples: Examples,
        samples: Sequence[Sequence[Sequence[int]]],
        options: TextOptions,
        items: np.ndarray | None = None,
    ) -> list[str]:
        """The text of one sample per example, chosen according to ``options``; in the form of `write`."""
        ngrams = self.item_ngrams.get(TASKS[examples.task].target_slot)
        return self._without_ratings(
            examples.task, self._writer.select(samples, options.item_weight, ngrams, items)
        )

    def _without_ratings(self, task: str, texts: list[str]) -> list[str]:
        if TASKS[task].decoding is not Decoding.RATING_AND_TEXT:
            return texts
        numbers = {f"{value:g}" for value in self.rating_values}
        return [_after_number(text, numbers) for text in texts]

    def _batches(self, inputs: Ragged):
        return padded_batches(inputs, self.options.token_budget, next(self.model.parameters()).device)


def score_beginnings(model: Any, ids: Any, mask: Any, choices: Sequence[Sequence[int]]) -> np.ndarray:
    """float32 [B, C]: log-probability that the answer begins with each choice, whatever follows.

    Where one choice begins another ("1" and "1 . 5" as tokens) their beginnings do not
    distinguish them, and each is scored as if it were the whole answer.
    """
    eos = int(model.config.eos_token_id)
    tokens = Ragged.from_lists([[token for token in choice if token != eos] for choice in choices]).padded(-1)
    try:
        trie = Trie.build(tokens, eos=eos, end=False)
    except UserError:
        return score_choices(model, ids, mask, choices)
    return all_item_scores(model, ids, mask, trie)


def _after_number(text: str, numbers: set[str]) -> str:
    first, _, rest = text.partition(" ")
    return rest if first in numbers else text
