"""How far a model's ratings are to be trusted: one number a task, fitted on validation rows.

A small model trained for long is surer than it is right. Its probabilities p over the scale are blended
with a prior: p^trust · prior^(1 − trust), normalised. 1 leaves the model as it is, 0 knows nothing but the
prior; with an even prior it is temperature scaling (Guo et al., 2017).

The prior is what this person usually gives to this item (`BiasPrior`): how often each rating is given in training,
tilted until its mean is mean + item bias + user bias, and what the person's latest ratings are above or below that.
So trust 0 answers as bias-only does, or better where moods last. Where a review is
read its text says more: there the prior is how often each rating is given to what a ridge regression on its words
says (`p5t5.baselines.review_regression`); what it is compared with reads the text alone too. Where no item is named, no word is known,
and in checkpoints that lack biases or words, the prior stays as it is.
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

KEY = "rating_calibration"  # among the fitted artefacts of a checkpoint
WORDS = "words.parquet"  # the word weights of the review regressions, a file of the artefact

WHOLE = 2**31  # longer than any history

MARGIN = (
    0.01  # the share of the scale that a usual rating keeps from its ends, where all else would be impossible
)


@dataclass(frozen=True)
class RatingContext:
    """n questions for a rating: ``item`` int [n], −1 for none; and what the person has ``rated``: items, Ragged of
    n rows, with ``ratings`` float [len(rated.values)] in the unit of the data; ``texts``: what a review says, n a
    slot (`reading.texts_of`).
    """

    item: np.ndarray
    rated: Ragged
    ratings: np.ndarray
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @staticmethod
    def of_rows(
        split: Split, rows: np.ndarray, texts: Mapping[str, Sequence[str]] | None = None
    ) -> RatingContext:
        """The rows of a split, each with the rated rows of its history."""
        data, history = split.data, split.history(rows, WHOLE)
        assert data.rating is not None
        kept = np.isfinite(data.rating[history.values])
        lengths = np.bincount(history.row_of_value[kept], minlength=len(rows))
        earlier = history.values[kept]
        return RatingContext(
            data.item[rows],
            Ragged.from_lengths(data.item[earlier], lengths),
            data.rating[earlier].astype(np.float64),
            texts or {},
        )


@dataclass(frozen=True)
class RecencyOffset:
    """How the latest ratings of a person count on their own, each half as much as the one ``half_life`` later: what
    they are above or below the usual is shrunk by ``penalty`` and added. People rate in sittings, and lists that
    are sorted by what they will like: on MovieLens-100K this says more than any factors.
    """

    half_life: float
    penalty: float

    def __call__(self, left: np.ndarray, rated: Ragged) -> np.ndarray:
        """float64 [rows]: Σ w · left / (Σ w + penalty), of ``left`` [len(rated.values)], the earliest first."""
        rows = rated.row_of_value
        age = rated.offsets[1:][rows] - 1 - np.arange(len(rows))
        weight = np.exp2(-age / self.half_life)
        sums, weights = (np.bincount(rows, of, minlength=len(rated)) for of in (weight * left, weight))
        return sums / (weights + self.penalty)


class BiasPrior:
    """mean + item bias + user bias + recent. ``bias`` float32 [items], which the catalogue keeps. What is the user's
    is made of what the person rated when it is asked for, and kept nowhere: the bias Σ (rating − mean − item bias) /
    (n + penalty), and what ``recency``, if any, makes of what is left.
    """

    def __init__(
        self, mean: float, user_penalty: float, bias: np.ndarray, recency: RecencyOffset | None = None
    ) -> None:
        self.mean, self.user_penalty, self.recency = float(mean), float(user_penalty), recency
        self.bias = np.asarray(bias, np.float32)

    def __call__(self, asked: RatingContext) -> np.ndarray:
        """float64 [n]: the usual rating, not clipped to the scale; NaN where no item is asked about."""
        bias = np.nan_to_num(self.bias.astype(np.float64))  # NaN: an item that came later
        left = asked.ratings - self.mean - bias[asked.rated.values]
        rows = asked.rated.row_of_value
        user = np.bincount(rows, left, minlength=len(asked.item)) / (asked.rated.lengths + self.user_penalty)
        if self.recency is not None:
            user = user + self.recency(left - user[rows], asked.rated)
        return np.where(asked.item < 0, np.nan, self.mean + bias[asked.item] + user)


class RatingCalibrator:
    """What was fitted for one task: ``prior`` [C], the shares of the scale's ratings in training; ``model_weight``.

    ``bias_prior`` or ``reader``, and the ``values`` [C] of the scale, ascending: for a prior of each question's own.
    ``liked`` bool [C]: the answers are like and dislike, and the ratings that count as the former.
    """

    def __init__(
        self,
        model_weight: float,
        prior: Sequence[float] | np.ndarray,
        bias_prior: BiasPrior | None = None,
        values: Sequence[float] | np.ndarray = (),
        reader: ReviewRegressor | None = None,
        liked: np.ndarray | None = None,
    ) -> None:
        self.model_weight, self.prior, self.liked = float(model_weight), np.asarray(prior, np.float64), liked
        self.bias_prior, self.values, self.reader = bias_prior, np.asarray(values, np.float64), reader

    def __call__(self, log_probabilities: np.ndarray, asked: RatingContext | None = None) -> np.ndarray:
        """float64 [n, answers]: the blended log-probabilities, not normalised; a row of −inf stays one."""
        return self.blended(log_probabilities, self.log_priors(asked))

    def blended(self, log_probabilities: np.ndarray, log_priors: np.ndarray) -> np.ndarray:
        """The same with the priors, float64 [n or 1, C], at hand."""
        scores = np.asarray(log_probabilities, np.float64)
        with np.errstate(invalid="ignore"):
            shares = choice_probabilities(scores)
        silent = np.isnan(shares).any(1)
        blended = (
            self.model_weight * np.log(np.maximum(shares, 1e-300)) + (1 - self.model_weight) * log_priors
        )
        blended[silent] = -np.inf
        return blended

    def log_priors(self, asked: RatingContext | None = None) -> np.ndarray:
        """float64 [n or 1, C]: the prior, tilted to the usual rating of each question where there is one; or what
        its text says of it. [n or 1, 2] where the answers are like and dislike.
        """
        ratings = self._rating_priors(asked)
        if self.liked is None:
            return ratings
        sides = (self.liked, ~self.liked)
        return np.stack([np.logaddexp.reduce(ratings[:, side], 1) for side in sides], 1)

    def _rating_priors(self, asked: RatingContext | None) -> np.ndarray:
        plain = np.log(self.prior)[None]
        if asked is None or len(self.values) < 2:
            return plain
        if self.reader is not None and asked.texts:
            read = self.reader.log_shares(asked.texts)
            return np.where(np.isnan(read), plain, read)
        return (
            plain
            if self.bias_prior is None
            else exponential_tilt(self.prior, self.values, self.bias_prior(asked))
        )


def exponential_tilt(prior: np.ndarray, values: np.ndarray, means: np.ndarray) -> np.ndarray:
    """float64 [n, C]: log-probabilities ∝ prior · exp(θ value), of the θ with which the mean is ``means`` [n].

    ``prior`` [C], all above 0; ``values`` [C], ascending, at least two. Means are first moved MARGIN of the scale
    inside it; NaN leaves the prior as it is. Newton's method, held in a bracket that is halved where it leaves it.
    """
    values, start = np.asarray(values, np.float64), np.log(prior / np.sum(prior))
    place = (values - values[0]) / (values[-1] - values[0])
    wanted = np.clip(
        (np.asarray(means, np.float64) - values[0]) / (values[-1] - values[0]), MARGIN, 1 - MARGIN
    )
    theta = np.zeros(len(wanted))
    # Beyond these the mean is nearer to the end than MARGIN: what is not at the end weighs less than MARGIN.
    low = np.full(len(wanted), (np.log(MARGIN) + start[0]) / place[1])
    high = np.full(len(wanted), -(np.log(MARGIN) + start[-1]) / (1 - place[-2]))
    left = np.flatnonzero(np.isfinite(wanted))
    for step in range(200):
        shares = choice_probabilities(start + theta[left, None] * place)
        mean = shares @ place
        gap, slope = mean - wanted[left], shares @ place**2 - mean**2
        left, gap, slope = (part[np.abs(gap) > 1e-10] for part in (left, gap, slope))
        if not len(left):
            break
        at = theta[left]
        low[left], high[left] = np.where(gap < 0, at, low[left]), np.where(gap > 0, at, high[left])
        with np.errstate(divide="ignore"):
            newton = at - gap / slope
        inside = (newton > low[left]) & (newton < high[left]) & (step % 4 < 3)
        theta[left] = np.where(inside, newton, (low[left] + high[left]) / 2)
    power = start + theta[:, None] * place
    return power - np.logaddexp.reduce(power, 1)[:, None]


def saved_rating_calibration(checkpoint: Checkpoint) -> dict[str, RatingCalibrator]:
    """Task → what was fitted for this model; empty where nothing was."""
    kept = checkpoint.fitted.get(KEY)
    if kept is None:
        return {}
    settings, values = kept.settings, checkpoint.info.rating_values
    bias_prior = None
    if "bias_prior" in settings:
        bias_prior = _saved_bias_prior(settings["bias_prior"], checkpoint.catalogue)
    words = WordWeights(kept.files[WORDS]) if WORDS in kept.files else None
    return {
        task: RatingCalibrator(
            one["model_weight"],
            one["prior"],
            bias_prior if one.get("uses_bias_prior") else None,
            values,
            None if words is None or "review_regression" not in one else _regressor(words, task, one),
            TASKS[task].positive_ratings(np.asarray(values)),
        )
        for task, one in settings["tasks"].items()
    }


def _saved_bias_prior(kept: Mapping, catalogue: Catalogue) -> BiasPrior | None:
    bias = catalogue.item_bias
    if bias is None:
        return None
    recency = RecencyOffset(**kept["recency"]) if kept.get("recency") else None
    return BiasPrior(kept["mean"], kept["user_penalty"], bias, recency)


def _regressor(words: WordWeights, task: str, kept: Mapping) -> ReviewRegressor:
    own = kept["review_regression"]
    return words.reader(task, own["constant"], RatingDistribution.read(own["shares"]))
