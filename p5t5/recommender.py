"""The front door: a trained checkpoint that answers questions, in plain text or by method.

rec = Recommender.from_pretrained("runs/quickstart/model")
print(rec("I loved Alien (1979) and Fargo (1996). What should I watch next?"))
rec.recommend(history=["Alien (1979)", "Fargo (1996)"], k=5)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.hub import place_model, resolve
from p5t5.checkpoint.overwriting import check_nothing_lost
from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.evaluation.results import no_better_than_chance, read_rows
from p5t5.fusion.blend import FUSION_FILE, STATE_FILE, Fusion
from p5t5.inference.answers import Answer, Answerer, Rating, Recommendation, Recommendations
from p5t5.inference.asks import Plan, Result, together
from p5t5.inference.reranking import Reranking
from p5t5.questions.answering import NEXT, QuestionAnswerer
from p5t5.questions.operations import Conditions, Item, Operations, User
from p5t5.questions.profiles import Data, History, Recent, UserProfiles, listed
from p5t5.questions.request import Request
from p5t5.questions.vocabulary import Vocabulary
from p5t5.updating.new_entities import add_items

__all__ = ["Answer", "Rating", "Recommendation", "Recommender", "Request", "Reranking"]


class Recommender:
    """Answers for one checkpoint. Holds no interactions: pass ``history=`` or ``data=`` with a user.

    ``recent``: what a user (by id) did after the data was written, as (item id, rating or None), oldest first.
    ``operations``: the methods below as plans, for `together`. ``guesses``: task → a sentence for its answers, where an
    evaluation found them no better than chance (`evaluation.results.no_better_than_chance`).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        card: str = "",
        fusion: Fusion | None = None,
        recent: Recent | None = None,
        guesses: Mapping[str, str] | None = None,
    ) -> None:
        self.checkpoint, self.fusion = checkpoint, fusion
        self.catalogue = checkpoint.catalogue
        self.card = card
        self._answerer = Answerer(checkpoint, fusion)
        self._people = UserProfiles(checkpoint, recent)
        self._questions = QuestionAnswerer(self._answerer, self._people, guesses)
        self.operations = Operations(self._questions)

    @property
    def vocabulary(self) -> Vocabulary:
        """What finds titles, ids, attributes and, where the model knows some, users in texts."""
        return self._people.vocabulary

    def together(self, plans: Sequence[Plan[Result]]) -> list[Result | Exception]:
        """The results of many plans (of `operations` and `plan`) at once: what they ask of the model goes in one batch.

        Equal to one after the other, up to the rounding of a batch; where one fails, its exception stands for it.
        """
        return together(self._answerer.answer_all, plans)

    @staticmethod
    def from_pretrained(
        folder_or_id: str | os.PathLike,
        device: str | torch.device | None = None,
        fusion: bool | None = None,
        *,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        recent: Recent | None = None,
    ) -> Recommender:
        """From a checkpoint folder ("~" is your home) or a Hub id (offline: from its cache). UserError if there is none.

        ``dtype``: of the weights, such as "bfloat16"; ``revision``: a branch, tag or commit of a Hub id. ``recent``: as above.
        ``fusion``: what comes next is ranked by the blend with baselines that `p5t5 evaluate` has fitted and saved beside
        the model, and every recommendation says ``why``: by default where there is one; UserError if it is asked for and
        there is none.
        """
        folder = resolve(os.path.expanduser(os.fspath(folder_or_id)), revision)
        checkpoint = Checkpoint.load(folder)
        place_model(checkpoint.model, device, dtype)
        card = folder / "README.md"
        text = card.read_text("utf-8") if card.is_file() else ""
        if fusion is None:
            fusion = (folder / FUSION_FILE).is_file()
        blend = Fusion.load(folder) if fusion else None
        if blend is not None:
            blend.check(checkpoint.info.data.hash)
        results = folder / "results.json"
        guesses = no_better_than_chance(read_rows(results)) if results.is_file() else {}
        return Recommender(checkpoint, text, blend, recent, guesses)

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

    def push_to_hub(self, *_: Any, **__: Any) -> None:
        """Says how a model gets to the Hub, which is more than its weights: always raises UserError."""
        raise UserError(
            "save the model with save_pretrained(FOLDER), then `p5t5 push FOLDER REPO` or p5t5.push(FOLDER, REPO): "
            "weights, tokenizer, catalogue and card go together, by a list of what may leave this machine."
        )

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
        self.operations.checked_k(k)
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
        return self._answerer.run(
            self.plan(
                request,
                k,
                text=text,
                data=data,
                exclude_seen=exclude_seen,
                where=where,
                without=without,
                exclude=exclude,
            )
        )

    def plan(
        self, request: Request, k: int = 10, *, exclude: Sequence[Item] = (), **how: Any
    ) -> Plan[Answer]:
        """`answer` as a plan, for `together`."""
        excluded = self._people.items(exclude, "exclude")
        return self._questions.plan(request, self.operations.checked_k(k), exclude=excluded, **how)

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
        plan = self.operations.recommend(
            self._people.person(user, history, data),
            k,
            keep=self.operations.keep(allow, exclude, where, without),
            exclude_seen=exclude_seen,
            reranking=reranking,
        )
        return Recommendations(self._answerer.run(plan).items)

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
        k, does = self.operations.checked_k(k), self.operations
        people = [self._people.person(user, None, data) for user in listed(users, "users", "user ids")]
        keep = does.keep(allow, exclude, where, without)
        prompts: dict[bool, int] = {}  # one for those whom the model knows, one for the others
        for known in (True, False):
            part = [person for person in people if (person.user is not None) == known]
            if part:
                prompts[known] = does.prompt(NEXT, *part)
        asks = [
            does.asked(person, k, keep, exclude_seen, reranking, prompts[person.user is not None])
            for person in people
        ]
        answers = self._answerer.answer_all(asks, token_budget=token_budget, progress=progress, shown=False)
        out: list[list[Recommendation]] = []
        for answer, ask in zip(answers, asks, strict=True):
            if isinstance(answer, Exception):
                raise answer
            out.append(Recommendations(does.listed(answer, ask, k, reranking).items))
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
        keep = self.operations.keep(None, exclude, where, without) if items else None
        plan = self.operations.rank(self._people.person(user, history, data), items, keep)
        return Recommendations(self._answerer.run(plan).items)

    def similar(self, item: Item, k: int = 10, **conditions: Any) -> list[Recommendation]:
        """The k items most like one item, by the cosine of the model's item vectors; ``score`` is the cosine.

        ``conditions``: ``allow``, ``exclude``, ``where``, ``without`` as in `recommend`.
        """
        unknown = sorted(set(conditions) - {"allow", "exclude", "where", "without"})
        if unknown:
            raise UserError(f"similar: there is no option {unknown[0]!r}.")
        index, keep = self._people.item(item), self.operations.keep(**conditions)
        return Recommendations(self.operations.similar(index, k, keep))

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
        person = self._people.person(user, history, data)
        value = self._answerer.run(self.operations.rate(person, self._people.item(item))).value
        assert isinstance(value, Rating)
        return value

    def explain(self, item: Item, *, user: User | None = None, feature: str = "") -> str:
        """Why the item suits the user, in a sentence; ``feature``: a word the sentence should be about."""
        person = self._people.person(user, None, None)
        return self._answerer.run(self.operations.explain(person, self._people.item(item), feature)).text

    def summarize(self, review: str, *, user: User | None = None, item: Item | None = None) -> str:
        """A headline for a review."""
        index = None if item is None else self._people.item(item)
        plan = self.operations.summarize(self._people.person(user, None, None), review, index)
        return self._answerer.run(plan).text
