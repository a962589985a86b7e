"""One request, rendered and decoded as its task requires: an `Answer` for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from p5t5.baselines.review_regression import texts_of
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.core.display import shown_title
from p5t5.core.ragged import Ragged
from p5t5.decoding.ranking import expected_value
from p5t5.fusion.blend import Fusion
from p5t5.fusion.fitting import FUSED_TASK as FUSED_TASK
from p5t5.fusion.model_scores import rank as rank_fused
from p5t5.inference.predictor import InferenceOptions, Predictor
from p5t5.inference.rating_calibration import RatingContext
from p5t5.inference.request import PromptFacts, fill_slots
from p5t5.metrics.rating import central_interval, choice_probabilities
from p5t5.tasks.base import WORDS, Decoding, Examples
from p5t5.tasks.registry import TASKS


@dataclass(frozen=True)
class Recommendation:
    """``score``: the log-probability that the model gives the item; higher is better.

    With a fusion, the blended score and ``why``: the share of each component in it, {"model": 0.6, …}.
    """

    item_id: str
    title: str
    score: float
    why: dict[str, float] = field(default_factory=dict)


class Rating(float):
    """An expected rating: a float that also carries the model's uncertainty.

    - ``interval``: the central 80 % of the distribution, ends included.
    - ``distribution``: rating value → probability.
    """

    interval: tuple[float, float]
    distribution: dict[float, float]

    @classmethod
    def of(cls, log_probabilities: np.ndarray, values: np.ndarray) -> Rating:
        """From one row of scores [1, values]; NaN where the model gives no value a positive probability."""
        probabilities = choice_probabilities(log_probabilities)
        values = np.asarray(values, np.float64)
        rating = cls(float(probabilities[0] @ values))
        low, high = central_interval(probabilities, values)[0].tolist()
        rating.interval = (low, high)
        rating.distribution = dict(zip(values.tolist(), probabilities[0].tolist(), strict=True))
        return rating


@dataclass(frozen=True)
class Answer:
    """What was answered, and how the question was understood.

    - ``kind``: "items" (``items``, best first), "number" (``value``, a rating) or "text" (``text``; ``value`` is the
      probability of yes or like for a yes/no question, or the rating beside an explanation).
      Ratings come with the model's ``interval`` (the central 80 %) and ``distribution`` over the scale.
    - ``prompt``: id of the prompt used, None where the text went to the model unchanged or no answer
      could be given; ``asked``: that prompt with its slots filled; ``task``; ``similarity`` (0 to 1)
      of the nearest prompt.
    - ``linked``: titles found in the question; ``notes``: assumptions made, and what could not be used.
    """

    kind: str
    items: tuple[Recommendation, ...] = ()
    value: float | None = None
    text: str = ""
    prompt: str | None = None
    task: str | None = None
    asked: str = ""
    similarity: float = 0.0
    linked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    distribution: dict[float, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.kind == "items":
            return "\n".join(
                f"{position:2d}. {shown_title(item.title)}" for position, item in enumerate(self.items, 1)
            )
        if self.kind == "number":
            return f"{self.value:.1f}"
        return self.text if self.value is None else f"{self.text} ({self.value:.2f})"


class Answerer:
    """Fills a prompt of a checkpoint's model with the facts of a request, and turns the output into an `Answer`."""

    def __init__(
        self, checkpoint: Checkpoint, fusion: Fusion | None = None, options: InferenceOptions | None = None
    ) -> None:
        self.checkpoint, self.fusion = checkpoint, fusion
        self.catalogue = checkpoint.catalogue
        self.options = checkpoint.build_options()
        checkpoint.model.eval()
        self.predictor = Predictor(checkpoint, options=options)

    @cached_property
    def attributes(self) -> list[str] | None:
        """A text per item, for the slot ``about``."""
        items = self.catalogue.items
        return items["attributes"].tolist() if "attributes" in items else None

    def answer(
        self, task: str, prompt: int, facts: PromptFacts, k: int = 10, seen: Sequence[int] = ()
    ) -> Answer:
        """The answer in the form of the task's decoding. ``prompt``: index of the prompt; ``seen``: items never to recommend.

        Where the facts hold candidates, a task that ranks the catalogue ranks only those.
        Raises UserError where a rating is requested of a model that was trained without ratings.
        """
        decoding = TASKS[task].decoding
        asked = self._prompt_text(task, prompt, facts)
        if decoding is Decoding.CANDIDATES or (decoding.ranks and len(facts.candidates)):
            return Answer("items", items=tuple(self.rank(task, prompt, facts)[:k]), asked=asked)
        if decoding.ranks:
            ranked = self.recommend(task, prompt, [facts], k, Ragged.from_lists([seen]))
            return Answer("items", items=tuple(ranked[0]), asked=asked)
        examples, index = self._examples(task, [facts]), np.array([prompt])
        inputs = self.predictor.encode(examples, index)
        if decoding is Decoding.CHOICE:
            scores = self.predictor.choose(examples, inputs, index, self._context(facts, examples, index))
            words = [WORDS[word] for word in TASKS[task].choices]
            probability = float(expected_value(scores, np.eye(len(words))[0])[0])
            return Answer("text", text=words[int(scores[0].argmax())], value=probability, asked=asked)
        value, text, kind = None, "", "text" if decoding.writes else "number"
        if decoding.rates:
            scores = self.predictor.rate(examples, inputs, index, self._context(facts, examples, index))
            value = Rating.of(scores, self.predictor.rating_values)
        if decoding.writes:
            item = np.array([-1 if facts.item is None else facts.item])
            text = self.predictor.write(examples, inputs, item)[0]
        answer = Answer(kind, value=value, text=text, asked=asked)
        if value is None:
            return answer
        return replace(answer, interval=value.interval, distribution=value.distribution)

    def recommend(
        self,
        task: str,
        prompt: int,
        facts: Sequence[PromptFacts],
        k: int,
        exclude: Ragged,
        allow: np.ndarray | None = None,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Recommendation]]:
        """The k best items of the catalogue for each of the requests; blended where there is a fusion for the task."""
        inputs = self.inputs(task, prompt, facts)
        if self.fusion is not None and task == FUSED_TASK:
            items, scores, why = rank_fused(
                self.fusion,
                self.predictor.model,
                inputs,
                self.catalogue.trie,
                Ragged.from_lists([request.history for request in facts]),
                np.array([-1 if request.user is None else request.user for request in facts], np.int64),
                k,
                exclude=exclude,
                allow=allow,
                token_budget=token_budget or self.predictor.options.token_budget,
                progress=progress,
            )
            return [self._named(*row) for row in zip(items, scores, why, strict=True)]
        ranked = self.predictor.rank(
            inputs, k, exclude=exclude, allow=allow, token_budget=token_budget, progress=progress
        )
        return [self._named(items, scores) for items, scores in zip(ranked.items, ranked.scores, strict=True)]

    def rank(self, task: str, prompt: int, facts: PromptFacts) -> list[Recommendation]:
        """The candidates among the facts, best first; blended where there is a fusion for the task."""
        if self.fusion is not None and task == FUSED_TASK:
            allowed = np.array(facts.candidates, np.int64)
            return self.recommend(task, prompt, [facts], len(allowed), Ragged.from_lists([[]]), allowed)[0]
        candidates = Ragged.from_lists([facts.candidates])
        scores = self.predictor.score(self.inputs(task, prompt, [facts]), candidates).values
        best = np.argsort(-scores, kind="stable")
        return self._named(candidates.values[best], scores[best])

    def plain_text(self, text: str) -> str:
        """The model's output for a cleaned text, used as the prompt unchanged."""
        ids = self.checkpoint.renderer.encode_text(text)
        return self.predictor.write_plain(Ragged.from_lists([ids]))[0]

    def inputs(self, task: str, prompt: int, facts: Sequence[PromptFacts]) -> Ragged:
        """Ragged int32: the rendered prompts."""
        return self.predictor.encode(self._examples(task, facts), np.full(len(facts), prompt))

    def _examples(self, task: str, facts: Sequence[PromptFacts]) -> Examples:
        filled = fill_slots(facts, self.options, self.attributes)
        return Examples(task, np.zeros(len(facts), np.int64), filled.columns, filled.texts)

    def _context(self, facts: PromptFacts, examples: Examples, index: np.ndarray) -> RatingContext:
        """What the calibration of a rating needs: the item, the person's ratings, and the texts of a review."""
        rated = np.array([rating for _, rating in facts.rated], np.int64)
        return RatingContext(
            np.array([-1 if facts.item is None else facts.item]),
            Ragged.from_lists([[item for item, _ in facts.rated]]),
            self.predictor.rating_values[rated].astype(np.float64),
            texts_of(examples, self.predictor.prompts, index),
        )

    def _prompt_text(self, task: str, prompt: int, facts: PromptFacts) -> str:
        """The prompt as a person reads it."""
        ids = self.inputs(task, prompt, [facts]).values
        return str(self.predictor.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _named(
        self, items: np.ndarray, scores: np.ndarray, why: Sequence[dict[str, float]] | None = None
    ) -> list[Recommendation]:
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        rows = zip(items.tolist(), scores.tolist(), why or [{}] * len(items), strict=True)
        return [
            Recommendation(ids[item], titles[item], score, components)
            for item, score, components in rows
            if item >= 0
        ]
