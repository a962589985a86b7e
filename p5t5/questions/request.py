"""What a question asks for, as data: intent, items in their roles, people, conditions. A frozen dataclass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from p5t5.core.errors import UserError

INTENTS = (
    "recommend", "similar", "rate", "like", "verify", "choose", "explain", "headline", "review_score",
    "lookup", "help",
)  # fmt: skip
Range = tuple[float | None, float | None]
Condition = tuple[str, ...] | Range
ROLES = ("items", "liked", "disliked", "seen", "candidates")


@dataclass(frozen=True)
class Request:
    """Items are rows of the catalogue, in the order in which they were named.

    - ``intent``: one of `INTENTS`; ``items``: asked about; ``liked``, ``disliked``, ``seen`` (without a
      feeling), ``candidates`` (to choose from); ``ratings``: item → (value, top of the scale as said, or None).
    - ``people``: user ids as written. ``language``: ISO code, "en" where the question is understood.
    - ``where``, ``without``: attribute → its values, or (lowest, highest) with None for an open end.
    - ``newer_than``, ``older_than``: an item. ``count``: how many were asked for.
    - ``unknown``: names not in the catalogue; ``unclear``: names of several items (``could_be``: which);
      ``unmet``: wishes that the data cannot express; ``parts``: how many questions were asked.
    - ``respelled``: (as written, item) where a typing error was repaired.
    - ``assumed``: items of ``seen`` about which something is said that was not understood.
    - ``review``: a pasted text; ``feature``: what an explanation should speak of.
    """

    intent: str
    items: tuple[int, ...] = ()
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()
    candidates: tuple[int, ...] = ()
    ratings: Mapping[int, tuple[float, float | None]] = field(default_factory=dict)
    people: tuple[str, ...] = ()
    where: Mapping[str, Condition] = field(default_factory=dict)
    without: Mapping[str, Condition] = field(default_factory=dict)
    count: int | None = None
    newer_than: int | None = None
    older_than: int | None = None
    language: str = "en"
    unknown: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    could_be: tuple[tuple[int, ...], ...] = ()
    unmet: tuple[str, ...] = ()
    parts: int = 1
    respelled: tuple[tuple[str, int], ...] = ()
    assumed: tuple[int, ...] = ()
    review: str = ""
    feature: str = ""

    @property
    def named(self) -> tuple[int, ...]:
        """Every item the question names, each once."""
        roles = [item for role in ROLES for item in getattr(self, role)]
        extra = [item for item in (self.newer_than, self.older_than) if item is not None]
        return tuple(dict.fromkeys([*roles, *self.ratings, *extra]))

    def as_json(self, item_ids: Sequence[str]) -> dict[str, Any]:
        """Plain JSON values, items by their ids; what says nothing is left out."""
        out: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name in (*ROLES, "assumed"):
                value = [item_ids[item] for item in value]
            elif name == "ratings":
                value = {item_ids[item]: list(rating) for item, rating in value.items()}
            elif name in ("newer_than", "older_than"):
                value = None if value is None else item_ids[value]
            elif name == "could_be":
                value = [[item_ids[item] for item in items] for items in value]
            elif name == "respelled":
                value = [[written, item_ids[item]] for written, item in value]
            elif name in ("where", "without"):
                value = {attribute: list(wanted) for attribute, wanted in value.items()}
            elif isinstance(value, tuple):
                value = list(value)
            if value not in (None, [], {}, "") and (name, value) not in (("language", "en"), ("parts", 1)):
                out[name] = value
        return out

    @staticmethod
    def from_json(said: Mapping[str, Any] | str, index_of: Mapping[str, int]) -> Request:
        """The opposite of `as_json`; UserError for an unknown key, intent or item id."""
        try:
            given = json.loads(said) if isinstance(said, str) else dict(said)
        except ValueError as error:
            raise UserError(f"request: not JSON ({error}).") from error
        names = {one.name for one in fields(Request)}
        unknown = sorted(set(given) - names)
        if unknown:
            raise UserError(f"request: unknown key {unknown[0]!r}; it may have {', '.join(sorted(names))}.")
        if given.get("intent") not in INTENTS:
            raise UserError(f"request: intent {given.get('intent')!r} is none of {', '.join(INTENTS)}.")

        def item(item_id: Any) -> int:
            if str(item_id) not in index_of:
                raise UserError(f"request: item {item_id!r} is not in the catalogue.")
            return index_of[str(item_id)]

        out: dict[str, Any] = {}
        for name, value in given.items():
            if name in (*ROLES, "assumed"):
                value = tuple(item(one) for one in value)
            elif name == "ratings":
                value = {
                    item(one): (float(v), None if top is None else float(top))
                    for one, (v, top) in value.items()
                }
            elif name in ("newer_than", "older_than"):
                value = item(value)
            elif name == "could_be":
                value = tuple(tuple(item(one) for one in items) for items in value)
            elif name == "respelled":
                value = tuple((written, item(one)) for written, one in value)
            elif name in ("where", "without"):
                value = {attribute: tuple(wanted) for attribute, wanted in value.items()}
            elif isinstance(value, list):
                value = tuple(value)
            out[name] = value
        return Request(**out)


def is_range(condition: Condition | Any) -> bool:
    """Whether a condition is (lowest, highest) rather than values."""
    return (
        isinstance(condition, tuple | list)
        and len(condition) == 2
        and all(
            end is None or (isinstance(end, int | float) and not isinstance(end, bool)) for end in condition
        )
    )
