"""A recommender's answers as plain values: what a pipeline and an Inference Endpoint give back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p5t5.core.errors import UserError
from p5t5.recommender import Answer, Rating, Recommendation, Recommender

# Operation → what may be said to it. Nothing here names a file: a client's words never open one.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "query": ("text", "k", "where", "without", "exclude", "exclude_seen"),
    "recommend": ("history", "user", "k", "where", "without", "allow", "exclude", "exclude_seen"),
    "similar": ("item", "k", "where", "without", "allow", "exclude"),
    "rank": ("candidates", "history", "user", "where", "without", "exclude"),
    "rate": ("item", "user", "history"),
    "explain": ("item", "user", "feature"),
    "summarize": ("review", "user", "item"),
}
_NEEDED = {"query": "text", "similar": "item", "rank": "candidates", "rate": "item", "explain": "item"} | {
    "summarize": "review"
}
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("history", "candidates", "allow", "exclude"), (list, tuple)),
    **dict.fromkeys(("where", "without"), (Mapping,)),
    **dict.fromkeys(("text", "review", "feature"), (str,)),
    **dict.fromkeys(("user", "item"), (str, int)),
    "k": (int,),
    "exclude_seen": (bool,),
}
MOST_ITEMS, MOST_CHARACTERS = 1000, 10_000  # of a list, and of a text


def plain_answer(recommender: Recommender, inputs: str | Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The answer to a question in words, or to {"operation": …, and what is said to it}, in JSON's values.

    Without an operation, a ``text`` is a query and anything else asks for recommendations. A history is a list of ids,
    titles, [item, rating] pairs or {"item", "rating"}. ``more``: the same, where it is not in ``inputs``.
    Raises UserError for an operation, an option or a value that there is none of.
    """
    said: dict[str, Any] = {"text": inputs} if isinstance(inputs, str) else {}
    if isinstance(inputs, Mapping):
        said = dict(inputs)
    elif not isinstance(inputs, str):
        raise UserError(f"inputs: a text or an object is needed, not a {type(inputs).__name__}.")
    said = {**more, **said}
    operation = said.pop("operation", "query" if "text" in said else "recommend")
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise UserError(f"operation {operation!r}: choose among {', '.join(OPERATIONS)}.")
    _check(operation, said)
    if "history" in said:
        said["history"] = [_entry(entry) for entry in said["history"]]
    if operation == "query":
        return _answer(recommender(said.pop("text"), **said))
    if operation == "rank":
        said.setdefault("history", None)
    found = getattr(recommender, operation)(**said)
    if isinstance(found, Rating):
        return {"kind": "number", "value": float(found), **_uncertainty(found)}
    if isinstance(found, str):
        return {"kind": "text", "text": found}
    return {"kind": "items", "items": [_item(one) for one in found]}


def _check(operation: str, said: Mapping[str, Any]) -> None:
    for name, value in said.items():
        if name not in OPERATIONS[operation]:
            raise UserError(
                f"{operation}: there is no {name!r}; there are {', '.join(OPERATIONS[operation])}."
            )
        right = isinstance(value, _KINDS[name]) and (bool in _KINDS[name] or not isinstance(value, bool))
        if not right:
            raise UserError(
                f"{operation}: {name} must be {_KINDS[name][0].__name__}, not {type(value).__name__}."
            )
        most = MOST_CHARACTERS if isinstance(value, str) else MOST_ITEMS
        if isinstance(value, (str, list, tuple, Mapping)) and len(value) > most:
            raise UserError(f"{operation}: {name} is longer than {most:,}.")
    needed = _NEEDED.get(operation)
    if needed is not None and needed not in said:
        raise UserError(f"{operation}: {needed} is missing.")


def _entry(entry: Any) -> Any:
    """{"item", "rating"} as the recommender takes it."""
    if not isinstance(entry, Mapping):
        return entry
    if "item" not in entry:
        raise UserError(f"history: {dict(entry)!r} names no item.")
    return entry["item"] if entry.get("rating") is None else (entry["item"], entry["rating"])


def _item(found: Recommendation) -> dict[str, Any]:
    return {
        "item_id": found.item_id,
        "title": found.title,
        "score": float(found.score),
        "why": {name: float(share) for name, share in found.why.items()},
    }


def _uncertainty(found: Any) -> dict[str, Any]:
    return {
        "interval": None if found.interval is None else [float(bound) for bound in found.interval],
        "distribution": {f"{value:g}": float(share) for value, share in found.distribution.items()},
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "kind": answer.kind,
        "items": [_item(one) for one in answer.items],
        "value": None if answer.value is None else float(answer.value),
        "text": answer.text,
        **_uncertainty(answer),
        "task": answer.task,
        "prompt": answer.prompt,
        "asked": answer.asked,
        "linked": list(answer.linked),
        "notes": list(answer.notes),
    }


class EndpointHandler:
    """What handler.py of a pushed model gives to Hugging Face's Inference Endpoints."""

    def __init__(self, path: str = "") -> None:
        """``path``: the model's folder, which the service names (not a client)."""
        self.recommender = Recommender.from_pretrained(path or ".")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """{"inputs": a question or an object, "parameters": {…}} → `plain_answer`, or {"error": what to change}."""
        try:
            if not isinstance(data, Mapping) or "inputs" not in data:
                raise UserError('send {"inputs": …}: a question, or an object with an operation.')
            more = data.get("parameters") or {}
            if not isinstance(more, Mapping):
                raise UserError("parameters: an object is needed.")
            return plain_answer(self.recommender, data["inputs"], **dict(more))
        except UserError as error:
            return {"error": str(error)}
