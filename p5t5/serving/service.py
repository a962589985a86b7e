"""The service without any web framework: operations with keyword arguments in, JSON-ready answers out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from p5t5.checkpoint.hub import resolve
from p5t5.core.errors import UserError
from p5t5.core.files import sha256
from p5t5.recommender import Recommendation, Recommender
from p5t5.serving.settings import Settings

Item = str | int
Answer = dict[str, Any]


@dataclass
class Loaded:
    """A checkpoint that answers; ``digest``: 12 hex digits of its record and weights."""

    recommender: Recommender
    digest: str

    @staticmethod
    def of(settings: Settings) -> Loaded:
        """Reads the configured checkpoint. UserError where there is none, or it is damaged."""
        folder = resolve(settings.model)
        digest = digest_of(folder)
        recommender = Recommender.from_pretrained(
            folder,
            settings.device,
            settings.fusion,
            dtype=None if settings.dtype == "float32" else settings.dtype,
        )
        if digest_of(folder) != digest:
            raise UserError(f"{settings.model} changed while it was read: copy it whole, then load it again.")
        return Loaded(recommender, digest)

    @cached_property
    def attributes(self) -> list[dict[str, Any]]:
        """For each item: attribute → its values or number, what is not known left out."""
        known = self.recommender.vocabulary.attributes
        out: list[dict[str, Any]] = [{} for _ in self.recommender.catalogue.item_ids]
        for name, cells in known.values.items():
            for item, cell in zip(out, cells, strict=True):
                if cell:
                    item[name] = sorted(cell)
        for name, numbers in known.numbers.items():
            for item, number in zip(out, numbers.tolist(), strict=True):
                if number == number:
                    item[name] = number
        return out


def digest_of(folder: Path) -> str:
    """12 hex digits of a checkpoint's p5t5.json and weights. UserError where one is missing."""
    found = hashlib.sha256()
    for name in ("p5t5.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {name} is missing: copy the whole folder again, or train it again.")
        found.update(sha256(folder / name).encode())
    return found.hexdigest()[:12]


class Service:
    """Answers with the configured checkpoint. Every answer names its ``checkpoint``, and says what the model read:

    ``prompt`` (its id), ``asked`` (the prompt as text), ``tokens`` (as the model read them).
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loaded = Loaded.of(settings)

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
        """The k best items for a history of ids, titles or {"item", "rating"}, or for a user."""
        loaded = self.loaded
        rec = loaded.recommender
        found = rec.recommend(
            pairs(history) if history or user is None else None,
            user=user,
            data=self.settings.data or None,
            k=k,
            exclude_seen=exclude_seen,
            allow=allow,
            exclude=exclude,
            where=where,
            without=without,
            reranking=rec.reranking(diversity=diversity) if diversity else None,
        )
        return {"checkpoint": loaded.digest, "items": self._items(loaded, found), **_NOTHING_READ}

    def similar(self, item: Item, k: int = 10, **conditions: Any) -> Answer:
        """The k items most like one item, by the model's item vectors."""
        loaded = self.loaded
        found = loaded.recommender.similar(item, k, **conditions)
        return {"checkpoint": loaded.digest, "items": self._items(loaded, found), **_NOTHING_READ}

    def rank(
        self,
        candidates: Sequence[Item],
        history: Sequence[Any] = (),
        user: Item | None = None,
        where: Mapping[str, Any] | None = None,
        without: Mapping[str, Any] | None = None,
        exclude: Sequence[Item] = (),
    ) -> Answer:
        """The candidates, best first."""
        loaded = self.loaded
        found = loaded.recommender.rank(
            pairs(history) if history or user is None else None,
            candidates,
            user=user,
            data=self.settings.data or None,
            exclude=exclude,
            where=where,
            without=without,
        )
        return {"checkpoint": loaded.digest, "items": self._items(loaded, found), **_NOTHING_READ}

    def rate(self, item: Item, history: Sequence[Any] = (), user: Item | None = None) -> Answer:
        """The expected ``rating`` of an item, with the central 80 % (``interval``) and the ``distribution``."""
        loaded = self.loaded
        rating = loaded.recommender.rate(
            item, user=user, history=pairs(history) or None, data=self.settings.data or None
        )
        return {
            "checkpoint": loaded.digest,
            "rating": float(rating),
            "interval": list(rating.interval),
            "distribution": {f"{value:g}": share for value, share in rating.distribution.items()},
            **_NOTHING_READ,
        }

    def explain(self, item: Item, user: Item | None = None, feature: str = "") -> Answer:
        """Why the item suits, in a sentence (``text``)."""
        loaded = self.loaded
        text = loaded.recommender.explain(item, user=user, feature=feature)
        return {"checkpoint": loaded.digest, "text": text, **_NOTHING_READ}

    def summarize(self, review: str, user: Item | None = None, item: Item | None = None) -> Answer:
        """A headline for a review (``text``)."""
        loaded = self.loaded
        text = loaded.recommender.summarize(review, user=user, item=item)
        return {"checkpoint": loaded.digest, "text": text, **_NOTHING_READ}

    def query(
        self,
        text: str,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        without: Mapping[str, Any] | None = None,
        exclude: Sequence[Item] = (),
        exclude_seen: bool = True,
    ) -> Answer:
        """The answer to a question in words: ``kind`` is "items", "number" or "text"."""
        loaded = self.loaded
        rec = loaded.recommender
        answer = rec(
            text,
            k,
            data=self.settings.data or None,
            where=where,
            without=without,
            exclude=exclude,
            exclude_seen=exclude_seen,
        )
        plain = asdict(answer)
        plain["distribution"] = {f"{value:g}": share for value, share in answer.distribution.items()}
        return {
            "checkpoint": loaded.digest,
            **_NOTHING_READ,
            **plain,
            "items": self._items(loaded, answer.items),
            "request": rec.request(text).as_json(rec.catalogue.item_ids),
        }

    def items(self, search: str = "", k: int = 20) -> Answer:
        """Items of the catalogue whose titles begin with, hold or resemble ``search``; with their attributes."""
        loaded = self.loaded
        rec = loaded.recommender
        ids, titles = rec.catalogue.item_ids, rec.catalogue.titles
        words = search.casefold().strip()
        order = {} if not words else {
            item: (not title.casefold().startswith(words), item)
            for item, title in enumerate(titles)
            if words in title.casefold() or ids[item] == search.strip()
        }  # fmt: skip
        found = sorted(order, key=order.__getitem__) if words else list(range(len(ids)))
        if words and len(found) < k:
            near = (item for item, _ in rec.vocabulary.nearest(search, limit=k))
            found = list(dict.fromkeys([*found, *near]))
        return {"checkpoint": loaded.digest, "items": [self._item(loaded, item) for item in found[:k]]}

    def feedback(self, user: Item, item: Item, rating: float | None = None) -> Answer:
        """Takes down that the user met the item; counts from the next request on."""
        raise UserError("feedback: this service takes none yet.")

    def describe(self) -> Answer:
        """What is served: the model, its scale, the attributes that can be filtered by, its tasks and limits."""
        loaded = self.loaded
        rec = loaded.recommender
        known = rec.vocabulary.attributes
        attributes: dict[str, Any] = {
            name: {"values": sorted(set().union(*cells))} for name, cells in known.values.items()
        }
        for name, numbers in known.numbers.items():
            real = numbers[numbers == numbers].tolist()
            attributes[name] = {"lowest": min(real, default=None), "highest": max(real, default=None)}
        info = rec.checkpoint.info
        return {
            "name": info.data.name,
            "checkpoint": loaded.digest,
            "items": len(rec.catalogue),
            "rating_values": [float(value) for value in rec.checkpoint.rating_values],
            "attributes": attributes,
            "tasks": list(info.tasks),
            "limits": {name: getattr(self.settings, name) for name in ("max_k", "max_history", "max_text")},
            "users": bool(self.settings.data),
        }

    def _item(self, loaded: Loaded, item: int) -> Answer:
        catalogue = loaded.recommender.catalogue
        return {
            "item_id": catalogue.item_ids[item],
            "title": catalogue.titles[item],
            "attributes": loaded.attributes[item],
        }

    def _items(self, loaded: Loaded, found: Sequence[Recommendation]) -> list[Answer]:
        index = loaded.recommender.catalogue.index_of
        return [
            {**self._item(loaded, index[one.item_id]), "score": float(one.score), "why": dict(one.why)}
            for one in found
        ]


_NOTHING_READ: dict[str, Any] = {"prompt": None, "asked": "", "tokens": []}


def pairs(history: Sequence[Any]) -> list[Any]:
    """A history as `Recommender` takes it: {"item", "rating"} becomes a pair, or the item where it has no rating."""
    out: list[Any] = []
    for entry in history:
        if isinstance(entry, Mapping):
            if "item" not in entry:
                raise UserError(f"history: {dict(entry)!r} names no item.")
            rating = entry.get("rating")
            entry = entry["item"] if rating is None else (entry["item"], rating)
        out.append(entry)
    return out
