"""The front door: a trained checkpoint that answers questions, in plain text or by method.

rec = Recommender.from_pretrained("runs/quickstart/model")
print(rec("I loved Alien (1979) and Fargo (1996). What should I watch next?"))
rec.recommend(history=["Alien (1979)", "Fargo (1996)"], k=5)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.hub import resolve
from p5t5.checkpoint.overwriting import check_nothing_lost
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.records.cleaning import clean_text
from p5t5.fusion.blend import FUSION_FILE, STATE_FILE, Fusion
from p5t5.inference.answers import Answer, Answerer, Rating, Recommendation
from p5t5.inference.prompt_choice import choose_prompt, choose_task
from p5t5.inference.request import PromptFacts, fill_slots
from p5t5.questions.intent import Route, Router
from p5t5.questions.parsing import Question, read_question
from p5t5.questions.profiles import Data, History, UserProfiles, without_item
from p5t5.tasks.base import Decoding
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER
from p5t5.updating.new_entities import add_items

__all__ = ["Answer", "Rating", "Recommendation", "Recommender"]

NEXT = "sequential/next_item"


class Recommender:
    """Answers for one checkpoint. Holds no interactions: pass ``history=`` or ``data=`` with a user."""

    def __init__(self, checkpoint: Checkpoint, card: str = "", fusion: Fusion | None = None) -> None:
        self.checkpoint, self.fusion = checkpoint, fusion
        self.catalogue = checkpoint.catalogue
        self.card = card
        self._answerer = Answerer(checkpoint, fusion)
        self._people = UserProfiles(checkpoint)

    @staticmethod
    def from_pretrained(
        folder_or_id: str | os.PathLike,
        device: str | torch.device | None = None,
        fusion: bool = False,
    ) -> Recommender:
        """From a checkpoint folder or a Hub id (offline: from its cache). UserError if there is none.

        ``fusion``: what comes next is then ranked by the blend that `p5t5 evaluate --fusion` has fitted
        and saved beside the model, and every recommendation says ``why``; UserError if there is no such.
        """
        folder = resolve(os.fspath(folder_or_id))
        checkpoint = Checkpoint.load(folder)
        if device is not None:
            checkpoint.model.to(torch.device(device))  # type: ignore[arg-type]
        card = folder / "README.md"
        text = card.read_text("utf-8") if card.is_file() else ""
        blend = Fusion.load(folder) if fusion else None
        if blend is not None:
            blend.check(checkpoint.info.data.hash)
        return Recommender(checkpoint, text, blend)

    def save_pretrained(self, folder: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes the checkpoint folder; a Recommender read from it gives the same answers.

        Raises UserError where the folder holds something that would be lost, such as another model or the
        results of this one, unless ``overwrite``.
        """
        if not overwrite:
            check_nothing_lost(
                self.checkpoint, os.fspath(folder), (FUSION_FILE, STATE_FILE) if self.fusion else ()
            )
        self.checkpoint.save(os.fspath(folder), self.card)
        if self.fusion is not None:
            self.fusion.save(os.fspath(folder))

    def add_items(self, items: pd.DataFrame) -> Recommender:
        """A new Recommender that can also name the ``items`` (item_id, title, attributes) which this one lacks.

        Without training: see `updating.new_entities.add_items`. A fusion belongs to one catalogue and is left out.
        """
        return Recommender(add_items(self.checkpoint, items), self.card)

    def __call__(
        self, text: str, k: int = 10, *, data: Data | None = None, exclude_seen: bool = True
    ) -> Answer:
        """Answers a question in plain words with ranked items, a number or a text.

        Titles and ids in the text are linked to the catalogue; ``data`` gives the history of a user named
        in it. UserError for an empty text or a k beyond the catalogue.
        """
        self._check_k(k)
        cleaned = clean_text(text)
        if not cleaned:
            raise UserError(
                "the question is empty: ask something, such as “What should I watch after Fargo?”"
            )
        question = read_question(cleaned, self._people.linker.link(cleaned))
        route = self._router.route(cleaned, question.links)
        notes = self._misunderstandings(question)
        if route.near:
            answer = self._respond(question, route, k, data, exclude_seen, notes)
        else:
            notes.append("no known kind of question is near: the text went to the model as it is")
            answer = Answer("text", text=self._answerer.plain_text(cleaned), asked=cleaned)
        linked = tuple(self.catalogue.titles[item] for item in question.items)
        return replace(answer, similarity=route.similarity, linked=linked, notes=tuple(notes))

    def _respond(
        self,
        question: Question,
        route: Route,
        k: int,
        data: Data | None,
        exclude_seen: bool,
        notes: list[str],
    ) -> Answer:
        """The answer to a question whose task is known; adds notes on what was assumed."""
        facts = self._facts(question, route.task, data, notes)
        if TASKS[route.task].decoding is Decoding.CANDIDATES and len(facts.candidates) < 2 <= route.names:
            return Answer("text", text=self._no_choice(question), task=route.task)
        filled = fill_slots([facts], self._answerer.options, self._answerer.attributes)
        planned = choose_task(self.checkpoint.prompts, route.task, filled, self._learnt, route.by_prompt)
        if planned is None:
            return Answer("text", text=self._cannot(route.task, question), task=route.task)
        task, place = planned
        if task != route.task:
            notes.append(f"asked as {task}: with what is known, this model cannot be asked {route.task}")
        prompt = self.checkpoint.prompts[place]
        slots = set(PLACEHOLDER.findall(prompt.input))
        if slots & {"rated_history", "rated_titles"}:
            notes += self._took_for_ratings(question, facts)
        if slots & filled.empty:
            unread = question.user is not None and data is None
            notes.append(
                "the history of the user is not in the question: name the data folder (--data, data=) to have it read"
                if unread
                else "no history was found in the question: the answer is for anybody"
            )
        seen = [*facts.history, *question.items] if exclude_seen else []
        answer = self._answerer.answer(task, place, facts, k, seen)
        return replace(answer, task=task, prompt=prompt.id)

    def recommend(
        self,
        history: History | None = None,
        *,
        user: str | None = None,
        data: Data | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
    ) -> list[Recommendation]:
        """The k best items for a history (ids or titles, oldest first), or for a user of ``data``.

        ``allow``: recommend only among these items.
        """
        self._check_k(k)
        facts = self._people.person(user, history, data)
        seen = Ragged.from_lists([facts.history if exclude_seen else []])
        allowed = None if allow is None else np.array([self._people.item(item) for item in allow], np.int64)
        return self._answerer.recommend(NEXT, self._prompt(NEXT, facts), [facts], k, seen, allowed)[0]

    def recommend_many(
        self,
        users: Sequence[str],
        data: Data,
        *,
        k: int = 10,
        exclude_seen: bool = True,
        token_budget: int = 8192,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Recommendation]]:
        """`recommend` for many users of ``data``, in batches; ``progress`` is told the users just done."""
        self._check_k(k)
        people = [self._people.person(user, None, data) for user in users]
        known = np.array([person.user is not None for person in people], bool)
        out: list[list[Recommendation]] = [[] for _ in users]
        for rows in (np.flatnonzero(known), np.flatnonzero(~known)):
            if not len(rows):
                continue
            part = [people[row] for row in rows]
            seen = Ragged.from_lists([person.history if exclude_seen else [] for person in part])
            place = self._prompt(NEXT, *part)
            answers = self._answerer.recommend(
                NEXT, place, part, k, seen, token_budget=token_budget, progress=progress
            )
            for row, answer in zip(rows.tolist(), answers, strict=True):
                out[row] = answer
        return out

    def rank(
        self,
        history: History | None,
        candidates: Sequence[str],
        *,
        user: str | None = None,
        data: Data | None = None,
    ) -> list[Recommendation]:
        """The candidates (ids or titles), best first for this history or user."""
        if not len(candidates):
            raise UserError("candidates: give at least one item to rank")
        items = list(dict.fromkeys(self._people.item(item) for item in candidates))
        facts = replace(self._people.person(user, history, data), candidates=items)
        return self._answerer.rank(NEXT, self._prompt(NEXT, facts), facts)

    def rate(
        self, item: str, *, user: str | None = None, history: History | None = None, data: Data | None = None
    ) -> Rating:
        """The expected rating of an item, for a user or for a history of (item, rating) pairs.

        A float that also has the model's ``interval`` (the central 80 %) and ``distribution``.
        """
        facts = replace(self._people.person(user, history, data), item=self._people.item(item))
        place = self._prompt("rating/score", facts)
        value = self._answerer.answer("rating/score", place, facts).value
        assert isinstance(value, Rating)
        return value

    def explain(self, item: str, *, user: str | None = None, feature: str = "") -> str:
        """Why the item suits the user, in a sentence; ``feature``: a word the sentence should be about."""
        facts = replace(
            self._people.person(user, None, None), item=self._people.item(item), feature=clean_text(feature)
        )
        task = "explanation/explain_feature" if feature else "explanation/explain"
        return self._answerer.answer(task, self._prompt(task, facts), facts).text

    def summarize(self, review: str, *, user: str | None = None, item: str | None = None) -> str:
        """A headline for a review."""
        if not clean_text(review):
            raise UserError("the review is empty: there is nothing to sum up")
        facts = replace(self._people.person(user, None, None), review=clean_text(review))
        if item is not None:
            facts = replace(facts, item=self._people.item(item))
        task = "review/headline"
        return self._answerer.answer(task, self._prompt(task, facts), facts).text

    # -- what a question is about

    @cached_property
    def _router(self) -> Router:
        return Router(self.checkpoint.prompts, TASKS)

    @property
    def _learnt(self) -> list[str]:
        return list(self.checkpoint.info.tasks or [])

    def _facts(self, question: Question, task: str, data: Data | None, notes: list[str]) -> PromptFacts:
        """The slots' values for this task, and notes on what was assumed."""
        choosing = TASKS[task].decoding is Decoding.CANDIDATES
        choice = question.choice if choosing and len(question.choice) > 1 else ()
        if TASKS[task].decoding is Decoding.ITEMS:
            history: tuple[int, ...] = question.items
        elif choosing:
            history = tuple(item for item in question.items if item not in choice)
        else:
            history = question.others
        feelings = question.feelings or {}
        if any(feelings.get(item, 1) > 0 for item in history):
            history = tuple(item for item in history if feelings.get(item, 1) > 0)
        known = [item for item in question.items if item in history or item in question.others]
        said = {item: value for item, value in (question.ratings or {}).items() if item in known}
        rated = self._people.rated(said, {item: feelings[item] for item in known if item in feelings})
        person = PromptFacts()
        if data is not None and question.user is not None:
            person = self._people.of_data(question.user, data)
            if TASKS[task].family != "sequential":  # "how would I rate it" of what was rated already
                person = without_item(person, question.item)
        guess = None
        if question.guess is not None and len(self.checkpoint.rating_values):
            guess = int(self._people.rating_place([question.guess])[0])
        return PromptFacts(
            user=question.user,
            item=question.item,
            history=[*person.history, *history],
            rated=[*person.rated, *rated],
            candidates=choice,
            review=question.review or "",
            feature=question.feature or "",
            guess=guess,
        )

    def _misunderstandings(self, question: Question) -> list[str]:
        notes = []
        for link in question.unclear:
            named = " or ".join(self.catalogue.titles[item] for item in link.items)
            notes.append(f"“{question.text[link.start : link.end]}” could be {named}: say which")
        if question.review is None:
            for link in self._people.linker.near(question.text, question.links):
                meant = " or ".join(self.catalogue.titles[item] for item in link.items[:3])
                written = question.text[link.start : link.end]
                notes.append(f"“{written}” is not in the catalogue: do you mean {meant}?")
        if question.stranger:
            notes.append(f"{question.stranger} is not known to the model")
        return notes

    def _no_choice(self, question: Question) -> str:
        found = ", ".join(self.catalogue.titles[item] for item in question.items)
        return (
            "To choose, two items or more must be found in the catalogue: name each by its title or id. "
            f"Found: {found or 'none'}."
        )

    def _took_for_ratings(self, question: Question, facts: PromptFacts) -> list[str]:
        """A note on ratings that were not said as numbers."""
        guessed = [
            f"{self.catalogue.titles[item]} {self.checkpoint.rating_values[place]:g}"
            for item, place in facts.rated
            if item in (question.feelings or {}) and item not in (question.ratings or {})
        ]
        return [f"took what was said for ratings: {', '.join(guessed)}"] if guessed else []

    def _cannot(self, task: str, question: Question) -> str:
        """A sentence on why there is no answer."""
        if question.unclear:
            return f"Which one is meant? {self._misunderstandings(question)[0]}."
        if self._learnt and task not in self._learnt:
            return f"This model has not learnt to answer such questions ({task}); it knows {', '.join(self._learnt)}."
        if TASKS[task].reads_review and not question.review:
            return "No review was found in the question: paste it behind a colon or in quotes."
        if not question.items:
            return (
                "No item of the catalogue was found in the question: name one by its title (and year) or id, "
                'as in "I liked …, what next?" or "How many stars would I give …?".'
            )
        return (
            "More must be known for this question: name a user that the model knows, or say what you liked."
        )

    # -- prompts

    def _prompt(self, task: str, *facts: PromptFacts) -> int:
        """The wording to ask with; UserError where the model cannot be asked this."""
        if self._learnt and task not in self._learnt:
            raise UserError(f"the model was not trained for {task}; it knows {', '.join(self._learnt)}.")
        filled = fill_slots(facts, self._answerer.options, self._answerer.attributes)
        for allow_empty in (False, True):
            place = choose_prompt(self.checkpoint.prompts, task, filled, allow_empty=allow_empty)
            if place is not None:
                return place
        raise UserError(
            f"{task}: none of the model's wordings can be filled; give a user that the model knows."
        )

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= len(self.catalogue):
            raise UserError(
                f"k is {k}, but must lie between 1 and the catalogue's {len(self.catalogue)} items."
            )
