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
from p5t5.core.randomness import fold_of, sample
from p5t5.data.splits import Split
from p5t5.inference.rating_calibration import (
    ARTIFACT,
    WORDS_FILE,
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

MAX_VALIDATION_ROWS = 2000  # per task

PENALTIES, FIXED = (2.0, 5.0, 10.0, 20.0), 5.0

MIN_TRAINING_RATINGS, MAX_TRAINING_RATINGS = 100, 2_000_000  # for choosing the penalties

HALF_LIVES, RECENT_PENALTIES = (1.5, 3.0, 6.0), (1.0, 2.0, 4.0)

MAX_RECENCY_USERS = 20_000  # users whose last training rating chooses the recency offset


def fit_bias_prior(split: Split, seed: int = 0) -> BiasPrior | None:
    """Item biases of the training ratings; the penalties are chosen on a held-out fifth of them.

    None without training ratings. No other row is read.
    """
    rows = split.rows("train")
    rows = rows[is_rated(split.data, rows)]
    if not len(rows):
        return None
    sampled = sample(rows, MAX_TRAINING_RATINGS, seed)
    is_held_out = fold_of(5, seed + 1, sampled) == 0
    penalties = PENALTIES if len(rows) >= MIN_TRAINING_RATINGS else (FIXED,)
    fitting_rows = sampled[~is_held_out] if (~is_held_out).any() else sampled
    biases = BiasOnly(
        split, penalties, train=Ratings(split, fitting_rows), validation=Ratings(split, sampled[is_held_out])
    )
    recency = _fit_recency_offset(split, rows, biases, seed)
    biases.refit(Ratings(split, rows))
    return BiasPrior(biases.mean, biases.user_penalty, biases.item, recency)


def _fit_recency_offset(split: Split, rows: np.ndarray, biases: BiasOnly, seed: int) -> RecencyOffset | None:
    """The recency offset with the least squared error on users' last training ratings; None where no offset is best.

    ``rows``: the rated training rows. Item biases are refitted on the others, with the penalties of ``biases``.
    """
    is_last = np.zeros(len(rows), bool)
    is_last[len(rows) - 1 - np.unique(split.data.user[rows][::-1], return_index=True)[1]] = True
    last, rest = rows[is_last], rows[~is_last]
    if len(rest) < MIN_TRAINING_RATINGS:
        return None
    biases.refit(Ratings(split, rest))
    last = sample(last, MAX_RECENCY_USERS, seed)
    context, ratings = RatingContext.of_rows(split, last), Ratings(split, last)
    choices = [None, *(RecencyOffset(*choice) for choice in product(HALF_LIVES, RECENT_PENALTIES))]
    guesses = (
        BiasPrior(biases.mean, biases.user_penalty, biases.item, choice)(context) for choice in choices
    )
    low, high = ratings.rating.min(), ratings.rating.max()
    errors = [((np.clip(guess, low, high) - ratings.rating) ** 2).mean() for guess in guesses]
    return choices[int(np.argmin(errors))]


def fit_rating_calibration(
    predictor: Predictor, split: Split, tasks: Sequence[str], build: BuildOptions
) -> dict[str, RatingCalibrator]:
    """Task → its calibration, with the model weight of MODEL_WEIGHTS that maximizes the likelihood of the true ratings on
    validation rows; among equals the one nearest to 1. Tasks without a rating or without such rows are left out.
    """
    calibrators: dict[str, RatingCalibrator] = {}
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
        review_regressor = ReviewRegressor.fit(split, task, build) if reads else None
        values = split.data.rating_values
        calibrator = RatingCalibrator(
            1.0,
            _prior(split),
            None if reads else bias_prior,
            values,
            review_regressor,
            TASKS[task].positive_ratings(values),
        )
        context = RatingContext.of_rows(split, rows, texts_of(examples, predictor.prompts, index))
        calibrator.model_weight = best_model_weight(calibrator, scores, context, truth)
        calibrators[task] = calibrator
    return calibrators


def best_model_weight(
    calibrator: RatingCalibrator, scores: np.ndarray, context: RatingContext, truth: np.ndarray
) -> float:
    """The weight of MODEL_WEIGHTS that maximizes the likelihood of ``truth`` int [n], with the priors of ``calibrator``."""
    priors, likelihood = calibrator.log_priors(context), []
    for model_weight in MODEL_WEIGHTS:
        probabilities = choice_probabilities(
            RatingCalibrator(model_weight, calibrator.prior).blended(scores, priors)
        )
        likelihood.append(np.nansum(np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12))))
    best = max(
        range(len(MODEL_WEIGHTS)),
        key=lambda index: (round(likelihood[index], 6), -abs(MODEL_WEIGHTS[index] - 1)),
    )
    return float(MODEL_WEIGHTS[best])


def store_rating_calibration(checkpoint: Checkpoint, calibrators: Mapping[str, RatingCalibrator]) -> None:
    """Stores the calibration among the checkpoint's fitted artifacts, and the item biases in its catalogue."""
    tasks: dict[str, dict[str, Any]] = {
        task: {
            "model_weight": calibrator.model_weight,
            "prior": calibrator.prior.tolist(),
            "uses_bias_prior": calibrator.bias_prior is not None,
        }
        for task, calibrator in calibrators.items()
    }
    settings: dict[str, Any] = {"tasks": tasks}
    prior = next(
        (calibrator.bias_prior for calibrator in calibrators.values() if calibrator.bias_prior is not None),
        None,
    )
    if prior is not None:
        settings["bias_prior"] = {
            "mean": prior.mean,
            "user_penalty": prior.user_penalty,
            "recency": None if prior.recency is None else asdict(prior.recency),
        }
        checkpoint.catalogue.set_item_bias(prior.bias)
    regressors = {
        task: calibrator.review_regressor
        for task, calibrator in calibrators.items()
        if calibrator.review_regressor is not None
    }
    for task, regressor in regressors.items():
        tasks[task]["review_regression"] = {
            "constant": regressor.constant,
            "shares": regressor.shares.plain(),
        }
    files = {WORDS_FILE: WordWeights.of(regressors).data} if regressors else {}
    checkpoint.fitted[ARTIFACT] = FittedArtifact(settings, files)


def _prior(split: Split) -> np.ndarray:
    """float64 [C]: how often each rating occurs in training, with one added to each count."""
    rows = split.rows("train")
    assert split.data.rating is not None
    indices = rating_index(split.data, split.data.rating[rows[is_rated(split.data, rows)]])
    counts = np.bincount(indices, minlength=len(split.data.rating_values)) + 1.0
    return counts / counts.sum()
