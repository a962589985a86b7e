"""One question, rendered and decoded as its task says, for people: an Answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from p5t5.baselines.review_regression import texts_of
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.ranking import expected_value, rank_all, score_choices, score_items
from p5t5.fusion.blend import Fusion
from p5t5.fusion.fitting import TASK as FUSED_TASK
from p5t5.fusion.model_scores import rank as rank_fused
from p5t5.inference.item_phrases import target_slot
from p5t5.inference.predictor import after_number, score_beginnings
from p5t5.inference.rating_calibration import RatingContext, saved_rating_calibration
from p5t5.inference.request import PromptFacts, fill_slots
from p5t5.inference.text_writer import (
    GREEDY,
    Writer,
    answers_of_other_tasks,
    required_words,
    saved_item_ngrams,
    saved_options,
)
from p5t5.metrics.rating import central_interval, choice_probabilities
from p5t5.tasks.base import WORDS, Examples
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER


@dataclass(frozen=True)
class Recommendation:
    """``score``: the log-probability that the model gives the item; higher is better.

    With a fusion the blended score, and ``why``: what share each part has in it, {"model": 0.6, …}.
    """

    item_id: str
    title: str
    score: float
    why: dict[str, float] = field(default_factory=dict)


class Rating(float):
    """An expected rating, a number like any other, with how sure the model is.

    - ``interval``: the central 80 % of the distribution, ends included.
    - ``distribution``: rating value → probability.
    """

    interval: tuple[float, float]
    distribution: dict[float, float]

    @classmethod
    def of(cls, log_probabilities: np.ndarray, values: np.ndarray) -> Rating:
        """From one row of scores [1, values]; NaN where the model gives no value any probability."""
        shares = choice_probabilities(log_probabilities)
        values = np.asarray(values, np.float64)
        rating = cls(float(shares[0] @ values))
        low, high = central_interval(shares, values)[0].tolist()
        rating.interval = (low, high)
        rating.distribution = dict(zip(values.tolist(), shares[0].tolist(), strict=True))
        return rating


@dataclass(frozen=True)
class Answer:
    """What came out, and how the question was understood.

    - ``kind``: "items" (``items``, best first), "number" (``value``, a rating) or "text" (``text``; for
      a yes/no question ``value`` is the probability of yes or like, beside an explanation the rating).
      Ratings come with the model's ``interval`` (the central 80 %) and ``distribution`` over the scale.
    - ``prompt``: id of the wording used, None where the text went to the model as it is or no answer
      could be given; ``asked``: that wording with its slots filled; ``task``; ``similarity`` (0 to 1)
      of the nearest wording.
    - ``linked``: titles found in the question; ``notes``: what was assumed, or could not be used.
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
            return "\n".join(f"{place:2d}. {item.title}" for place, item in enumerate(self.items, 1))
        if self.kind == "number":
            return f"{self.value:.1f}"
        return self.text if self.value is None else f"{self.text} ({self.value:.2f})"


class Answerer:
    """Asks a checkpoint's model the wording ``place`` (an index into its prompts) of a task."""

    def __init__(self, checkpoint: Checkpoint, fusion: Fusion | None = None) -> None:
        self.checkpoint, self.fusion = checkpoint, fusion
        self.model = checkpoint.model.eval()
        self.catalogue = checkpoint.catalogue
        self.options = checkpoint.build_options()
        self.trust = saved_rating_calibration(checkpoint)
        self.writer, self.text_options = Writer(checkpoint.tokenizer), saved_options(checkpoint)
        self.phrases = saved_item_ngrams(checkpoint)

    @cached_property
    def attributes(self) -> list[str] | None:
        """A text an item, for the slot ``data_record``."""
        items = self.catalogue.items
        return items["attributes"].tolist() if "attributes" in items else None

    def answer(
        self, task: str, place: int, facts: PromptFacts, k: int = 10, seen: Sequence[int] = ()
    ) -> Answer:
        """The answer as the task's decoding asks. ``seen``: items never to recommend.

        Where the facts hold candidates, a task that ranks the catalogue ranks them alone.
        """
        decoding = TASKS[task].decoding
        asked = self._wording(task, place, facts)
        if decoding == "candidates" or (decoding == "items" and len(facts.candidates)):
            return Answer("items", items=tuple(self.rank(task, place, facts)[:k]), asked=asked)
        if decoding == "items":
            ranked = self.recommend(task, place, [facts], k, Ragged.from_lists([seen]))
            return Answer("items", items=tuple(ranked[0]), asked=asked)
        ids, mask = self._tensors(self.inputs(task, place, [facts]))
        if decoding == "choice":
            words = [WORDS[word] for word in TASKS[task].choices]
            scores = self._choice_scores(ids, mask, place, words)
            if (trust := self.trust.get(task)) is not None:
                scores = trust(scores, self._asked(task, place, facts))
            share = float(expected_value(scores, np.eye(len(words))[0])[0])
            return Answer("text", text=words[int(scores[0].argmax())], value=share, asked=asked)
        value, text, kind = None, "", "number" if decoding == "rating" else "text"
        if decoding != "text":
            values = self.checkpoint.rating_values
            if not len(values):
                raise UserError("the model was trained on data without ratings: it cannot give a number.")
            scores = self._choice_scores(ids, mask, place, [f"{value:g}" for value in values])
            trust = self.trust.get(task)
            asks = self._asked(task, place, facts)
            value = Rating.of(scores if trust is None else trust(scores, asks), values)
        if decoding != "rating":
            text = self._written(task, place, facts)
        if decoding == "rating_and_text":
            text = after_number(text, {f"{value:g}" for value in self.checkpoint.rating_values})
        found = Answer(kind, value=value, text=text, asked=asked)
        if value is None:
            return found
        return replace(found, interval=value.interval, distribution=value.distribution)

    def recommend(
        self,
        task: str,
        place: int,
        facts: Sequence[PromptFacts],
        k: int,
        exclude: Ragged,
        allow: np.ndarray | None = None,
        token_budget: int = 8192,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Recommendation]]:
        """The k best items of the catalogue for each of the questions; fused, where the task was."""
        if self.fusion is not None and task == FUSED_TASK:
            items, scores, why = rank_fused(
                self.fusion,
                self.model,
                self.inputs(task, place, facts),
                self.catalogue.trie,
                Ragged.from_lists([one.history for one in facts]),
                np.array([-1 if one.user is None else one.user for one in facts], np.int64),
                k,
                exclude=exclude,
                allow=allow,
                token_budget=token_budget,
                progress=progress,
            )
            return [self._named(*row) for row in zip(items, scores, why, strict=True)]
        ranked = rank_all(
            self.model,
            self.inputs(task, place, facts),
            self.catalogue.trie,
            k,
            exclude=exclude,
            allow=allow,
            token_budget=token_budget,
            progress=progress,
        )
        return [self._named(items, scores) for items, scores in zip(ranked.items, ranked.scores, strict=True)]

    def rank(self, task: str, place: int, facts: PromptFacts) -> list[Recommendation]:
        """The candidates among the facts, best first; fused, where the task was."""
        if self.fusion is not None and task == FUSED_TASK:
            few = np.array(facts.candidates, np.int64)
            return self.recommend(task, place, [facts], len(few), Ragged.from_lists([[]]), few)[0]
        ids, mask = self._tensors(self.inputs(task, place, [facts]))
        candidates = Ragged.from_lists([facts.candidates])
        scores = score_items(self.model, ids, mask, self.catalogue.trie, candidates).values
        best = np.argsort(-scores, kind="stable")
        return self._named(candidates.values[best], scores[best])

    def plain_text(self, text: str) -> str:
        """What the model says to a cleaned text, taken as it is."""
        ids = self.checkpoint.renderer.encode_text(text)
        return self.writer.write(self.model, Ragged.from_lists([ids]))[0]

    def inputs(self, task: str, place: int, facts: Sequence[PromptFacts]) -> Ragged:
        """Ragged int32: the rendered prompts."""
        examples = self._examples(task, facts)
        return self.checkpoint.renderer.encode_inputs(examples, np.full(len(facts), place))

    def _examples(self, task: str, facts: Sequence[PromptFacts]) -> Examples:
        filled = fill_slots(facts, self.options, self.attributes)
        return Examples(task, np.zeros(len(facts), np.int64), filled.columns, filled.texts)

    def _asked(self, task: str, place: int, facts: PromptFacts) -> RatingContext:
        """Whose usual rating of what, or which text, a rating is blended with."""
        places = np.array([place for _, place in facts.rated], np.int64)
        return RatingContext(
            np.array([-1 if facts.item is None else facts.item]),
            Ragged.from_lists([[item for item, _ in facts.rated]]),
            self.checkpoint.rating_values[places].astype(np.float64),
            texts_of(self._examples(task, [facts]), self.checkpoint.prompts, np.array([place])),
        )

    def _wording(self, task: str, place: int, facts: PromptFacts) -> str:
        """The prompt as a person reads it."""
        ids = self.inputs(task, place, [facts]).values
        return str(self.checkpoint.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _tensors(self, inputs: Ragged) -> tuple[Tensor, Tensor]:
        device = next(self.model.parameters()).device
        ((_, ids, mask),) = padded_batches(inputs, max(int(inputs.lengths.sum()), 1), device)
        return ids, mask

    def _written(self, task: str, place: int, facts: PromptFacts) -> str:
        examples = self._examples(task, [facts])
        inputs = self.checkpoint.renderer.encode_inputs(examples, np.full(1, place))
        options = self.text_options.get(task, GREEDY)
        others = answers_of_other_tasks(task, self.checkpoint.tokenizer, self.checkpoint.rating_values)
        item = np.array([-1 if facts.item is None else facts.item])
        phrases = self.phrases.get(target_slot(task))
        return self.writer.write(
            self.model, inputs, options, required_words(examples), others, phrases, item
        )[0]

    def _choice_scores(self, ids: Tensor, mask: Tensor, place: int, words: Sequence[str]) -> np.ndarray:
        """float32 [1, words]: log-probability of each word as (the beginning of) the prompt's target."""
        first, *rest = PLACEHOLDER.split(self.checkpoint.prompts[place].target)  # text, slot, text, slot, …
        encode = self.checkpoint.renderer.encode_text
        choices = [encode(" ".join([first, word, *rest[1:2]])) for word in words]
        score = score_choices if len(rest) < 3 else score_beginnings
        return score(self.model, ids, mask, choices)

    def _named(
        self, items: np.ndarray, scores: np.ndarray, why: Sequence[dict[str, float]] | None = None
    ) -> list[Recommendation]:
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        rows = zip(items.tolist(), scores.tolist(), why or [{}] * len(items), strict=True)
        return [
            Recommendation(ids[item], titles[item], score, parts) for item, score, parts in rows if item >= 0
        ]
