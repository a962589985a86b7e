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
from p5t5.inference.asks import Ask, Plan, Result, together
from p5t5.inference.html import answer_html, items_html, number_html
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

    def _repr_html_(self) -> str:
        return number_html(self, getattr(self, "interval", None), getattr(self, "distribution", {}))


class Recommendations(list[Recommendation]):
    """A list of recommendations, best first, which notebooks show as a table."""

    def _repr_html_(self) -> str:
        return items_html(self)


@dataclass(frozen=True)
class Answer:
    """What was answered, and how the question was understood.

    - ``kind``: "items" (``items``, best first), "number" (``value``, a rating) or "text" (``text``; ``value`` is the
      probability of yes or like for a yes/no question, or the rating beside an explanation).
      Ratings come with the model's ``interval`` (the central 80 %) and ``distribution`` over the scale.
    - ``prompt``: id of the prompt used, None where the text went to the model unchanged or no answer
      could be given; ``asked``: that prompt with its slots filled, ``tokens``: as the model read it; ``task``; ``similarity`` (0 to 1)
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
    tokens: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        if self.kind == "items":
            return "\n".join(
                f"{position:2d}. {shown_title(item.title)}" for position, item in enumerate(self.items, 1)
            )
        if self.kind == "number":
            return f"{self.value:.1f}"
        return self.text if self.value is None else f"{self.text} ({self.value:.2f})"

    def _repr_html_(self) -> str:
        return answer_html(self)


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

    def run(self, plan: Plan[Result]) -> Result:
        """The result of one plan; raises what it ended with."""
        (result,) = together(self.answer_all, [plan])
        if isinstance(result, Exception):
            raise result
        return result

    def answer(self, task: str, prompt: int, facts: PromptFacts, k: int = 10) -> Answer:
        """The answer to one `Ask`. Raises UserError where a rating is requested of a model that was trained without."""
        (answer,) = self.answer_all([Ask(task, prompt, facts, k)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer_all(
        self,
        asks: Sequence[Ask],
        *,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        shown: bool = True,
    ) -> list[Answer | Exception]:
        """The answer to each ask, or why there is none, computed together as far as they are of one kind.

        Each is what it would be if it were asked alone, up to the rounding of a batch. ``progress`` gets the number of lists
        just made; ``shown``: with the prompts as text and tokens.
        """
        groups: dict[tuple, list[int]] = {}
        for number, ask in enumerate(asks):
            groups.setdefault(self._kind(ask), []).append(number)
        answers: list[Answer | Exception] = [Answer("text")] * len(asks)
        for kind, numbers in groups.items():
            group = [asks[number] for number in numbers]
            try:
                inputs = self._inputs(group)
                if kind[0] == "list":
                    found = self._lists(group, inputs, token_budget, progress)
                elif kind[0] == "rank":
                    found = self._ranked(group, inputs)
                else:
                    found = self._told(group, inputs)
            except Exception as error:  # a user's, or a bug that must not cost the others their answers
                for number in numbers:
                    answers[number] = error
                continue
            for row, (number, answer) in enumerate(zip(numbers, found, strict=True)):
                answers[number] = self._shown(answer, inputs[row]) if shown else answer
        return answers

    def _kind(self, ask: Ask) -> tuple:
        """Asks of the same kind are computed together."""
        decoding = TASKS[ask.task].decoding
        fused = self.fusion is not None and ask.task == FUSED_TASK
        if decoding is Decoding.CANDIDATES or (decoding.ranks and len(ask.facts.candidates)):
            if not fused:
                return ("rank",)
            return ("list", len(ask.facts.candidates), *ask.facts.candidates)
        if decoding.ranks:
            return ("list", fused, ask.k, ask.narrow)
        return ("tell", ask.task, ask.prompt, ask.facts.known)

    def _lists(
        self,
        asks: Sequence[Ask],
        inputs: Ragged,
        token_budget: int | None,
        progress: Callable[[int], None] | None,
    ) -> list[Answer]:
        """The k best items for each ask, all of one k; blended where there is a fusion for the task."""
        facts = [ask.facts for ask in asks]
        k, keep = asks[0].k, asks[0].keep
        fusion = self.fusion if asks[0].task == FUSED_TASK else None
        if fusion is not None and facts[0].candidates:
            keep, k = np.zeros(len(self.catalogue), bool), len(facts[0].candidates)
            keep[list(facts[0].candidates)] = True
        elif any(ask.keep is not keep for ask in asks):
            keep = None
        shared = keep is not None or all(ask.keep is None for ask in asks)
        exclude = Ragged.from_lists([ask.exclude for ask in asks])
        allow: Ragged | np.ndarray | None = None
        if shared:
            allow = None if keep is None or keep.all() else np.flatnonzero(keep)
        else:
            everything = np.ones(len(self.catalogue), bool)
            masks = [(everything if ask.keep is None else ask.keep).copy() for ask in asks]
            for mask, ask in zip(masks, asks, strict=True):
                mask[list(ask.exclude)] = False
            if asks[0].narrow and fusion is None:
                allow, exclude = (
                    Ragged.from_lists([np.flatnonzero(mask).tolist() for mask in masks]),
                    Ragged.from_lists([[] for _ in asks]),
                )
            else:
                exclude = Ragged.from_lists([np.flatnonzero(~mask).tolist() for mask in masks])
        if fusion is None:
            ranked = self.predictor.rank(
                inputs, k, exclude=exclude, allow=allow, token_budget=token_budget, progress=progress
            )
            named = [self._named(*row) for row in zip(ranked.items, ranked.scores, strict=True)]
        else:
            assert not isinstance(allow, Ragged)
            items, scores, why = rank_fused(
                fusion,
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
            named = [self._named(*row) for row in zip(items, scores, why, strict=True)]
        return [Answer("items", items=tuple(row[: ask.k])) for row, ask in zip(named, asks, strict=True)]

    def _ranked(self, asks: Sequence[Ask], inputs: Ragged) -> list[Answer]:
        """The candidates of each ask, best first."""
        candidates = Ragged.from_lists([ask.facts.candidates for ask in asks])
        scores = self.predictor.score(inputs, candidates)
        answers = []
        for row, ask in enumerate(asks):
            best = np.argsort(-scores[row], kind="stable")
            answers.append(
                Answer("items", items=tuple(self._named(candidates[row][best], scores[row][best])[: ask.k]))
            )
        return answers

    def _told(self, asks: Sequence[Ask], inputs: Ragged) -> list[Answer]:
        """Choices, ratings and texts, all of one task and prompt."""
        task, facts = asks[0].task, [ask.facts for ask in asks]
        decoding = TASKS[task].decoding
        examples, index = self._examples(task, facts), np.full(len(asks), asks[0].prompt)
        if decoding is Decoding.CHOICE:
            scores = self.predictor.choose(examples, inputs, index, self._context(facts, examples, index))
            words = [WORDS[word] for word in TASKS[task].choices]
            likely = expected_value(scores, np.eye(len(words))[0]).tolist()
            best = scores.argmax(1).tolist()
            return [Answer("text", text=words[b], value=p) for b, p in zip(best, likely, strict=True)]
        kind = "text" if decoding.writes else "number"
        answers = [Answer(kind) for _ in asks]
        if decoding.rates:
            scores = self.predictor.rate(examples, inputs, index, self._context(facts, examples, index))
            for row in range(len(asks)):
                value = Rating.of(scores[row : row + 1], self.predictor.rating_values)
                answers[row] = Answer(
                    kind, value=value, interval=value.interval, distribution=value.distribution
                )
        if decoding.writes:
            items = np.array([-1 if one.item is None else one.item for one in facts])
            texts = self.predictor.write(examples, inputs, items)
            answers = [replace(answer, text=text) for answer, text in zip(answers, texts, strict=True)]
        return answers

    def plain_text(self, text: str) -> str:
        """The model's output for a cleaned text, used as the prompt unchanged."""
        ids = self.checkpoint.renderer.encode_text(text)
        return self.predictor.write_plain(Ragged.from_lists([ids]))[0]

    def inputs(self, task: str, prompt: int, facts: Sequence[PromptFacts]) -> Ragged:
        """Ragged int32: the rendered prompts."""
        return self.predictor.encode(self._examples(task, facts), np.full(len(facts), prompt))

    def _inputs(self, asks: Sequence[Ask]) -> Ragged:
        """Ragged int32: the rendered prompts, in the order of the asks, whose prompts may differ."""
        groups: dict[tuple[str, int], list[int]] = {}
        for number, ask in enumerate(asks):
            groups.setdefault((ask.task, ask.prompt), []).append(number)
        parts = [
            self.inputs(task, prompt, [asks[number].facts for number in numbers])
            for (task, prompt), numbers in groups.items()
        ]
        if len(parts) == 1:
            return parts[0]
        order = np.concatenate([np.asarray(numbers) for numbers in groups.values()])
        return Ragged.concatenate(parts).take(np.argsort(order))

    def _examples(self, task: str, facts: Sequence[PromptFacts]) -> Examples:
        filled = fill_slots(facts, self.options, self.attributes)
        return Examples(task, np.zeros(len(facts), np.int64), filled.columns, filled.texts)

    def _context(self, facts: Sequence[PromptFacts], examples: Examples, index: np.ndarray) -> RatingContext:
        """What the calibration of ratings needs: the items, the people's ratings, and the texts of reviews."""
        rated = Ragged.from_lists([[item for item, _ in one.rated] for one in facts])
        places = np.array([place for one in facts for _, place in one.rated], np.int64)
        return RatingContext(
            np.array([-1 if one.item is None else one.item for one in facts]),
            rated,
            self.predictor.rating_values[places].astype(np.float64),
            texts_of(examples, self.predictor.prompts, index),
        )

    def _shown(self, answer: Answer, ids: np.ndarray) -> Answer:
        """With the prompt as a person reads it, and as the model does."""
        tokenizer = self.predictor.tokenizer
        asked = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
        return replace(answer, asked=asked, tokens=tuple(tokenizer.convert_ids_to_tokens(ids.tolist())))

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
