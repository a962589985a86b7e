"""From a Request to an Answer: task and slot values, the prompt to ask, the model's answer, and what to say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from p5t5.core.errors import UserError
from p5t5.inference.answers import Answer, Answerer, Recommendation
from p5t5.inference.asks import Ask, Plan
from p5t5.inference.prompt_choice import choose_task
from p5t5.inference.request import PromptFacts, fill_slots
from p5t5.inference.reranking import MODEL, POPULAR, item_vectors, most_similar, popularity
from p5t5.questions import wording
from p5t5.questions.attributes import YEAR
from p5t5.questions.entity_linking import Link
from p5t5.questions.intent import Route, Router
from p5t5.questions.intent_rules import RATE
from p5t5.questions.lookup import look_up
from p5t5.questions.parsing import parse_request
from p5t5.questions.profiles import Data, UserProfiles, without_item
from p5t5.questions.request import Request
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER

NEXT, CONTINUE = "sequential/next_item", "sequential/continue"
RATE_AND_EXPLAIN = "explanation/rate_and_explain"
LEFT_OUT = 10  # items most like a disliked one that are not recommended either, at most a twentieth of all
# The tasks that can answer an intent; which one is asked is for the question's words to say.
TASKS_OF = {
    "recommend": (NEXT, CONTINUE),
    "similar": (NEXT,),
    "rate": ("rating/score",),
    "like": ("rating/like", "direct/verify", "sequential/verify"),
    "verify": ("rating/verify", "sequential/verify", "direct/verify"),
    "choose": ("direct/choose", "sequential/choose"),
    "explain": ("explanation/explain", "explanation/explain_feature", RATE_AND_EXPLAIN),
    "headline": ("review/headline",),
    "review_score": ("review/score",),
}
LISTS = ("recommend", "similar")
KNOWN_TASKS = {task for tasks in TASKS_OF.values() for task in tasks}  # others were added to the registry


@dataclass(frozen=True)
class _Person:
    """What is known of the one who asks: slot values, and the note where nothing was read."""

    facts: PromptFacts
    note: str = ""


class QuestionAnswerer:
    """Answers questions and requests for one checkpoint. ``guesses``: task → what to say of its answers beside them."""

    def __init__(
        self, answerer: Answerer, profiles: UserProfiles, guesses: Mapping[str, str] | None = None
    ) -> None:
        self.answerer, self.profiles, self.guesses = answerer, profiles, guesses or {}
        self.checkpoint, self.catalogue = answerer.checkpoint, answerer.checkpoint.catalogue

    @cached_property
    def router(self) -> Router:
        """Compares questions with the checkpoint's prompts."""
        return Router(self.checkpoint.prompts, TASKS)

    @cached_property
    def vectors(self) -> np.ndarray:
        """float32 [items, d]: see `item_vectors`."""
        return item_vectors(self.checkpoint)

    @property
    def learnt(self) -> list[str]:
        return list(self.checkpoint.info.tasks or [])

    def read(self, text: str) -> Request:
        """What a text asks for."""
        return parse_request(text, self.profiles.vocabulary)

    def plan(
        self,
        request: Request,
        k: int,
        *,
        text: str = "",
        data: Data | None = None,
        exclude_seen: bool = True,
        where: Mapping[str, object] | None = None,
        without: Mapping[str, object] | None = None,
        exclude: Sequence[int] = (),
    ) -> Plan[Answer]:
        """The answer to a request, as a plan. ``text``: the question in words, from which the prompt's wording is chosen."""
        vocabulary = self.profiles.vocabulary
        given = vocabulary.attributes.check(where, "where"), vocabulary.attributes.check(without, "without")
        request = replace(
            request, where={**request.where, **given[0]}, without={**request.without, **given[1]}
        )
        notes = wording.misunderstandings(request, vocabulary)
        linked = tuple(self.catalogue.titles[item] for item in request.named)
        route = self._route(request, text)
        if route.near and route.task not in KNOWN_TASKS:
            person = self._person(request, data, notes)
            facts = replace(person.facts, item=request.named[-1] if request.named else None)
            answer = yield from self._ask(request, route, replace(person, facts=facts), k, notes)
            return replace(answer, linked=linked, notes=tuple(dict.fromkeys(notes)))
        if request.intent == "help":
            reply = wording.help_text(request.language, self.catalogue.titles)
            return Answer("text", text=reply, notes=tuple(notes))
        if request.intent == "lookup":
            found = look_up(request, text, self.profiles, data)
            return Answer("text", text=found, linked=linked, notes=tuple(notes))
        refusal = self._refusal(request)
        if refusal:
            task = TASKS_OF[request.intent][0]
            return Answer("text", text=refusal, task=task, linked=linked, notes=tuple(notes))
        person = self._person(request, data, notes)
        if request.intent in LISTS:
            answer = yield from self._list(request, route, person, k, data, exclude_seen, exclude, notes)
        else:
            answer = yield from self._ask(request, route, person, k, notes)
        return replace(answer, linked=linked, notes=tuple(dict.fromkeys(notes)))

    # -- which task

    def _route(self, request: Request, text: str) -> Route:
        links = []
        if text:
            for mention in self.profiles.vocabulary.finder.find(text):
                kind = "item" if len(mention.items) == 1 else "ambiguous"
                links.append(Link(kind, mention.start, mention.end, mention.items))
        route = self.router.route(text or request.intent, links)
        if request.intent == "explain" and RATE.search(text):  # "rate it and say why"
            route.by_task[RATE_AND_EXPLAIN] = 1.0
        return route

    def _tasks(self, request: Request, route: Route, guess: int | None) -> list[str]:
        """The tasks of the intent, the one whose prompts are nearest first; or the added task that is nearest."""
        if route.near and route.task not in KNOWN_TASKS:
            return [route.task]
        tasks = list(TASKS_OF[request.intent])
        if request.intent == "verify":
            tasks = tasks[:1] if guess is not None else tasks[1:]
        if request.intent == "choose" and not (request.liked or request.seen):
            tasks = tasks[:1]
        if request.intent == "explain" and not request.feature:
            tasks.remove("explanation/explain_feature")
        return sorted(tasks, key=lambda task: -route.by_task.get(task, 0.0))

    def _refusal(self, request: Request) -> str:
        """Why the question cannot be asked; "" where it can."""
        if request.intent in ("headline", "review_score") and not request.review:
            return "No review was found in the question: paste it behind a colon or in quotes."
        if request.intent == "choose" and len(request.candidates) < 2:
            return wording.no_choice(request, self.catalogue.titles)
        if request.intent in ("rate", "like", "verify", "explain") and not request.items:
            return wording.no_item(request, self.profiles.vocabulary)
        return ""

    # -- what is known

    def _person(self, request: Request, data: Data | None, notes: list[str]) -> _Person:
        """The slots' values, of the question and of the data; adds notes on what was assumed."""
        said, ratings_noted = self._ratings(request)
        notes += ratings_noted
        values = self.checkpoint.rating_values
        middle = (values[0] + values[-1]) / 2 if len(values) else 0.0
        asked = set(request.items) if request.intent not in LISTS else set()
        liked = [item for item, value in said.items() if value >= middle and item not in asked]
        history = [*request.seen, *request.liked, *liked]
        if request.intent == "similar":
            history = [*history, *request.items]
        feelings = dict.fromkeys(request.liked, 1.0) | dict.fromkeys(request.disliked, -1.0)
        rated = self.profiles.rated({i: v for i, v in said.items() if i not in asked}, feelings)
        user, note = None, ""
        known = PromptFacts()
        if request.people:
            name = request.people[0]
            user = self.profiles.find_user(name)
            if data is not None or self.profiles.did(name):
                try:
                    known = self.profiles.of_data(name, data)
                except UserError as error:
                    if "is not in the data" not in str(error):
                        raise
                    note = str(error).rstrip(".")
            elif user is None:
                note = f"user {name} is not known to the model"
            else:
                note = "the history of the user is not in the question: name the data folder (--data, data=) to have it read"
            if (
                request.intent not in LISTS and request.items
            ):  # "how would I rate it" of what was rated already
                known = without_item(known, request.items[-1])
        guess = None
        if request.intent == "verify" and request.items and request.items[-1] in said and len(values):
            guess = int(self.profiles.rating_index([said[request.items[-1]]])[0])
        facts = PromptFacts(
            user=user,
            item=request.items[-1] if request.items and request.intent not in LISTS else None,
            history=[*known.history, *dict.fromkeys(history)],
            rated=[*known.rated, *rated],
            candidates=request.candidates if request.intent == "choose" else (),
            review=request.review,
            feature=request.feature,
            guess=guess,
        )
        if len(request.items) > 1 and request.intent in ("rate", "like", "explain"):
            others = ", ".join(self.catalogue.titles[item] for item in request.items[:-1])
            notes.append(f"one item is answered for at a time: ask again for {others}")
        return _Person(facts, note)

    def _ratings(self, request: Request) -> tuple[dict[int, float], list[str]]:
        """Ratings on the model's own scale, and notes: 9 of 10 is not 5 of 5."""
        values = self.checkpoint.rating_values
        said: dict[int, float] = {}
        notes: list[str] = []
        if not len(values):
            return said, [
                "ratings are left out of account: the model was trained without"
            ] if request.ratings else []
        low, high = float(values[0]), float(values[-1])
        for item, (value, top) in request.ratings.items():
            title = self.catalogue.titles[item]
            if top is not None and value > top:
                notes.append(
                    f"the rating {value:g} of {top:g} for {title} makes no sense and was left out of account"
                )
            elif top is not None and top != high:
                said[item] = min(max(value / top * high, low), high)
                notes.append(f"took {value:g} of {top:g} for {title} as {said[item]:.1f} of {high:g}")
            elif low <= value <= high:
                said[item] = value
            else:
                notes.append(
                    f"the rating {value:g} for {title} is off the scale ({low:g} to {high:g}) and was left out of account: "
                    f"say of how many, as in {value:g}/10"
                )
        return said, notes

    # -- lists

    def _allowed(self, request: Request) -> np.ndarray:
        """bool [items]: who meets the conditions."""
        attributes = self.profiles.vocabulary.attributes
        keep = attributes.meets(request.where, request.without)
        years = attributes.numbers.get(YEAR)
        for item, newer in ((request.newer_than, True), (request.older_than, False)):
            if item is not None and years is not None:
                with np.errstate(invalid="ignore"):
                    keep &= (years > years[item]) if newer else (years < years[item])
        return keep

    def _list(
        self,
        request: Request,
        route: Route,
        person: _Person,
        k: int,
        data: Data | None,
        exclude_seen: bool,
        exclude: Sequence[int],
        notes: list[str],
    ) -> Plan[Answer]:
        """Ranked items within the conditions."""
        k = min(request.count or k, len(self.catalogue))
        keep = self._allowed(request)
        said = wording.conditions_in_words(request.where, request.without)
        notes += [f"kept to: {said}"] if said else []
        bounded = request.newer_than is not None or request.older_than is not None
        if bounded and YEAR not in self.profiles.vocabulary.attributes.numbers:
            notes.append("the catalogue holds no years: newer and older were left out of account")
        keep[list(exclude)] = False
        keep[list(request.disliked)] = False
        if exclude_seen:
            keep[[*person.facts.history, *request.named]] = False
        for item in request.disliked:
            few = min(LEFT_OUT, len(self.catalogue) // 20)
            alike = [
                other
                for other in most_similar(self.vectors, item)[0][:few].tolist()
                if other not in request.liked
            ]
            keep[alike] = False
        if not keep.any():
            return Answer(
                "text", text=f"No item of the catalogue is left{f' ({said})' if said else ''}: ask for less."
            )
        known = person.facts.history or any(rating for _, rating in person.facts.rated if request.ratings)
        notes += [person.note] if person.note else []
        if not known and person.facts.user is None:
            return (yield from self._popular(keep, k, data, notes, route))
        answer = yield from self._ranked(request, route, person.facts, k, keep, notes)
        uniform = -np.log(max(len(self.catalogue), 1))
        chance = not known and bool(answer.items) and answer.items[0].score <= uniform
        if chance and self.answerer.fusion is None and popularity(self.checkpoint) is not None:
            return (yield from self._popular(keep, k, data, notes, route))
        if len(answer.items) < k:
            notes.append(f"only {len(answer.items)} items are left to recommend")
        return answer

    def _popular(
        self, keep: np.ndarray, k: int, data: Data | None, notes: list[str], route: Route
    ) -> Plan[Answer]:
        """What most people like, where nothing is known of the one who asks."""
        counts = None if data is None else self.profiles.counts(data)
        standing = popularity(self.checkpoint, counts)
        if standing is None:
            notes.append("no history was found in the question: the answer is for anybody")
            facts = PromptFacts()
            return (yield from self._ranked(Request("recommend"), route, facts, k, keep, notes))
        counted = counts is not None or self.catalogue.item_count is not None
        best = "these are what most people like" if counted else "these are what is rated best"
        notes.append(f"no history was found in the question: {best}")
        order = np.argsort(-np.where(np.isfinite(standing), standing, -np.inf), kind="stable")
        shown = order[keep[order]][:k]
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        items = tuple(
            Recommendation(ids[item], titles[item], float(standing[item]), {POPULAR: 1.0})
            for item in shown.tolist()
        )
        return Answer("items", items=items, similarity=route.similarity)

    def _ranked(
        self, request: Request, route: Route, facts: PromptFacts, k: int, keep: np.ndarray, notes: list[str]
    ) -> Plan[Answer]:
        planned = self._planned(request, route, facts, notes)
        if isinstance(planned, str):
            return Answer("text", text=planned)
        task, prompt = planned
        answer = yield Ask(task, prompt, facts, min(k, int(keep.sum())), keep)
        items = tuple(item if item.why else replace(item, why={MODEL: 1.0}) for item in answer.items)
        prompt_id = self.checkpoint.prompts[prompt].id
        return replace(answer, items=items, task=task, prompt=prompt_id, similarity=route.similarity)

    # -- all else

    def _ask(self, request: Request, route: Route, person: _Person, k: int, notes: list[str]) -> Plan[Answer]:
        planned = self._planned(request, route, person.facts, notes)
        if isinstance(planned, str):
            return Answer("text", text=planned, task=self._tasks(request, route, person.facts.guess)[0])
        task, prompt = planned
        notes += [person.note] if person.note else []
        notes += [self.guesses[task]] if task in self.guesses else []
        answer = yield Ask(task, prompt, person.facts, k)
        return replace(
            answer, task=task, prompt=self.checkpoint.prompts[prompt].id, similarity=route.similarity
        )

    def _planned(
        self, request: Request, route: Route, facts: PromptFacts, notes: list[str]
    ) -> tuple[str, int] | str:
        """(task, prompt index), or why there is none."""
        tasks = self._tasks(request, route, facts.guess)
        filled = fill_slots([facts], self.answerer.options, self.answerer.attributes)
        for task in tasks:
            planned = choose_task(self.checkpoint.prompts, task, filled, self.learnt, route.by_prompt)
            if planned is not None:
                break
        else:
            known = ", ".join(self.learnt)
            if self.learnt and not set(tasks) & set(self.learnt):
                return f"This model has not learnt to answer such questions ({tasks[0]}); it knows {known}."
            return "More must be known for this question: name a user that the model knows, or say what you liked."
        if planned[0] not in tasks:
            notes.append(f"asked as {planned[0]}: with what is known, this model cannot be asked {tasks[0]}")
        slots = set(PLACEHOLDER.findall(self.checkpoint.prompts[planned[1]].input))
        if slots & {"rated_history", "rated_titles"}:
            notes += self._took_for_ratings(request, facts)
        if slots & filled.empty and not request.people and request.intent not in LISTS:
            notes.append("no history was found in the question: the answer is for anybody")
        return planned

    def _took_for_ratings(self, request: Request, facts: PromptFacts) -> list[str]:
        """A note on ratings that were not said as numbers."""
        felt = {*request.liked, *request.disliked} - set(request.ratings)
        guessed = [
            f"{self.catalogue.titles[item]} {self.checkpoint.rating_values[index]:g}"
            for item, index in facts.rated
            if item in felt
        ]
        return [f"took what was said for ratings: {', '.join(guessed)}"] if guessed else []
