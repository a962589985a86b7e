"""Fits the rating calibration on validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.baselines.rating import BiasOnly, Ratings
from p5t5.baselines.review_regression import ReviewRegressor, WordWeights, texts_of
from p5t5.checkpoint.fitted import FittedArtifact
from p5t5.core.randomness import hashed
from p5t5.data.splits import Split
from p5t5.inference.rating_calibration import (
    KEY,
    WORDS,
    BiasPrior,
    RatingCalibrator,
    RatingContext,
    RecencyOffset,
)
from p5t5.metrics.rating import choice_probabilities
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.columns import is_rated, rating_index
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import validation_sample

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.inference.predictor import Predictor

MODEL_WEIGHTS = np.linspace(0.0, 1.2, 25)

MAX_VALIDATION_ROWS = 2000  # validation rows a task, at most

PENALTIES, FIXED = (2.0, 5.0, 10.0, 20.0), 5.0

MIN_TRAINING_RATINGS, MAX_TRAINING_RATINGS = 100, 2_000_000  # training ratings to choose penalties with

HALF_LIVES, RECENT_PENALTIES = (1.5, 3.0, 6.0), (1.0, 2.0, 4.0)

MAX_RECENCY_USERS = 20_000  # people, each with the last training rating, to choose these with


def fit_bias_prior(split: Split, seed: int = 0) -> BiasPrior | None:
    """Biases of the training ratings; penalties chosen on a fifth of them that the rest did not see.

    None without training ratings. No other row is read.
    """
    rows = split.rows("train")
    rows = rows[is_rated(split.data, rows)]
    if not len(rows):
        return None
    some = rows
    if len(rows) > MAX_TRAINING_RATINGS:
        some = rows[np.sort(np.argsort(hashed(seed, rows), kind="stable")[:MAX_TRAINING_RATINGS])]
    held = hashed(seed + 1, some) % np.uint64(5) == 0
    penalties = PENALTIES if len(rows) >= MIN_TRAINING_RATINGS else (FIXED,)
    seen = some[~held] if (~held).any() else some
    biases = BiasOnly(split, penalties, train=Ratings(split, seen), validation=Ratings(split, some[held]))
    recency = _fit_recency_offset(split, rows, biases, seed)
    biases.refit(Ratings(split, rows))
    return BiasPrior(biases.mean, biases.user_penalty, biases.item, recency)


def _fit_recency_offset(split: Split, rows: np.ndarray, biases: BiasOnly, seed: int) -> RecencyOffset | None:
    """The recency with the least squared error on people's last training ratings, or None where that has less.

    ``rows``: the rated training rows. Item biases are refitted on the others, with the penalties of ``biases``.
    """
    is_last = np.zeros(len(rows), bool)
    is_last[len(rows) - 1 - np.unique(split.data.user[rows][::-1], return_index=True)[1]] = True
    last, rest = rows[is_last], rows[~is_last]
    if len(rest) < MIN_TRAINING_RATINGS:
        return None
    biases.refit(Ratings(split, rest))
    last = last[np.sort(np.argsort(hashed(seed, last), kind="stable")[:MAX_RECENCY_USERS])]
    asked, ratings = RatingContext.of_rows(split, last), Ratings(split, last)
    choices = [None, *(RecencyOffset(*one) for one in product(HALF_LIVES, RECENT_PENALTIES))]
    guesses = (BiasPrior(biases.mean, biases.user_penalty, biases.item, one)(asked) for one in choices)
    low, high = ratings.rating.min(), ratings.rating.max()
    errors = [((np.clip(guess, low, high) - ratings.rating) ** 2).mean() for guess in guesses]
    return choices[int(np.argmin(errors))]


def fit_rating_calibration(
    predictor: Predictor, split: Split, tasks: Sequence[str], build: BuildOptions
) -> dict[str, RatingCalibrator]:
    """Task → the trust of GRID with the highest likelihood of the true ratings on validation rows, the
    nearer to 1 where it is the same. Tasks without a rating or without such rows are left out.
    """
    out: dict[str, RatingCalibrator] = {}
    bias_prior: BiasPrior | None = None
    for task in tasks:
        sample = None
        if TASKS[task].rates or TASKS[task].positive_ratings(split.data.rating_values) is not None:
            sample = validation_sample(split, task, predictor.prompts, build, MAX_VALIDATION_ROWS)
        if sample is None:
            continue
        examples, index = sample
        rows = examples.rows
        scores = predictor.answer_scores(examples, predictor.encode(examples, index), index)
        assert split.data.rating is not None  # every eligible row has one
        truth = rating_index(split.data, split.data.rating[rows])
        if not TASKS[task].rates:
            assert examples.answer is not None
            truth = examples.answer
        reads = TASKS[task].reads_review
        if not reads and bias_prior is None:
            bias_prior = fit_bias_prior(split)
        reader = ReviewRegressor.fit(split, task, build) if reads else None
        values = split.data.rating_values
        one = RatingCalibrator(
            1.0,
            _prior(split),
            None if reads else bias_prior,
            values,
            reader,
            TASKS[task].positive_ratings(values),
        )
        asked = RatingContext.of_rows(split, rows, texts_of(examples, predictor.prompts, index))
        one.model_weight = best_model_weight(one, scores, asked, truth)
        out[task] = one
    return out


def best_model_weight(
    like: RatingCalibrator, scores: np.ndarray, asked: RatingContext, truth: np.ndarray
) -> float:
    """The trust of GRID that makes ``truth`` int [n] likeliest, with the priors of ``like``."""
    priors, likelihood = like.log_priors(asked), []
    for trust in MODEL_WEIGHTS:
        shares = choice_probabilities(RatingCalibrator(trust, like.prior).blended(scores, priors))
        likelihood.append(np.nansum(np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-12))))
    best = max(
        range(len(MODEL_WEIGHTS)),
        key=lambda place: (round(likelihood[place], 6), -abs(MODEL_WEIGHTS[place] - 1)),
    )
    return float(MODEL_WEIGHTS[best])


def keep_rating_calibration(checkpoint: Checkpoint, found: Mapping[str, RatingCalibrator]) -> None:
    """Keeps the calibration among the checkpoint's fitted artefacts, and the item biases in its catalogue."""
    tasks: dict[str, dict[str, Any]] = {
        task: {
            "model_weight": one.model_weight,
            "prior": one.prior.tolist(),
            "uses_bias_prior": one.bias_prior is not None,
        }
        for task, one in found.items()
    }
    settings: dict[str, Any] = {"tasks": tasks}
    prior = next((one.bias_prior for one in found.values() if one.bias_prior is not None), None)
    if prior is not None:
        settings["bias_prior"] = {
            "mean": prior.mean,
            "user_penalty": prior.user_penalty,
            "recency": None if prior.recency is None else asdict(prior.recency),
        }
        checkpoint.catalogue.keep_item_bias(prior.bias)
    readers = {task: one.reader for task, one in found.items() if one.reader is not None}
    for task, reader in readers.items():
        tasks[task]["review_regression"] = {"constant": reader.constant, "shares": reader.shares.plain()}
    files = {WORDS: WordWeights.of(readers).data} if readers else {}
    checkpoint.fitted[KEY] = FittedArtifact(settings, files)


def _prior(split: Split) -> np.ndarray:
    """float64 [C]: how often each rating is given in training, one more counted of each."""
    rows = split.rows("train")
    assert split.data.rating is not None
    places = rating_index(split.data, split.data.rating[rows[is_rated(split.data, rows)]])
    counts = np.bincount(places, minlength=len(split.data.rating_values)) + 1.0
    return counts / counts.sum()
