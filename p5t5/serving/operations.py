"""The operations of a service as plans: names and numbers of a request in, a JSON-ready answer out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.inference import answers
from p5t5.inference.asks import Plan
from p5t5.inference.request import PromptFacts
from p5t5.questions.profiles import user_name
from p5t5.serving.loading import Answer, Loaded


def recommend(
    loaded: Loaded,
    history: Sequence[Any] = (),
    user: Any = None,
    k: int = 10,
    where: Mapping[str, Any] | None = None,
    without: Mapping[str, Any] | None = None,
    exclude: Sequence[Any] = (),
    allow: Sequence[Any] | None = None,
    exclude_seen: bool = True,
    diversity: float = 0.0,
) -> Plan[Answer]:
    rec = loaded.recommender
    answer = yield from rec.operations.recommend(
        _person(loaded, user, history),
        k,
        keep=rec.operations.keep(allow, exclude, where, without),
        exclude_seen=exclude_seen,
        reranking=rec.reranking(diversity=diversity) if diversity else None,
    )
    return {**_read(loaded, answer), "items": loaded.items(answer.items)}


def similar(loaded: Loaded, item: Any, k: int = 10, **conditions: Any) -> Plan[Answer]:
    does = loaded.recommender.operations
    found = does.similar(does.profiles.item(item), k, does.keep(**conditions))
    return {**_read(loaded, answers.Answer("items")), "items": loaded.items(found)}
    yield  # a plan that asks nothing


def rank(
    loaded: Loaded,
    candidates: Sequence[Any],
    history: Sequence[Any] = (),
    user: Any = None,
    where: Mapping[str, Any] | None = None,
    without: Mapping[str, Any] | None = None,
    exclude: Sequence[Any] = (),
) -> Plan[Answer]:
    does = loaded.recommender.operations
    items = does.profiles.items(candidates, "candidates")
    keep = does.keep(None, exclude, where, without)
    answer = yield from does.rank(_person(loaded, user, history), items, keep)
    return {**_read(loaded, answer), "items": loaded.items(answer.items)}


def rate(loaded: Loaded, item: Any, history: Sequence[Any] = (), user: Any = None) -> Plan[Answer]:
    does = loaded.recommender.operations
    index = does.profiles.item(item)
    answer = yield from does.rate(_person(loaded, user, history), index)
    return {**_read(loaded, answer), "item": loaded.item(index), **_rated(answer), "rating": answer.value}


def explain(loaded: Loaded, item: Any, user: Any = None, feature: str = "") -> Plan[Answer]:
    does = loaded.recommender.operations
    index = does.profiles.item(item)
    answer = yield from does.explain(_person(loaded, user, ()), index, feature)
    return {**_read(loaded, answer), "item": loaded.item(index), "text": answer.text}


def summarize(loaded: Loaded, review: str, user: Any = None, item: Any = None) -> Plan[Answer]:
    does = loaded.recommender.operations
    index = None if item is None else does.profiles.item(item)
    answer = yield from does.summarize(_person(loaded, user, ()), review, index)
    return {**_read(loaded, answer), "text": answer.text}


def query(
    loaded: Loaded,
    text: str,
    k: int = 10,
    where: Mapping[str, Any] | None = None,
    without: Mapping[str, Any] | None = None,
    exclude: Sequence[Any] = (),
    exclude_seen: bool = True,
) -> Plan[Answer]:
    rec = loaded.recommender
    request = rec.request(text)
    answer = yield from rec.plan(
        request,
        k,
        text=clean_text(text),
        data=loaded.data,
        exclude_seen=exclude_seen,
        where=where,
        without=without,
        exclude=exclude,
    )
    return {
        **_read(loaded, answer),
        "kind": answer.kind,
        "items": loaded.items(answer.items),
        "value": None if answer.value is None else float(answer.value),
        "text": answer.text,
        **_rated(answer),
        "task": answer.task,
        "similarity": float(answer.similarity),
        "linked": list(answer.linked),
        "notes": list(answer.notes),
        "request": request.as_json(rec.catalogue.item_ids),
    }


PLANS: dict[str, Callable[..., Plan[Answer]]] = {
    plan.__name__: plan for plan in (recommend, similar, rank, rate, explain, summarize, query)
}


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


def _person(loaded: Loaded, user: Any, history: Sequence[Any]) -> PromptFacts:
    """A history given counts; else that of the user, in the data and since."""
    does = loaded.recommender.operations
    known = None if user is None else does.profiles.find_user(user_name(user))
    if history or user is None:
        return does.person(user, pairs(history), None)
    if known is not None and loaded.data is None and not does.profiles.did(user_name(user)):
        return PromptFacts(user=known)
    return does.person(user, None, loaded.data)


def _read(loaded: Loaded, answer: answers.Answer) -> Answer:
    """Which checkpoint answered, and what it read."""
    return {
        "checkpoint": loaded.digest,
        "prompt": answer.prompt,
        "asked": answer.asked,
        "tokens": list(answer.tokens),
    }


def _rated(answer: answers.Answer) -> Answer:
    return {
        "interval": None if answer.interval is None else [float(end) for end in answer.interval],
        "distribution": {f"{value:g}": float(share) for value, share in answer.distribution.items()},
    }
