"""Rating calibration: the model's probabilities over the rating scale, blended with a prior; one weight per task.

A small model that trains for long becomes overconfident. Its probabilities p are pooled log-linearly with a prior and
normalized: p^w · prior^(1 − w), with the ``model_weight`` w fitted on validation rows. With w = 1 the model's probabilities
are unchanged, with w = 0 the answer is the prior; with a uniform prior this is temperature scaling (Guo et al., 2017).

The prior is a `BiasPrior`: the rating frequencies of the training rows, tilted exponentially until their mean is
mean + item bias + user bias plus the recency offset. With weight 0 the answer is therefore that of the bias-only baseline,
or better where a person's ratings drift. Tasks that show a review use a more informative prior: the
rating distribution given the prediction of a ridge regression on the review's words (`p5t5.baselines.review_regression`);
the baseline it is compared with reads the same text. Where no item is named, no word is known,
or the checkpoint lacks biases or word weights, the prior is the plain frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from p5t5.baselines.review_regression import RatingDistribution, ReviewRegressor, WordWeights
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split
from p5t5.metrics.rating import choice_probabilities
from p5t5.tasks.registry import TASKS

if TYPE_CHECKING:
    from p5t5.checkpoint.catalogue import Catalogue
    from p5t5.checkpoint.checkpoint import Checkpoint

ARTIFACT = "rating_calibration"  # among the fitted artifacts of a checkpoint
WORDS_FILE = "words.parquet"  # the word weights of the review regressions, a file of the artifact


MARGIN = 0.01  # fraction of the scale that prior means keep from its ends, where one rating would get all probability


@dataclass(frozen=True)
class RatingContext:
    """n questions for a rating: ``item`` int [n], −1 for none. ``rated``: the items that the person has rated, Ragged of
    n rows, with ``ratings`` float [len(rated.values)] in the unit of the data. ``texts``: slot → n review texts
    (`review_regression.texts_of`).
    """

    item: np.ndarray
    rated: Ragged
    ratings: np.ndarray
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @staticmethod
    def of_rows(
        split: Split, rows: np.ndarray, texts: Mapping[str, Sequence[str]] | None = None
    ) -> RatingContext:
        """The context of the rows of a split: each with the rated rows of its history."""
        data, history = split.data, split.history(rows)
        assert data.rating is not None
        is_rated = np.isfinite(data.rating[history.values])
        lengths = np.bincount(history.row_of_value[is_rated], minlength=len(rows))
        earlier = history.values[is_rated]
        return RatingContext(
            data.item[rows],
            Ragged.from_lengths(data.item[earlier], lengths),
            data.rating[earlier].astype(np.float64),
            texts or {},
        )


@dataclass(frozen=True)
class RecencyOffset:
    """How the latest ratings of a person shift the next one: residuals from the bias prediction are averaged with weights
    that halve every ``half_life`` ratings back, shrunk by ``penalty``, and added. People rate in sittings, and from
    lists sorted by expected preference: on MovieLens-100K this predicts more than matrix factors do.
    """

    half_life: float
    penalty: float

    def __call__(self, residuals: np.ndarray, rated: Ragged) -> np.ndarray:
        """float64 [rows]: Σ w · residual / (Σ w + penalty); ``residuals`` float [len(rated.values)], the earliest first."""
        rows = rated.row_of_value
        age = rated.offsets[1:][rows] - 1 - np.arange(len(rows))
        weight = np.exp2(-age / self.half_life)
        sums, weights = (
            np.bincount(rows, numbers, minlength=len(rated)) for numbers in (weight * residuals, weight)
        )
        return sums / (weights + self.penalty)


class BiasPrior:
    """mean + item bias + user bias + recency offset. ``bias`` float32 [items] is stored in the catalogue. Everything about
    the user is computed from the ratings in the request and stored nowhere: the user bias
    Σ (rating − mean − item bias) / (n + penalty), and the ``recency`` offset, if any, of the residuals.
    """

    def __init__(
        self, mean: float, user_penalty: float, bias: np.ndarray, recency: RecencyOffset | None = None
    ) -> None:
        self.mean, self.user_penalty, self.recency = float(mean), float(user_penalty), recency
        self.bias = np.asarray(bias, np.float32)

    def __call__(self, context: RatingContext) -> np.ndarray:
        """float64 [n]: the expected rating, not clipped to the scale; NaN where no item is asked about."""
        bias = np.nan_to_num(self.bias.astype(np.float64))  # NaN: an item added later
        residuals = context.ratings - self.mean - bias[context.rated.values]
        rows = context.rated.row_of_value
        user = np.bincount(rows, residuals, minlength=len(context.item)) / (
            context.rated.lengths + self.user_penalty
        )
        if self.recency is not None:
            user = user + self.recency(residuals - user[rows], context.rated)
        return np.where(context.item < 0, np.nan, self.mean + bias[context.item] + user)


class RatingCalibrator:
    """What was fitted for one task: ``prior`` [C], the training frequencies of the ratings, and ``model_weight``.

    ``bias_prior`` or ``review_regressor``, with the ``values`` [C] of the scale, ascending: a prior for each question.
    ``liked`` bool [C]: the ratings that count as a like, where the answers are like and dislike.
    """

    def __init__(
        self,
        model_weight: float,
        prior: Sequence[float] | np.ndarray,
        bias_prior: BiasPrior | None = None,
        values: Sequence[float] | np.ndarray = (),
        review_regressor: ReviewRegressor | None = None,
        liked: np.ndarray | None = None,
    ) -> None:
        self.model_weight, self.prior, self.liked = float(model_weight), np.asarray(prior, np.float64), liked
        self.bias_prior, self.values, self.review_regressor = (
            bias_prior,
            np.asarray(values, np.float64),
            review_regressor,
        )

    def __call__(self, log_probabilities: np.ndarray, context: RatingContext | None = None) -> np.ndarray:
        """float64 [n, answers]: the blended log-probabilities, not normalized; a row of −inf stays one."""
        return self.blended(log_probabilities, self.log_priors(context))

    def blended(self, log_probabilities: np.ndarray, log_priors: np.ndarray) -> np.ndarray:
        """float64 [n, answers]: the same blend for given priors, float64 [n or 1, C]."""
        scores = np.asarray(log_probabilities, np.float64)
        with np.errstate(invalid="ignore"):
            probabilities = choice_probabilities(scores)
        silent = np.isnan(probabilities).any(1)
        blended = (
            self.model_weight * np.log(np.maximum(probabilities, 1e-300))
            + (1 - self.model_weight) * log_priors
        )
        blended[silent] = -np.inf
        return blended

    def log_priors(self, context: RatingContext | None = None) -> np.ndarray:
        """float64 [n or 1, C]: the prior, tilted to the expected rating of each question where there is one; or the
        distribution given its review. [n or 1, 2] where the answers are like and dislike.
        """
        ratings = self._rating_priors(context)
        if self.liked is None:
            return ratings
        sides = (self.liked, ~self.liked)
        return np.stack([np.logaddexp.reduce(ratings[:, side], 1) for side in sides], 1)

    def _rating_priors(self, context: RatingContext | None) -> np.ndarray:
        plain = np.log(self.prior)[None]
        if context is None or len(self.values) < 2:
            return plain
        if self.review_regressor is not None and context.texts:
            from_review = self.review_regressor.log_shares(context.texts)
            return np.where(np.isnan(from_review), plain, from_review)
        return (
            plain
            if self.bias_prior is None
            else exponential_tilt(self.prior, self.values, self.bias_prior(context))
        )


def exponential_tilt(prior: np.ndarray, values: np.ndarray, means: np.ndarray) -> np.ndarray:
    """float64 [n, C]: log-probabilities ∝ prior · exp(θ value), with θ such that the mean is ``means`` [n].

    ``prior`` [C], all above 0; ``values`` [C], ascending, at least two. Means are first clipped to lie MARGIN of the scale
    inside its ends; NaN leaves the prior unchanged. Newton's method, safeguarded by bisection of a bracket.
    """
    values, start = np.asarray(values, np.float64), np.log(prior / np.sum(prior))
    scaled = (values - values[0]) / (values[-1] - values[0])
    target = np.clip(
        (np.asarray(means, np.float64) - values[0]) / (values[-1] - values[0]), MARGIN, 1 - MARGIN
    )
    theta = np.zeros(len(target))
    # Beyond these bounds the mean is nearer to the end than MARGIN: all other ratings together weigh less than MARGIN.
    low = np.full(len(target), (np.log(MARGIN) + start[0]) / scaled[1])
    high = np.full(len(target), -(np.log(MARGIN) + start[-1]) / (1 - scaled[-2]))
    active = np.flatnonzero(np.isfinite(target))
    for step in range(200):
        probabilities = choice_probabilities(start + theta[active, None] * scaled)
        mean = probabilities @ scaled
        gap, slope = mean - target[active], probabilities @ scaled**2 - mean**2
        active, gap, slope = (part[np.abs(gap) > 1e-10] for part in (active, gap, slope))
        if not len(active):
            break
        current = theta[active]
        low[active], high[active] = (
            np.where(gap < 0, current, low[active]),
            np.where(gap > 0, current, high[active]),
        )
        with np.errstate(divide="ignore"):
            newton = current - gap / slope
        inside = (newton > low[active]) & (newton < high[active]) & (step % 4 < 3)
        theta[active] = np.where(inside, newton, (low[active] + high[active]) / 2)
    logits = start + theta[:, None] * scaled
    return logits - np.logaddexp.reduce(logits, 1)[:, None]


def saved_rating_calibration(checkpoint: Checkpoint) -> dict[str, RatingCalibrator]:
    """Task → the calibration fitted for this model; empty where none was."""
    artifact = checkpoint.fitted.get(ARTIFACT)
    if artifact is None:
        return {}
    settings, values = artifact.settings, checkpoint.info.rating_values
    bias_prior = None
    if "bias_prior" in settings:
        bias_prior = _saved_bias_prior(settings["bias_prior"], checkpoint.catalogue)
    words = WordWeights(artifact.files[WORDS_FILE]) if WORDS_FILE in artifact.files else None
    return {
        task: RatingCalibrator(
            saved["model_weight"],
            saved["prior"],
            bias_prior if saved.get("uses_bias_prior") else None,
            values,
            None if words is None or "review_regression" not in saved else _regressor(words, task, saved),
            TASKS[task].positive_ratings(np.asarray(values)),
        )
        for task, saved in settings["tasks"].items()
    }


def _saved_bias_prior(saved: Mapping, catalogue: Catalogue) -> BiasPrior | None:
    bias = catalogue.item_bias
    if bias is None:
        return None
    recency = RecencyOffset(**saved["recency"]) if saved.get("recency") else None
    return BiasPrior(saved["mean"], saved["user_penalty"], bias, recency)


def _regressor(words: WordWeights, task: str, saved: Mapping) -> ReviewRegressor:
    settings = saved["review_regression"]
    return words.regressor(task, settings["constant"], RatingDistribution.read(settings["shares"]))
