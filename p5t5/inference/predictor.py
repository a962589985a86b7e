"""Puts the examples of a task to a model and turns what it says into values, as the task's decoding asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.baselines.review_regression import texts_of
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import hashed
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import Split
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.ranking import all_item_scores, rank_all, score_choices, score_items
from p5t5.decoding.text_generation import TextOptions
from p5t5.decoding.trie import Trie
from p5t5.evaluation.judging import Answers, text_values
from p5t5.inference.item_phrases import target_slot
from p5t5.inference.rating_calibration import WHOLE, RatingContext, saved_rating_calibration
from p5t5.inference.text_writer import (
    Writer,
    answers_of_other_tasks,
    describe_decoding,
    required_words,
    saved_item_ngrams,
    saved_options,
)
from p5t5.metrics.ranking import candidate_ranks, list_ranks, ranking_values
from p5t5.metrics.rating import (
    absolute_error,
    accuracy,
    calibration_gaps,
    central_interval,
    choice_probabilities,
    reliability,
    squared_error,
)
from p5t5.tasks.base import WORDS, BuildOptions, Examples
from p5t5.tasks.columns import rating_index
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint

DEEPEST = 20  # ranked lists are this long: the largest k of any metric

SHOWN = 5  # of them, how many a sample shows


class Asker:
    """A model that is asked examples. ``model`` may be replaced between calls (validation in training)."""

    def __init__(self, checkpoint: Checkpoint, data: IndexedRecords, token_budget: int = 8192) -> None:
        self.model: Any = checkpoint.model
        self.tokenizer, self.prompts = checkpoint.tokenizer, checkpoint.prompts
        self.renderer = checkpoint.renderer_for(data)
        self.trie, self.titles = checkpoint.catalogue.trie, checkpoint.catalogue.titles
        self.rating_values = checkpoint.rating_values
        self.data, self.token_budget = data, token_budget
        self.writer = Writer(self.tokenizer, token_budget)
        self.trust = saved_rating_calibration(
            checkpoint
        )  # task → how far its ratings are trusted, if not wholly
        self.text_options = saved_options(checkpoint)  # task → how its text is decoded, if not greedily
        self.phrases = saved_item_ngrams(
            checkpoint
        )  # what is written → what training texts say of items there

    def ask(
        self,
        examples: Examples,
        prompt_index: np.ndarray,
        split: Split,
        options: BuildOptions,
        protocols: Sequence[str],
        inputs: Ragged | None = None,
    ) -> Iterator[Answers]:
        """The answers, protocol by protocol. ``inputs``: the rendered prompts, where they are at hand."""
        inputs = self.renderer.encode_inputs(examples, prompt_index) if inputs is None else inputs
        decoding = TASKS[examples.task].decoding
        if decoding == "items":
            yield from self._items(examples, inputs, split, protocols)
        elif decoding == "candidates":
            yield from self._candidates(examples, inputs, prompt_index, options)
        elif decoding == "choice":
            yield from self._scored(examples, inputs, prompt_index, split, self._chosen, "choice")
        else:
            if decoding != "text":
                yield from self._scored(examples, inputs, prompt_index, split, self._rated, "expected")
            if decoding != "rating":
                yield self._text(examples, inputs, split)

    def _items(
        self, examples: Examples, inputs: Ragged, split: Split, protocols: Sequence[str]
    ) -> Iterator[Answers]:
        truth = self.data.item[examples.rows]
        for protocol in protocols:
            exclude = split.history_items(examples.rows, WHOLE) if protocol == "filtered" else None
            k = min(DEEPEST, len(self.trie))
            ranked = rank_all(
                self.model, inputs, self.trie, k, exclude=exclude, token_budget=self.token_budget
            )
            values = ranking_values(list_ranks(ranked.items, truth), TASKS[examples.task].metrics)

            def shown(row: int, items: np.ndarray = ranked.items) -> str:
                return self._titles(items[row])

            yield Answers(protocol, values, {}, shown)

    def _candidates(
        self, examples: Examples, inputs: Ragged, prompt_index: np.ndarray, options: BuildOptions
    ) -> Iterator[Answers]:
        candidates, answer = examples.candidates, examples.answer
        assert candidates is not None and answer is not None
        scores = np.empty(len(candidates.values), np.float32)
        for rows, ids, mask in self._batches(inputs):
            part = score_items(self.model, ids, mask, self.trie, candidates.take(rows))
            for place, row in enumerate(rows.tolist()):
                scores[candidates.offsets[row] : candidates.offsets[row + 1]] = part[place]
        ragged = Ragged(scores, candidates.offsets)
        values = ranking_values(candidate_ranks(ragged, answer, options.seed), TASKS[examples.task].metrics)

        def shown(row: int) -> str:
            return self._titles(candidates[row][np.argsort(-ragged[row], kind="stable")])

        protocol = f"1+{options.candidates - 1}"
        yield Answers(protocol, values, {}, shown)
        # Wordings with and without the history are different questions: told apart where both occur.
        told = np.array(["history" in " ".join(prompt.slots) for prompt in self.prompts])[prompt_index]
        if told.any() and not told.all():
            for name, kept in ((" history", np.flatnonzero(told)), (" no history", np.flatnonzero(~told))):
                part_values = {metric: value[kept] for metric, value in values.items()}
                yield Answers(protocol + name, part_values, {}, kept=kept)

    def _scored(
        self,
        examples: Examples,
        inputs: Ragged,
        prompt_index: np.ndarray,
        split: Split,
        judge: Callable[[Examples, np.ndarray, str], Answers],
        protocol: str,
    ) -> Iterator[Answers]:
        """The answers as people get them; where they are blended (`p5t5.inference.rating_calibration`), the model's own too."""
        scores = self.answer_scores(examples, inputs, prompt_index)
        trust = self.trust.get(examples.task)
        if trust is None:
            yield judge(examples, scores, protocol)
            return
        told = texts_of(examples, self.prompts, prompt_index)
        yield judge(examples, trust(scores, RatingContext.of_rows(split, examples.rows, told)), protocol)
        yield replace(judge(examples, scores, f"{protocol}, model alone"), shown=None)

    def _chosen(self, examples: Examples, scores: np.ndarray, protocol: str) -> Answers:
        words = [WORDS[choice] for choice in TASKS[examples.task].choices]
        answer = np.asarray(examples.answer)
        values = {
            "accuracy": accuracy(scores.argmax(1), answer),
            "auc": np.stack([np.nan_to_num(scores[:, 0] - scores[:, 1]), answer == 0], 1).astype(np.float64),
        }
        return Answers(protocol, values, {}, lambda row: words[int(scores[row].argmax())])

    def _rated(self, examples: Examples, scores: np.ndarray, protocol: str) -> Answers:
        assert self.data.rating is not None
        scale = np.asarray(self.rating_values, np.float64)
        shares = choice_probabilities(scores)
        truth = self.data.rating[examples.rows]
        place = rating_index(self.data, truth)
        silent = np.isnan(shares).any(1)  # no answer is the worst answer: the farther end of the scale
        farthest = np.where(truth - scale[0] > scale[-1] - truth, 0, len(scale) - 1)
        shares[silent] = np.eye(len(scale))[farthest[silent]]
        guess, within = shares @ scale, central_interval(shares, scale)
        values = {
            "rmse": squared_error(guess, truth),
            "mae": absolute_error(guess, truth),
            "ece": calibration_gaps(shares, place),
            "coverage80": ((within[:, 0] <= truth) & (truth <= within[:, 1])).astype(np.float64),
            "width80": within[:, 1] - within[:, 0],
        }
        return Answers(
            protocol,
            values,
            {},
            lambda row: f"{guess[row]:.2f} ({within[row, 0]:g} to {within[row, 1]:g})",
            calibration=reliability(shares, scale, place),
        )

    def answer_scores(self, examples: Examples, inputs: Ragged, prompt_index: np.ndarray) -> np.ndarray:
        """float32 [examples, answers]: the model's own log-probabilities of the task's choices, or of the ratings."""
        words = [WORDS[choice] for choice in TASKS[examples.task].choices]
        words = words or [f"{value:g}" for value in self.rating_values]
        return self._choice_scores(inputs, prompt_index, words)

    def _text(self, examples: Examples, inputs: Ragged, split: Split) -> Answers:
        options = self.text_options.get(examples.task, TextOptions())
        texts = self.write(examples, inputs, options)
        references = list(examples.references or [""] * len(examples))
        values, totals = text_values(texts, references, split, examples.task, examples.rows)
        how = describe_decoding(options)
        return Answers("text", values, totals, lambda row: texts[row], text_decoding=how)

    def write(self, examples: Examples, inputs: Ragged, options: TextOptions) -> list[str]:
        """The texts of a task that writes, without the rating that may stand before them."""
        others = answers_of_other_tasks(examples.task, self.tokenizer, self.rating_values)
        phrases, items = self.phrases.get(target_slot(examples.task)), self.data.item[examples.rows]
        texts = self.writer.write(
            self.model, inputs, options, required_words(examples), others, phrases, items
        )
        return self._without_ratings(examples.task, texts)

    def draw(self, examples: Examples, inputs: Ragged, options: TextOptions) -> list[list[list[int]]]:
        """The tokens of all answers to each example: for few of them, of which `select` picks in several ways."""
        others = answers_of_other_tasks(examples.task, self.tokenizer, self.rating_values)
        drawn: list[list[list[int]]] = [[]] * len(inputs)
        for rows, found in self.writer.draw(self.model, inputs, options, required_words(examples), others):
            for row, answers in zip(rows.tolist(), found, strict=True):
                drawn[row] = answers
        return drawn

    def select(
        self, examples: Examples, drawn: Sequence[Sequence[Sequence[int]]], options: TextOptions
    ) -> list[str]:
        """One of the answers to each example, as ``options`` say: its text, as of `write`."""
        phrases, items = self.phrases.get(target_slot(examples.task)), self.data.item[examples.rows]
        return self._without_ratings(
            examples.task, self.writer.select(drawn, options.item_weight, phrases, items)
        )

    def _without_ratings(self, task: str, texts: list[str]) -> list[str]:
        if TASKS[task].decoding != "rating_and_text":
            return texts
        numbers = {f"{value:g}" for value in self.rating_values}
        return [after_number(text, numbers) for text in texts]

    def _choice_scores(self, inputs: Ragged, prompt_index: np.ndarray, words: Sequence[str]) -> np.ndarray:
        """float32 [examples, words]: log-probability of each answer in the words of each prompt's target."""
        scores = np.full((len(inputs), len(words)), -np.inf, np.float32)
        targets = np.array([prompt.target for prompt in self.prompts], object)[prompt_index]
        for target in dict.fromkeys(targets.tolist()):
            mine = np.flatnonzero(targets == target)
            first, *rest = PLACEHOLDER.split(target)  # text, slot, text, slot, …
            ends = len(rest) < 3  # nothing but this slot
            choices = [self.renderer.encode_text(" ".join([first, word, *rest[1:2]])) for word in words]
            score = score_choices if ends else score_beginnings
            for rows, ids, mask in self._batches(inputs.take(mine)):
                scores[mine[rows]] = score(self.model, ids, mask, choices)
        return scores

    def _batches(self, inputs: Ragged):
        device = next(self.model.parameters()).device
        return padded_batches(inputs, self.token_budget, device)

    def _titles(self, items: np.ndarray) -> str:
        return " ; ".join(self.titles[item] for item in items[:SHOWN].tolist() if item >= 0)

    def samples(
        self, examples: Examples, index: np.ndarray, answers: Answers, count: int, seed: int, kind: str
    ) -> list[dict[str, Any]]:
        """``count`` questions with what was answered and what is true, drawn by the seed.

        Of written texts as many of the best and of the worst by ROUGE-1 come first; "picked" says which.
        """
        if answers.shown is None:
            return []
        rows = np.argsort(hashed(seed, examples.rows), kind="stable")
        picked = ["random"] * count
        if "rouge1" in answers.values:
            ranked = rows[np.argsort(-answers.values["rouge1"][rows], kind="stable")]
            ends = np.concatenate([ranked[:count], ranked[count:][::-1][:count]])
            picked = ["best"] * len(ranked[:count]) + ["worst"] * len(ranked[count:][:count]) + picked
            rows = np.concatenate([ends, rows[~np.isin(rows, ends)]])
        rows, picked = rows[: len(picked)], picked[: len(rows)]
        few = Examples(
            examples.task,
            examples.rows[rows],
            {name: column.take(rows) for name, column in examples.columns.items()},
            examples.texts,
        )
        texts = self.renderer.text(few, index[rows])
        items = TASKS[examples.task].decoding in ("items", "candidates")
        return [
            {
                "task": examples.task,
                "prompt": self.prompts[index[row]].id,
                "kind": kind,
                "protocol": answers.protocol,
                "picked": label,
                "question": question,
                "answer": answers.shown(int(row)),
                "truth": self.titles[self.data.item[examples.rows[row]]] if items else target,
            }
            for row, label, (question, target) in zip(rows, picked, texts, strict=True)
        ]


def score_beginnings(model: Any, ids: Any, mask: Any, choices: Sequence[Sequence[int]]) -> np.ndarray:
    """float32 [B, C]: log-probability that the answer begins so; what follows is left open.

    Where one choice begins another ("1" and "1 . 5" as tokens) they can't be told apart by their
    beginnings, and each is scored as if it were the whole answer.
    """
    eos = int(model.config.eos_token_id)
    tokens = Ragged.from_lists([[token for token in choice if token != eos] for choice in choices]).padded(-1)
    try:
        trie = Trie.build(tokens, eos=eos, end=False)
    except UserError:
        return score_choices(model, ids, mask, choices)
    return all_item_scores(model, ids, mask, trie)


def after_number(text: str, numbers: set[str]) -> str:
    first, _, rest = text.partition(" ")
    return rest if first in numbers else text
