"""The front door: a trained checkpoint that answers questions, in plain text or by method.

rec = Recommender.from_pretrained("runs/quickstart/model")
print(rec("I loved Alien (1979) and Fargo (1996). What should I watch next?"))
rec.recommend(history=["Alien (1979)", "Fargo (1996)"], k=5)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.hub import place_model, resolve
from p5t5.checkpoint.overwriting import check_nothing_lost
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.records.cleaning import clean_text
from p5t5.fusion.blend import FUSION_FILE, STATE_FILE, Fusion
from p5t5.inference.answers import Answer, Answerer, Rating, Recommendation
from p5t5.inference.prompt_choice import choose_prompt
from p5t5.inference.request import PromptFacts, fill_slots
from p5t5.inference.reranking import MODEL, PROMOTION, SIMILAR, Reranking, most_similar, rerank
from p5t5.questions.answering import NEXT, QuestionAnswerer
from p5t5.questions.profiles import Data, History, UserProfiles, listed
from p5t5.questions.request import Request
from p5t5.updating.new_entities import add_items

__all__ = ["Answer", "Rating", "Recommendation", "Recommender", "Request", "Reranking"]

Item = str | int  # an id or a title
User = str | int
Conditions = Mapping[str, Any]


class Recommender:
    """Answers for one checkpoint. Holds no interactions: pass ``history=`` or ``data=`` with a user."""

    def __init__(self, checkpoint: Checkpoint, card: str = "", fusion: Fusion | None = None) -> None:
        self.checkpoint, self.fusion = checkpoint, fusion
        self.catalogue = checkpoint.catalogue
        self.card = card
        self._answerer = Answerer(checkpoint, fusion)
        self._people = UserProfiles(checkpoint)
        self._questions = QuestionAnswerer(self._answerer, self._people)

    vocabulary = property(lambda self: self._people.vocabulary, doc="What finds titles, ids and attributes.")

    @staticmethod
    def from_pretrained(
        folder_or_id: str | os.PathLike,
        device: str | torch.device | None = None,
        fusion: bool = False,
        *,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
    ) -> Recommender:
        """From a checkpoint folder ("~" is your home) or a Hub id (offline: from its cache). UserError if there is none.

        ``dtype``: of the weights, such as "bfloat16"; ``revision``: a branch, tag or commit of a Hub id.
        ``fusion``: what comes next is then ranked by the blend that `p5t5 evaluate --fusion` has fitted
        and saved beside the model, and every recommendation says ``why``; UserError if there is no such.
        """
        folder = resolve(os.path.expanduser(os.fspath(folder_or_id)), revision)
        checkpoint = Checkpoint.load(folder)
        place_model(checkpoint.model, device, dtype)
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
        self,
        text: str,
        k: int = 10,
        *,
        data: Data | None = None,
        exclude_seen: bool = True,
        where: Conditions | None = None,
        without: Conditions | None = None,
        exclude: Sequence[Item] = (),
    ) -> Answer:
        """Answers a question in plain words with ranked items, a number or a text.

        Titles and ids in the text are linked to the catalogue; ``data`` gives the history of a user named
        in it. ``where``, ``without``, ``exclude``: as in `recommend`, beside what the text says.
        UserError for an empty or overlong text, a k beyond the catalogue, or data of another model.
        """
        self._checked_k(k)
        return self.answer(
            self.request(text),
            k,
            text=clean_text(text),
            data=data,
            exclude_seen=exclude_seen,
            where=where,
            without=without,
            exclude=exclude,
        )

    def request(self, text: str) -> Request:
        """What a question asks for, as data: `Request.as_json` writes it down."""
        if not isinstance(text, str):
            raise UserError(f"the question is a {type(text).__name__}: give one text.")
        return self._questions.read(text)

    def answer(
        self,
        request: Request,
        k: int = 10,
        *,
        text: str = "",
        data: Data | None = None,
        exclude_seen: bool = True,
        where: Conditions | None = None,
        without: Conditions | None = None,
        exclude: Sequence[Item] = (),
    ) -> Answer:
        """Answers a request. ``text``: the question in words, from which the prompt's wording is chosen."""
        return self._questions.answer(
            request,
            self._checked_k(k),
            text=text,
            data=data,
            exclude_seen=exclude_seen,
            where=where,
            without=without,
            exclude=self._people.items(exclude, "exclude"),
        )

    def recommend(
        self,
        history: History | None = None,
        *,
        user: User | None = None,
        data: Data | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        allow: Sequence[Item] | None = None,
        exclude: Sequence[Item] = (),
        where: Conditions | None = None,
        without: Conditions | None = None,
        reranking: Reranking | None = None,
    ) -> list[Recommendation]:
        """The k best items for a history (ids or titles, oldest first), or for a user of ``data``.

        - ``allow``: recommend only among these items; ``exclude``: never these.
        - ``where``, ``without``: attribute → a value, a list of values, or (lowest, highest) of a number, with None for
          an open end: ``where={"genre": "Comedy", "year": (1990, 1999)}``.
        - ``reranking``: diversity, boosts and promotions (see `Recommender.reranking`).

        Fewer than k where fewer are allowed. UserError where none is, and for names and attributes that the
        catalogue lacks.
        """
        facts = self._people.person(user, history, data)
        keep = self._keep(allow, exclude, where, without)
        return self._recommended([facts], k, exclude_seen, keep, reranking)[0]

    def recommend_many(
        self,
        users: Sequence[User],
        data: Data,
        *,
        k: int = 10,
        exclude_seen: bool = True,
        allow: Sequence[Item] | None = None,
        exclude: Sequence[Item] = (),
        where: Conditions | None = None,
        without: Conditions | None = None,
        reranking: Reranking | None = None,
        token_budget: int = 8192,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Recommendation]]:
        """`recommend` for many users of ``data``, in batches; ``progress`` is told the users just done."""
        self._checked_k(k)
        people = [self._people.person(user, None, data) for user in listed(users, "users", "user ids")]
        keep = self._keep(allow, exclude, where, without)
        known = np.array([person.user is not None for person in people], bool)
        out: list[list[Recommendation]] = [[] for _ in people]
        for rows in (np.flatnonzero(known), np.flatnonzero(~known)):
            if len(rows):
                part = [people[row] for row in rows]
                answers = self._recommended(part, k, exclude_seen, keep, reranking, token_budget, progress)
                for row, answer in zip(rows.tolist(), answers, strict=True):
                    out[row] = answer
        return out

    def rank(
        self,
        history: History | None,
        candidates: Sequence[Item],
        *,
        user: User | None = None,
        data: Data | None = None,
        exclude: Sequence[Item] = (),
        where: Conditions | None = None,
        without: Conditions | None = None,
    ) -> list[Recommendation]:
        """The candidates (ids or titles) that meet the conditions, best first for this history or user."""
        items = self._people.items(candidates, "candidates")
        if not items:
            raise UserError("candidates: give at least one item to rank")
        keep = self._keep(None, exclude, where, without)
        items = [item for item in items if keep[item]]
        if not items:
            return []
        facts = replace(self._people.person(user, history, data), candidates=items)
        return [_explained(one) for one in self._answerer.rank(NEXT, self._prompt(NEXT, facts), facts)]

    def similar(self, item: Item, k: int = 10, **conditions: Any) -> list[Recommendation]:
        """The k items most like one item, by the cosine of the model's item vectors; ``score`` is the cosine.

        ``conditions``: ``allow``, ``exclude``, ``where``, ``without`` as in `recommend`.
        """
        index, k = self._people.item(item), self._checked_k(k)
        keep = self._keep(
            *(
                conditions.pop(n, d)
                for n, d in (("allow", None), ("exclude", ()), ("where", None), ("without", None))
            )
        )
        if conditions:
            raise UserError(f"similar: there is no option {next(iter(conditions))!r}.")
        items, cosines = most_similar(self._questions.vectors, index)
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        kept = [(i, c) for i, c in zip(items.tolist(), cosines.tolist(), strict=True) if keep[i]][:k]
        return [Recommendation(ids[i], titles[i], cosine, {SIMILAR: 1.0}) for i, cosine in kept]

    def reranking(
        self,
        *,
        diversity: float = 0.0,
        boosts: Mapping[Item, float] | None = None,
        promotions: Sequence[Item] = (),
        promoted_share: float = 0.2,
        pool: int = 100,
    ) -> Reranking:
        """How `recommend` is to put its list in another order, items by id or title (see `Reranking`)."""
        raised = {self._people.item(item): float(value) for item, value in (boosts or {}).items()}
        promoted = self._people.items(promotions, "promotions")
        return Reranking(diversity, raised, promoted, promoted_share, pool)

    def _recommended(
        self,
        people: Sequence[PromptFacts],
        k: int,
        exclude_seen: bool,
        keep: np.ndarray,
        reranking: Reranking | None,
        token_budget: int = 8192,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Recommendation]]:
        k = self._checked_k(k)
        seen = Ragged.from_lists([person.history if exclude_seen else [] for person in people])
        allow = None if keep.all() else np.flatnonzero(keep)
        changes = reranking is not None and reranking.changes
        number = min(max(k, reranking.pool), len(self.catalogue)) if changes and reranking else k
        if changes and reranking and (reranking.boosts or reranking.promotions):
            number = int(keep.sum())  # what is boosted may stand anywhere
        ranked = self._answerer.recommend(
            NEXT, self._prompt(NEXT, *people), people, number, seen, allow, token_budget, progress
        )
        ranked = [[_explained(one) for one in found] for found in ranked]
        if not changes or reranking is None:
            return [found[:k] for found in ranked]
        return [self._reranked(found, k, reranking) for found in ranked]

    def _reranked(self, found: list[Recommendation], k: int, how: Reranking) -> list[Recommendation]:
        index = self.catalogue.index_of
        by_item = {index[one.item_id]: one for one in found}
        order = rerank(list(by_item), [one.score for one in found], self._questions.vectors, k, how)
        return [
            replace(
                by_item[item],
                why={reason: 1.0}
                if reason == PROMOTION
                else {**by_item[item].why, **({reason: 1.0} if reason else {})},
            )
            for item, _, reason in order
        ]

    def _keep(
        self,
        allow: Sequence[Item] | None,
        exclude: Sequence[Item],
        where: Conditions | None,
        without: Conditions | None,
    ) -> np.ndarray:
        """bool [items]: what may be recommended. UserError where nothing may."""
        keep = np.ones(len(self.catalogue), bool)
        if where or without:
            attributes = self._people.vocabulary.attributes
            keep = attributes.meets(attributes.check(where, "where"), attributes.check(without, "without"))
        if allow is not None:
            named = np.zeros(len(keep), bool)
            named[self._people.items(allow, "allow")] = True
            keep &= named
        keep[self._people.items(exclude, "exclude")] = False
        if not keep.any():
            raise UserError(
                "no item of the catalogue meets allow, exclude, where and without together: ask for less."
            )
        return keep

    def rate(
        self,
        item: Item,
        *,
        user: User | None = None,
        history: History | None = None,
        data: Data | None = None,
    ) -> Rating:
        """The expected rating of an item, for a user or for a history of (item, rating) pairs.

        A float that also has the model's ``interval`` (the central 80 %) and ``distribution``.
        """
        facts = replace(self._people.person(user, history, data), item=self._people.item(item))
        place = self._prompt("rating/score", facts)
        value = self._answerer.answer("rating/score", place, facts).value
        assert isinstance(value, Rating)
        return value

    def explain(self, item: Item, *, user: User | None = None, feature: str = "") -> str:
        """Why the item suits the user, in a sentence; ``feature``: a word the sentence should be about."""
        facts = replace(
            self._people.person(user, None, None), item=self._people.item(item), feature=clean_text(feature)
        )
        task = "explanation/explain_feature" if feature else "explanation/explain"
        return self._answerer.answer(task, self._prompt(task, facts), facts).text

    def summarize(self, review: str, *, user: User | None = None, item: Item | None = None) -> str:
        """A headline for a review."""
        if not clean_text(review):
            raise UserError("the review is empty: there is nothing to sum up")
        facts = replace(self._people.person(user, None, None), review=clean_text(review))
        if item is not None:
            facts = replace(facts, item=self._people.item(item))
        task = "review/headline"
        return self._answerer.answer(task, self._prompt(task, facts), facts).text

    # -- prompts

    def _prompt(self, task: str, *facts: PromptFacts) -> int:
        """The wording to ask with; UserError where the model cannot be asked this."""
        learnt = self._questions.learnt
        if learnt and task not in learnt:
            raise UserError(f"the model was not trained for {task}; it knows {', '.join(learnt)}.")
        filled = fill_slots(facts, self._answerer.options, self._answerer.attributes)
        for allow_empty in (False, True):
            place = choose_prompt(self.checkpoint.prompts, task, filled, allow_empty=allow_empty)
            if place is not None:
                return place
        raise UserError(
            f"{task}: none of the model's wordings can be filled; give a user that the model knows."
        )

    def _checked_k(self, k: Any) -> int:
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise UserError(f"k is {k!r}, but must be a whole number.")
        if not 1 <= k <= len(self.catalogue):
            raise UserError(
                f"k is {k}, but must lie between 1 and the catalogue's {len(self.catalogue)} items."
            )
        return int(k)


def _explained(one: Recommendation) -> Recommendation:
    return one if one.why else replace(one, why={MODEL: 1.0})
