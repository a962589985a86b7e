"""The service without any web framework: operations with keyword arguments in, JSON-ready answers out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from p5t5.core.errors import UserError
from p5t5.serving.batching import MicroBatcher
from p5t5.serving.feedback import Feedback
from p5t5.serving.loading import Answer, Loaded
from p5t5.serving.operations import PLANS
from p5t5.serving.settings import Settings

Item = str | int  # an id or a title
Job = tuple[str, Mapping[str, Any]]


class Service:
    """Answers with the configured checkpoint, many requests in one batch; its methods may be called from any thread.

    Every answer names its ``checkpoint`` and says what the model read: ``prompt`` (its id), ``asked`` (the prompt as text),
    ``tokens``. Methods raise UserError for what callers got wrong and `batching.Refused` for what was not computed.
    ``observe``: told (requests, seconds) of each batch. Raises UserError where there is no whole checkpoint.
    """

    def __init__(self, settings: Settings, observe: Callable[[int, float], None] | None = None) -> None:
        self.settings = settings
        self._feedback = Feedback(
            settings.feedback,
            fsync=settings.feedback_fsync,
            most_bytes=int(settings.feedback_mb * 2**20),
            users=settings.feedback_users,
        )
        self.loaded = Loaded.of(settings, self._feedback.recent)
        self._reloading = threading.Lock()
        self._observe = observe
        self.batcher = self._batcher()

    def _batcher(self) -> MicroBatcher[Job]:
        settings = self.settings
        return MicroBatcher(
            self.compute,
            most=settings.batch,
            most_cost=settings.batch_tokens,
            queue=settings.queue,
            deadline=settings.deadline,
            observe=self._observe,
        )

    def recommend(
        self,
        history: Sequence[Any] = (),
        user: Item | None = None,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        without: Mapping[str, Any] | None = None,
        exclude: Sequence[Item] = (),
        allow: Sequence[Item] | None = None,
        exclude_seen: bool = True,
        diversity: float = 0.0,
    ) -> Answer:
        """The k best ``items`` for a history of ids, titles or {"item", "rating"}, or for a user."""
        return self.submit(
            "recommend",
            {
                "history": history,
                "user": user,
                "k": k,
                "where": where,
                "without": without,
                "exclude": exclude,
                "allow": allow,
                "exclude_seen": exclude_seen,
                "diversity": diversity,
            },
        ).result()

    def similar(self, item: Item, k: int = 10, **conditions: Any) -> Answer:
        """The k ``items`` most like one, by the model's item vectors; conditions as in `recommend`."""
        return self.submit("similar", {"item": item, "k": k, **conditions}).result()

    def rank(
        self,
        candidates: Sequence[Item],
        history: Sequence[Any] = (),
        user: Item | None = None,
        where: Mapping[str, Any] | None = None,
        without: Mapping[str, Any] | None = None,
        exclude: Sequence[Item] = (),
    ) -> Answer:
        """The candidates as ``items``, best first."""
        return self.submit(
            "rank",
            {
                "candidates": candidates,
                "history": history,
                "user": user,
                "where": where,
                "without": without,
                "exclude": exclude,
            },
        ).result()

    def rate(self, item: Item, history: Sequence[Any] = (), user: Item | None = None) -> Answer:
        """The expected ``rating`` of an item, with the central 80 % (``interval``) and the ``distribution``."""
        return self.submit("rate", {"item": item, "history": history, "user": user}).result()

    def explain(self, item: Item, user: Item | None = None, feature: str = "") -> Answer:
        """Why the item suits, in a sentence (``text``)."""
        return self.submit("explain", {"item": item, "user": user, "feature": feature}).result()

    def summarize(self, review: str, user: Item | None = None, item: Item | None = None) -> Answer:
        """A headline for a review (``text``)."""
        return self.submit("summarize", {"review": review, "user": user, "item": item}).result()

    def query(
        self,
        text: str,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        without: Mapping[str, Any] | None = None,
        exclude: Sequence[Item] = (),
        exclude_seen: bool = True,
    ) -> Answer:
        """The answer to a question in words: ``kind`` is "items", "number" or "text"; ``request``: as it was read."""
        return self.submit(
            "query",
            {
                "text": text,
                "k": k,
                "where": where,
                "without": without,
                "exclude": exclude,
                "exclude_seen": exclude_seen,
            },
        ).result()

    def items(self, search: str = "", k: int = 20) -> Answer:
        """Items of the catalogue whose titles begin with, hold or resemble ``search``; with their attributes."""
        loaded = self.loaded
        return {"checkpoint": loaded.digest, "items": loaded.search(search, k)}

    def feedback(self, user: Item, item: Item, rating: float | None = None) -> Answer:
        """Takes down that the user met the item, perhaps with a rating; counts from the next request on."""
        loaded = self.loaded
        profiles = loaded.recommender.operations.profiles
        index = profiles.item(item)
        catalogue = loaded.recommender.catalogue
        if rating is not None:
            rating = profiles.checked_rating(rating, catalogue.titles[index])
        count = self._feedback.add(user, catalogue.item_ids[index], rating)
        return {
            "checkpoint": loaded.digest,
            "item": loaded.item(index),
            "rating": rating,
            "remembered": count,
        }

    def describe(self) -> Answer:
        """What is served: the model, its scale, the attributes that can be filtered by, its tasks and limits."""
        return self.loaded.description()

    # -- batches

    def submit(self, operation: str, given: Mapping[str, Any]) -> Future:
        """One of `PLANS` with its keyword arguments; its answer, later. Raises `batching.Refused` at once where too many wait."""
        return self.batcher.submit((operation, given), _cost(given))

    def compute(self, jobs: Sequence[Job]) -> list[Any]:
        """The answers to many jobs, all with the same checkpoint; one may be the exception that it ended with."""
        loaded = self.loaded
        plans = [PLANS[operation](loaded, **given) for operation, given in jobs]
        return loaded.recommender.together(plans)

    # -- life

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self.batcher.alive

    def reload(self) -> Answer:
        """Reads the configured checkpoint again; requests go on being answered, with the old one until it is ready.

        Raises UserError where it is not whole or another reload is under way: then the old one stays.
        """
        if not self._reloading.acquire(blocking=False):
            raise UserError("reload: another one is under way; wait for it.")
        try:
            old = self.loaded.digest
            self.loaded = Loaded.of(self.settings, self._feedback.recent)
            return {"checkpoint": self.loaded.digest, "before": old}
        finally:
            self._reloading.release()

    def open(self) -> None:
        """Answers again, after `close`."""
        if not self.batcher.alive:
            self.batcher = self._batcher()

    def close(self) -> None:
        """Answers what waits, and takes no more."""
        self.batcher.close(self.settings.drain)


def _cost(given: Mapping[str, Any]) -> int:
    """About as many tokens as the model reads."""
    texts = sum(len(value) for value in given.values() if isinstance(value, str))
    lists = sum(len(value) for value in given.values() if isinstance(value, list | tuple))
    return 16 + texts // 3 + 2 * min(lists, 100)
