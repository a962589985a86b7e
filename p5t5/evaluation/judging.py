"""Judges a predictor: it is asked the examples of a task, and its arrays become metric values per example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from p5t5.baselines.review_regression import texts_of
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import hashed
from p5t5.data.splits import Split
from p5t5.evaluation.list_quality import ListQuality
from p5t5.inference.predictor import Predictor
from p5t5.inference.rating_calibration import RatingContext
from p5t5.inference.text_writer import GREEDY, describe_decoding
from p5t5.metrics import text as text_metrics
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
from p5t5.tasks.base import WORDS, BuildOptions, Decoding, Examples
from p5t5.tasks.columns import rating_index
from p5t5.tasks.registry import TASKS

MAX_RANKED = 20  # length of ranked lists: the largest k of any metric
SHOWN_ITEMS = 5  # items shown per sample


@dataclass(frozen=True)
class Judged:
    """The judged answers to the examples of one task under one protocol.

    - ``values`` and ``totals``: as in `results.Measured`.
    - ``shown(i)``: answer i as a person reads it; None where another entry shows it.
    - ``subset``: int64, the examples that the values belong to; None for all.
    - ``calibration``: of ratings, as returned by `metrics.rating.reliability`.
    """

    protocol: str
    values: Mapping[str, np.ndarray]
    totals: Mapping[str, float]
    shown: Callable[[int], str] | None = None
    subset: np.ndarray | None = None
    text_decoding: str = ""
    calibration: Mapping[str, Any] | None = None


class Judge:
    """Asks a predictor about rows of a split and judges the answers."""

    def __init__(self, predictor: Predictor, split: Split, build: BuildOptions) -> None:
        self.predictor, self.split, self.build = predictor, split, build

    @cached_property
    def _list_quality(self) -> ListQuality:
        return ListQuality(self.split)

    def judge(
        self,
        examples: Examples,
        prompt_index: np.ndarray,
        protocols: Sequence[str],
        inputs: Ragged | None = None,
    ) -> Iterator[Judged]:
        """The judged answers, protocol by protocol. ``inputs``: the rendered prompts, if already encoded."""
        inputs = self.predictor.encode(examples, prompt_index) if inputs is None else inputs
        decoding = TASKS[examples.task].decoding
        if decoding is Decoding.ITEMS:
            yield from self._items(examples, inputs, protocols)
        elif decoding is Decoding.CANDIDATES:
            yield from self._candidates(examples, inputs, prompt_index)
        elif decoding is Decoding.CHOICE:
            yield from self._scored(examples, inputs, prompt_index, self._chosen, "choice")
        else:
            if decoding.rates:
                yield from self._scored(examples, inputs, prompt_index, self._rated, "expected")
            if decoding.writes:
                yield self._written(examples, inputs)

    def _items(self, examples: Examples, inputs: Ragged, protocols: Sequence[str]) -> Iterator[Judged]:
        truth = self.split.data.item[examples.rows]
        for protocol in protocols:
            exclude = self.split.history_items(examples.rows) if protocol == "filtered" else None
            k = min(MAX_RANKED, len(self.predictor.trie))
            ranked = self.predictor.rank(inputs, k, exclude=exclude)
            values = ranking_values(list_ranks(ranked.items, truth), TASKS[examples.task].metrics)
            totals = self._list_quality.totals(ranked.items) if protocol == "filtered" else {}

            def shown(row: int, items: np.ndarray = ranked.items) -> str:
                return self._titles(items[row])

            yield Judged(protocol, values, totals, shown)

    def _candidates(self, examples: Examples, inputs: Ragged, prompt_index: np.ndarray) -> Iterator[Judged]:
        candidates, answer = examples.candidates, examples.answer
        assert candidates is not None and answer is not None
        scores = self.predictor.score(inputs, candidates)
        ranks = candidate_ranks(scores, answer, self.build.seed)
        values = ranking_values(ranks, TASKS[examples.task].metrics)

        def shown(row: int) -> str:
            return self._titles(candidates[row][np.argsort(-scores[row], kind="stable")])

        protocol = f"1+{self.build.candidates - 1}"
        yield Judged(protocol, values, {}, shown)
        # Prompts with and without the history are different questions: also reported apart where both occur.
        prompts = self.predictor.prompts
        has_history = np.array(["history" in " ".join(prompt.slots) for prompt in prompts])[prompt_index]
        if has_history.any() and not has_history.all():
            for name, in_group in ((" history", has_history), (" no history", ~has_history)):
                subset = np.flatnonzero(in_group)
                part = {metric: value[subset] for metric, value in values.items()}
                yield Judged(protocol + name, part, {}, subset=subset)

    def _scored(
        self,
        examples: Examples,
        inputs: Ragged,
        prompt_index: np.ndarray,
        judge: Callable[[Examples, np.ndarray, str], Judged],
        protocol: str,
    ) -> Iterator[Judged]:
        """The answers as people get them; where they are calibrated, those of the model alone as well."""
        scores = self.predictor.answer_scores(examples, inputs, prompt_index)
        if examples.task not in self.predictor.calibrators:
            yield judge(examples, scores, protocol)
            return
        texts = texts_of(examples, self.predictor.prompts, prompt_index)
        context = RatingContext.of_rows(self.split, examples.rows, texts)
        yield judge(examples, self.predictor.calibrate(examples.task, scores, context), protocol)
        yield replace(judge(examples, scores, f"{protocol}, model alone"), shown=None)

    def _chosen(self, examples: Examples, scores: np.ndarray, protocol: str) -> Judged:
        words = [WORDS[choice] for choice in TASKS[examples.task].choices]
        answer = np.asarray(examples.answer)
        values = {
            "accuracy": accuracy(scores.argmax(1), answer),
            "auc": np.stack([np.nan_to_num(scores[:, 0] - scores[:, 1]), answer == 0], 1).astype(np.float64),
        }
        return Judged(protocol, values, {}, lambda row: words[int(scores[row].argmax())])

    def _rated(self, examples: Examples, scores: np.ndarray, protocol: str) -> Judged:
        data = self.split.data
        assert data.rating is not None
        scale = np.asarray(self.predictor.rating_values, np.float64)
        probabilities = choice_probabilities(scores)
        truth = data.rating[examples.rows]
        index = rating_index(data, truth)
        no_answer = np.isnan(probabilities).any(
            1
        )  # no answer counts as the worst one: the farther end of the scale
        farthest = np.where(truth - scale[0] > scale[-1] - truth, 0, len(scale) - 1)
        probabilities[no_answer] = np.eye(len(scale))[farthest[no_answer]]
        guess, interval = probabilities @ scale, central_interval(probabilities, scale)
        values = {
            "rmse": squared_error(guess, truth),
            "mae": absolute_error(guess, truth),
            "ece": calibration_gaps(probabilities, index),
            "coverage80": ((interval[:, 0] <= truth) & (truth <= interval[:, 1])).astype(np.float64),
            "width80": interval[:, 1] - interval[:, 0],
        }
        return Judged(
            protocol,
            values,
            {},
            lambda row: f"{guess[row]:.2f} ({interval[row, 0]:g} to {interval[row, 1]:g})",
            calibration=reliability(probabilities, scale, index),
        )

    def _written(self, examples: Examples, inputs: Ragged) -> Judged:
        options = self.predictor.text_options.get(examples.task, GREEDY)
        texts = self.predictor.write(examples, inputs, self.split.data.item[examples.rows], options)
        references = list(examples.references or [""] * len(examples))
        values, totals = text_values(texts, references, self.split, examples.task, examples.rows)
        return Judged(
            "text", values, totals, lambda row: texts[row], text_decoding=describe_decoding(options)
        )

    def samples(
        self, examples: Examples, index: np.ndarray, judged: Judged, count: int, kind: str
    ) -> list[dict[str, Any]]:
        """``count`` questions with their answers and targets, drawn by the seed.

        For generated texts, ``count`` each of the best and of the worst by ROUGE-1 come first; "picked" says which.
        """
        if judged.shown is None:
            return []
        rows = np.argsort(hashed(self.build.seed, examples.rows), kind="stable")
        picked = ["random"] * count
        if "rouge1" in judged.values:
            ranked = rows[np.argsort(-judged.values["rouge1"][rows], kind="stable")]
            ends = np.concatenate([ranked[:count], ranked[count:][::-1][:count]])
            picked = ["best"] * len(ranked[:count]) + ["worst"] * len(ranked[count:][:count]) + picked
            rows = np.concatenate([ends, rows[~np.isin(rows, ends)]])
        rows, picked = rows[: len(picked)], picked[: len(rows)]
        picked_examples = Examples(
            examples.task,
            examples.rows[rows],
            {name: column.take(rows) for name, column in examples.columns.items()},
            examples.texts,
        )
        texts = self.predictor.renderer.text(picked_examples, index[rows])
        items = TASKS[examples.task].ranks
        titles, truth = self.predictor.titles, self.split.data.item[examples.rows]
        return [
            {
                "task": examples.task,
                "prompt": self.predictor.prompts[index[row]].id,
                "kind": kind,
                "protocol": judged.protocol,
                "picked": label,
                "question": question,
                "answer": judged.shown(int(row)),
                "truth": titles[truth[row]] if items else target,
            }
            for row, label, (question, target) in zip(rows, picked, texts, strict=True)
        ]

    def _titles(self, items: np.ndarray) -> str:
        titles = self.predictor.titles
        return " ; ".join(titles[item] for item in items[:SHOWN_ITEMS].tolist() if item >= 0)


def text_values(
    texts: Sequence[str], references: Sequence[str], split: Split, task: str, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The task's text metrics: per-example values, float64 [n] or [n, m] each, and totals."""
    names = TASKS[task].metrics
    values: dict[str, np.ndarray] = {}
    statistics = text_metrics.bleu_statistics(texts, references)
    values |= {name: statistics for name in ("bleu1", "bleu2", "bleu4") if name in names}
    rouge = text_metrics.rouge(texts, references)
    values |= {kind: rouge[:, index] for index, kind in enumerate(text_metrics.ROUGE_KINDS) if kind in names}
    if "length" in names:
        values["length"] = text_metrics.lengths(texts)
    if "feature_match" in names and split.data.has("feature"):
        features = [split.data.texts["feature"][row] for row in rows.tolist()]
        has_feature = np.array([bool(text_metrics.words(feature)) for feature in features], np.float64)
        if has_feature.any():
            values["feature_match"] = np.stack([text_metrics.feature_match(texts, features), has_feature], 1)
    totals = {
        "distinct1": text_metrics.distinct_n(texts, 1),
        "distinct2": text_metrics.distinct_n(texts, 2),
        "unique_sentences": text_metrics.unique_sentence_ratio(texts),
    }
    if "feature_coverage" in names and split.data.has("feature"):
        finder = text_metrics.FeatureFinder(split.data.texts["feature"])
        found_features = [finder(text) for text in texts]
        totals["feature_coverage"] = text_metrics.feature_coverage(found_features, len(finder.number))
        totals["feature_overlap"] = text_metrics.feature_overlap(found_features)
    return values, {name: value for name, value in totals.items() if name in names}
