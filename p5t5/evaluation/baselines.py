"""Measures the baselines on the rows that the model is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from time import perf_counter

import numpy as np

from p5t5.baselines.base import Scorer
from p5t5.baselines.rating import RatingBaseline, rating_baselines
from p5t5.baselines.registry import default_scorers
from p5t5.baselines.review_regression import review_ridge
from p5t5.baselines.text import text_baselines
from p5t5.data.splits import Split
from p5t5.evaluation.judging import text_values
from p5t5.evaluation.list_quality import LISTED, ListQuality
from p5t5.evaluation.results import Evaluation, Measured
from p5t5.evaluation.rows import PROTOCOLS, check_protocols, row_metadata, rows_of
from p5t5.metrics.ranking import candidate_ranks, ranking_values, table_ranks
from p5t5.metrics.rating import absolute_error, accuracy, squared_error
from p5t5.tasks.base import BuildOptions, Decoding
from p5t5.tasks.rating import middle
from p5t5.tasks.registry import TASKS


def evaluate_baselines(
    split: Split,
    part: str = "test",
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    protocols: Sequence[str] = PROTOCOLS,
    limit: int | None = None,
    *,
    options: BuildOptions | None = None,
    with_implicit: bool | None = None,
    scorers: Sequence[Scorer] | None = None,
) -> Evaluation:
    """Baselines on the rows of `evaluate_checkpoint`, each on the tasks that it can answer.

    ``options``: those of the model, so that the candidates are the same (only ``candidates`` matters).
    ``with_implicit``: item-kNN and ALS of the package implicit; None includes them where it is installed.
    ``scorers``: the rankers to use instead of `default_scorers`. Raises UserError for an unknown task or protocol.
    """
    check_protocols(protocols)
    options = replace(options or BuildOptions(), seed=seed, epoch=-1)
    metadata = row_metadata(split, part, seed, "", "main")
    out = Evaluation()
    raters: list[RatingBaseline] | None = None
    for task in tasks if tasks is not None else TASKS:
        rows, reason = rows_of(split, task, part, limit, seed)
        if reason:
            out.skipped.append(reason)
            continue
        decoding = TASKS[task].decoding
        if TASKS[task].ranks:
            if TASKS[task].repeats:
                continue
            scorers = default_scorers(split, with_implicit) if scorers is None else scorers
            results = (
                _measured_candidates(split, task, rows, scorers[:2], options)
                if decoding is Decoding.CANDIDATES
                else _measured_rankings(split, task, rows, scorers, protocols)
            )
        elif decoding is Decoding.CHOICE:
            results = _measured_majority(split, task, rows, options)
            if TASKS[task].positive_ratings(split.data.rating_values) is not None:
                raters = rating_baselines(split) if raters is None else raters
                results = chain(results, _measured_likes(split, task, rows, raters))
        else:
            if decoding.rates and raters is None:
                raters = rating_baselines(split)
            results = _measured_answers(split, task, rows, raters or [], seed)
        for measured in results:
            out.add(measured, metadata)
    return out


def _measured_rankings(
    split: Split, task: str, rows: np.ndarray, scorers: Sequence[Scorer], protocols: Sequence[str]
) -> Iterator[Measured]:
    data = split.data
    history, truth, users = split.history_items(rows), data.item[rows], data.user[rows]
    quality = ListQuality(split)
    for scorer in scorers:
        started = perf_counter()
        ranks = {protocol: np.empty(len(rows), np.int64) for protocol in protocols}
        lists = np.full((len(rows), LISTED), -1, np.int64)
        for positions, table in scorer.chunks(history, users):
            for protocol in protocols:
                exclude = history.take(positions) if protocol == "filtered" else None
                ranks[protocol][positions] = table_ranks(table, truth[positions], exclude)
            lists[positions] = quality.lists(table, history.take(positions))
        seconds = (perf_counter() - started) / max(len(protocols), 1)
        for protocol in protocols:
            values = ranking_values(ranks[protocol], TASKS[task].metrics)
            totals = quality.totals(lists) if protocol == "filtered" else {}
            yield Measured(scorer.name, task, "", protocol, rows, users, values, totals, seconds)


def _measured_candidates(
    split: Split, task: str, rows: np.ndarray, scorers: Sequence[Scorer], options: BuildOptions
) -> Iterator[Measured]:
    examples = TASKS[task].build(split, rows, options)
    assert examples.candidates is not None and examples.answer is not None
    history, users = split.history_items(rows), split.data.user[rows]
    for scorer in scorers:
        started = perf_counter()
        scores = scorer.candidate_scores(history, examples.candidates, users)
        ranks = candidate_ranks(scores, examples.answer, options.seed)
        values = ranking_values(ranks, TASKS[task].metrics)
        protocol = f"1+{options.candidates - 1}"
        seconds = perf_counter() - started
        yield Measured(scorer.name, task, "", protocol, rows, users, values, seconds=seconds)


def _measured_majority(
    split: Split, task: str, rows: np.ndarray, options: BuildOptions
) -> Iterator[Measured]:
    """The most frequent answer of the training rows, for every row."""
    train = TASKS[task].eligible(split, "train")
    train_answers = TASKS[task].build(split, train, options).answer if len(train) else None
    truth = TASKS[task].build(split, rows, options).answer
    assert truth is not None
    most_frequent = 0 if train_answers is None else int(np.bincount(train_answers).argmax())
    values = {"accuracy": accuracy(np.full(len(rows), most_frequent), truth)}
    yield Measured("majority", task, "", "choice", rows, split.data.user[rows], values)


def _measured_likes(
    split: Split, task: str, rows: np.ndarray, raters: Sequence[RatingBaseline]
) -> Iterator[Measured]:
    """Rating baselines on likes: a predicted rating above the middle of the scale means a like."""
    data = split.data
    assert data.rating is not None
    liked = data.rating[rows] > middle(data.rating_values)
    for rater in raters:
        above = rater.predict(data.user[rows], data.item[rows]) - middle(data.rating_values)
        values = {
            "accuracy": accuracy(above > 0, liked),
            "auc": np.stack([above, liked], 1).astype(np.float64),
        }
        yield Measured(rater.name, task, "", "choice", rows, data.user[rows], values)


def _measured_answers(
    split: Split, task: str, rows: np.ndarray, raters: Sequence[RatingBaseline], seed: int
) -> Iterator[Measured]:
    """Rating baselines where the task rates, text baselines where it writes."""
    data, users, kind = split.data, split.data.user[rows], TASKS[task]
    if kind.rates:
        assert data.rating is not None
        guesses = {rater.name: rater.predict(data.user[rows], data.item[rows]) for rater in raters}
        ridge = review_ridge(split, rows, kind.review_columns) if kind.reads_review else None
        if ridge is not None:
            guesses["tfidf_ridge"] = ridge
        for name, guess in guesses.items():
            truth = data.rating[rows]
            values = {"rmse": squared_error(guess, truth), "mae": absolute_error(guess, truth)}
            yield Measured(name, task, "", "expected", rows, users, values)
    if kind.writes:
        started = perf_counter()
        references = [data.texts[kind.text_column][row] for row in rows.tolist()]
        for name, texts in text_baselines(split, task, rows, seed):
            seconds = perf_counter() - started
            values, totals = text_values(texts, references, split, task, rows)
            yield Measured(name, task, "", "text", rows, users, values, totals, seconds)
            started = perf_counter()
