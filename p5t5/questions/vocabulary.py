"""What a parser must know of a catalogue: titles, ids, attributes and, where there are any, users."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from rapidfuzz import fuzz, process

from p5t5.questions.attributes import YEAR, ItemAttributes
from p5t5.questions.entity_linking import Linker, article_forms, normalize
from p5t5.questions.mentions import MentionFinder, without_maker

SURE, NEAR = 88.0, 70.0  # QRatio from which on a typed name is the title, or may be meant
CLOSE = 6.0  # how much less like it another title may be, to be named beside the nearest
_YEAR_BEHIND = re.compile(r"\s*\((\d{4})\)\s*$")


class Vocabulary:
    """Built once a catalogue, then read only; pickles."""

    def __init__(
        self,
        item_ids: Sequence[str],
        titles: Sequence[str],
        attributes: ItemAttributes,
        find_user: Callable[[str], int | None] | None = None,
    ) -> None:
        self.item_ids, self.titles, self.attributes = list(item_ids), list(titles), attributes
        self.find_user = find_user or _nobody
        years = attributes.numbers.get(YEAR)
        said = None if years is None else ["" if year != year else f"{year:.0f}" for year in years.tolist()]
        self.linker = Linker(self.item_ids, self.titles, self.find_user, said)

    @staticmethod
    def of_items(items: pd.DataFrame, find_user: Callable[[str], int | None] | None = None) -> Vocabulary:
        """From a table with ``item_id``, ``title`` and a column for each attribute; or a catalogue's table."""
        ids = items["item_id"].astype(str).tolist()
        titles = items["title"].astype(str).tolist() if "title" in items else ids
        return Vocabulary(ids, titles, ItemAttributes.of_items(items), find_user)

    @functools.cached_property
    def finder(self) -> MentionFinder:
        """Made on first use: it knows many more spellings than the linker."""
        return MentionFinder(self.titles, self.linker, self.attributes)

    @functools.cached_property
    def _names(self) -> tuple[list[str], list[int]]:
        names: list[str] = []
        items: list[int] = []
        for item, title in enumerate(self.titles):
            forms = dict.fromkeys(normalize(form) for form in article_forms(_YEAR_BEHIND.sub("", title)))
            for form in [
                *forms,
                *(" ".join(own) for own in without_maker(self.attributes, item, normalize(title).split())),
            ]:
                names.append(_spaced(form))
                items.append(item)
        return names, items

    def nearest(self, name: str, score: float = NEAR, limit: int = 3) -> list[tuple[int, float]]:
        """(item, likeness from 0 to 100) of the titles most like ``name``, year and article left out."""
        names, items = self._names
        written = _spaced(normalize(_YEAR_BEHIND.sub("", name)))
        found: dict[int, float] = {}
        for scorer in (fuzz.QRatio, fuzz.token_sort_ratio):
            for _, likeness, index in process.extract(
                written, names, scorer=scorer, score_cutoff=score, limit=limit
            ):
                found[items[index]] = max(likeness, found.get(items[index], 0.0))
        ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
        return [(item, likeness) for item, likeness in ranked if likeness >= ranked[0][1] - CLOSE]


def _spaced(name: str) -> str:
    """ "cable 6m" → "cable 6 m"."""
    return re.sub(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)", " ", name)


def _nobody(written: str) -> Any:
    return None
