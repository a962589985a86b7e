"""A masked question in sentences and clauses, and the items named side by side in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LIST = re.compile(
    r"^(?:\s|,|;|/|&|\+|\"|'|“|”|‘|’|\(|\)|\b(?:and|or|nor|vs|versus|then|also|plus|as well as|the|both|a|my|even|finally|followed by|over|with|probably|maybe)\b\.?|⟦[ux]\d*⟧)*$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])[\"”')]*\s+|\.{2,}\s*|\n+|\s[-–—]\s|[!?]+(?=[A-Z⟦])")
ASKING = re.compile(
    r"\b(?:yes or no|best (?:bet|pick|choice|option|fit)|what(?! an? )|which(?! (?:i|we|he|she|they|was|is|were)\b)|any|anything(?! for (?:me|us|him|her))|recommend\w*|suggest\w*|more(?! of (?:that|it|the same|those|this))|another|others?|next|now|else|ideas?|show|give me|who|how|should|would|could|can you|tips|something|somebody|find me|i want|i need|looking for|show me|please|pls|is there|why)\b",
    re.IGNORECASE,
)
BUT = re.compile(
    r"(?<!anything )(?<!everything )(?<!nothing )\b(?:but|although|though|whereas|while|however|yet)\b|[;:]",
    re.IGNORECASE,
)
CLAUSES = re.compile(rf"{BUT.pattern}|,|\bif\b", re.IGNORECASE)
ASKED_BEFORE = re.compile(
    r"^\W*(?:is|are|am|was|did|do|can|could|thumbs up or)\b(?!['’]t|n['’]t| not)|\b(?:would|will|should|shall|does|do you (?:think|reckon)|what|which|suggest\w*|show me|find me|give me|looking for)\b(?!n['’]t| not)|['’](?:d|ll)\b(?! rather| sooner| give)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Group:
    numbers: tuple[int, ...]
    start: int
    end: int


def sentences_of(text: str) -> list[str]:
    out: list[str] = []
    start = 0
    for match in _SENTENCE.finditer(text):
        out.append(text[start : match.end()])
        start = match.end()
    return [*out, text[start:]]


def groups_of(sentence: str, ratings: dict[int, tuple[float, float | None]]) -> list[Group]:
    """Markers side by side, in one group: they share what is said of them."""
    groups: list[Group] = []
    for match in re.finditer(r"⟦(\d+)⟧", sentence):
        number = int(match.group(1))
        gap = sentence[groups[-1].end : match.start()] if groups else ""
        if groups and _LIST.match(gap) and groups[-1].numbers[-1] not in ratings:
            groups[-1] = Group((*groups[-1].numbers, number), groups[-1].start, match.end())
        else:
            groups.append(Group((number,), match.start(), match.end()))
    return groups
