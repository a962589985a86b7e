"""What is asked by method rather than in words, as plans: recommend, rank, rate, explain, summarize; and similar items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.inference.answers import Answer, Recommendation
from p5t5.inference.asks import Ask, Plan
from p5t5.inference.prompt_choice import choose_prompt
from p5t5.inference.request import PromptFacts, fill_slots
from p5t5.inference.reranking import MODEL, PROMOTION, SIMILAR, Reranking, most_similar, rerank
from p5t5.questions.answering import NEXT, QuestionAnswerer
from p5t5.questions.profiles import Data, History

Item = str | int  # an id or a title
User = str | int
Conditions = Mapping[str, Any]


class Operations:
    """The operations of one checkpoint; names of people and items are those that callers give."""

    def __init__(self, questions: QuestionAnswerer) -> None:
        self.questions, self.profiles = questions, questions.profiles
        self.answerer, self.checkpoint = questions.answerer, questions.checkpoint
        self.catalogue = questions.catalogue
        self._prompts: dict[tuple, int] = {}

    def recommend(
        self,
        person: PromptFacts,
        k: int,
        *,
        keep: np.ndarray | None = None,
        exclude_seen: bool = True,
        reranking: Reranking | None = None,
    ) -> Plan[Answer]:
        """The k best items among ``keep`` (`keep`; None: all), perhaps put in another order."""
        ask = self.asked(person, k, keep, exclude_seen, reranking)
        return self.listed((yield ask), ask, self.checked_k(k), reranking)

    def asked(
        self,
        person: PromptFacts,
        k: int,
        keep: np.ndarray | None,
        exclude_seen: bool = True,
        reranking: Reranking | None = None,
        prompt: int | None = None,
    ) -> Ask:
        """What `recommend` asks of the model: as many items as the order needs."""
        number = self.checked_k(k)
        if reranking is not None and reranking.changes:
            number = min(max(number, reranking.pool), len(self.catalogue))
            if reranking.boosts or reranking.promotions:  # what is boosted may stand anywhere
                number = len(self.catalogue) if keep is None else int(keep.sum())
        prompt = self.prompt(NEXT, person) if prompt is None else prompt
        return Ask(NEXT, prompt, person, number, keep, person.history if exclude_seen else ())

    def listed(self, answer: Answer, ask: Ask, k: int, reranking: Reranking | None) -> Answer:
        """The k items to show of what the model ranked."""
        items = [_explained(one) for one in answer.items]
        if reranking is not None and reranking.changes:
            items = self._reranked(items, k, reranking)
        return self._named(replace(answer, items=tuple(items[:k])), ask)

    def rank(
        self, person: PromptFacts, candidates: Sequence[int], keep: np.ndarray | None = None
    ) -> Plan[Answer]:
        """The candidates among ``keep``, best first. UserError where none is given."""
        if not candidates:
            raise UserError("candidates: give at least one item to rank")
        items = [item for item in candidates if keep is None or keep[item]]
        if not items:
            return Answer("items")
        facts = replace(person, candidates=items)
        ask = Ask(NEXT, self.prompt(NEXT, facts), facts, len(items))
        answer = yield ask
        return self._named(replace(answer, items=tuple(map(_explained, answer.items))), ask)

    def rate(self, person: PromptFacts, item: int) -> Plan[Answer]:
        """The expected rating of an item."""
        return (yield from self._told("rating/score", replace(person, item=item)))

    def explain(self, person: PromptFacts, item: int, feature: str = "") -> Plan[Answer]:
        """Why the item suits the person; ``feature``: a word the sentence should be about."""
        task = "explanation/explain_feature" if feature else "explanation/explain"
        return (yield from self._told(task, replace(person, item=item, feature=clean_text(feature))))

    def summarize(self, person: PromptFacts, review: str, item: int | None = None) -> Plan[Answer]:
        """A headline for a review. UserError for an empty one."""
        if not clean_text(review):
            raise UserError("the review is empty: there is nothing to sum up")
        facts = replace(person, review=clean_text(review), item=item)
        return (yield from self._told("review/headline", facts))

    def similar(self, item: int, k: int, keep: np.ndarray | None = None) -> list[Recommendation]:
        """The k items among ``keep`` most like one item, by the cosine of the model's item vectors."""
        k = self.checked_k(k)
        items, cosines = most_similar(self.questions.vectors, item)
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        pairs = zip(items.tolist(), cosines.tolist(), strict=True)
        kept = [(i, c) for i, c in pairs if keep is None or keep[i]][:k]
        return [Recommendation(ids[i], titles[i], cosine, {SIMILAR: 1.0}) for i, cosine in kept]

    def keep(
        self,
        allow: Sequence[Item] | None = None,
        exclude: Sequence[Item] = (),
        where: Conditions | None = None,
        without: Conditions | None = None,
    ) -> np.ndarray | None:
        """bool [items]: what may be answered; None: all. UserError where nothing may."""
        keep = np.ones(len(self.catalogue), bool)
        if where or without:
            attributes = self.profiles.vocabulary.attributes
            keep = attributes.meets(attributes.check(where, "where"), attributes.check(without, "without"))
        if allow is not None:
            named = np.zeros(len(keep), bool)
            named[self.profiles.items(allow, "allow")] = True
            keep &= named
        keep[self.profiles.items(exclude, "exclude")] = False
        if not keep.any():
            raise UserError(
                "no item of the catalogue meets allow, exclude, where and without together: ask for less."
            )
        return None if keep.all() else keep

    def person(self, user: User | None, history: History | None, data: Data | None) -> PromptFacts:
        """What is known of a person (see `UserProfiles.person`)."""
        return self.profiles.person(user, history, data)

    def prompt(self, task: str, *facts: PromptFacts) -> int:
        """The prompt to ask with; UserError where the model cannot be asked this."""
        learnt = self.questions.learnt
        if learnt and task not in learnt:
            raise UserError(f"the model was not trained for {task}; it knows {', '.join(learnt)}.")
        kind = (task, *(one.known for one in facts))
        if len(facts) == 1 and kind in self._prompts:
            return self._prompts[kind]
        filled = fill_slots(facts, self.answerer.options, self.answerer.attributes)
        for allow_empty in (False, True):
            place = choose_prompt(self.checkpoint.prompts, task, filled, allow_empty=allow_empty)
            if place is not None:
                if len(facts) == 1:
                    self._prompts[kind] = place
                return place
        raise UserError(
            f"{task}: none of the model's wordings can be filled; give a user that the model knows."
        )

    def checked_k(self, k: Any) -> int:
        """A number of items that the catalogue has; UserError for anything else."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise UserError(f"k is {k!r}, but must be a whole number.")
        if not 1 <= k <= len(self.catalogue):
            raise UserError(
                f"k is {k}, but must lie between 1 and the catalogue's {len(self.catalogue)} items."
            )
        return int(k)

    def _told(self, task: str, facts: PromptFacts) -> Plan[Answer]:
        ask = Ask(task, self.prompt(task, facts), facts)
        return self._named((yield ask), ask)

    def _named(self, answer: Answer, ask: Ask) -> Answer:
        return replace(answer, task=ask.task, prompt=self.checkpoint.prompts[ask.prompt].id)

    def _reranked(self, found: list[Recommendation], k: int, how: Reranking) -> list[Recommendation]:
        index = self.catalogue.index_of
        by_item = {index[one.item_id]: one for one in found}
        order = rerank(list(by_item), [one.score for one in found], self.questions.vectors, k, how)
        return [
            replace(
                by_item[item],
                why={reason: 1.0}
                if reason == PROMOTION
                else {**by_item[item].why, **({reason: 1.0} if reason else {})},
            )
            for item, _, reason in order
        ]


def _explained(one: Recommendation) -> Recommendation:
    # not `replace`: this is called for every item of every answer
    return one if one.why else Recommendation(one.item_id, one.title, one.score, {MODEL: 1.0})
