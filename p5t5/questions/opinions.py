"""Turns of phrase that praise or damn an item without saying so: "put me to sleep", "worth every penny" (opinions.yaml).

A phrase matches whoever speaks, in any tense: pronouns, articles, auxiliaries and intensifiers are left out, endings are cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from p5t5.core.files import parse_yaml
from p5t5.questions.clauses import ASKED_BEFORE, ASKING, BUT, CLAUSES

LIKED, DISLIKED = "liked", "disliked"
ITEM = "⟦⟧"  # the item's place in a phrase
_NOT = re.compile(
    r"\b(?:can|could|would|will|wo|sha|should|do|does|did|is|are|was|were|has|have|had|ain|ca)n?['’]?t\b|\bcannot\b|n['’]t\b",
    re.IGNORECASE,
)
_MARK, _LETTERS = re.compile(r"⟦\w*⟧"), re.compile(r"[a-z]+")
_ENDINGS = ("ingly", "edly", "ings", "ing", "ies", "ied", "ed", "es", "s", "e")


@dataclass(frozen=True)
class Opinion:
    """``feeling``: liked or disliked; ``words``: how many words of the phrase count: one may be chance."""

    feeling: str
    words: int


def phrase_about(before: str, behind: str, others_before: bool, others_behind: bool) -> Opinion | None:
    """What a turn of phrase says of a group of items, in the clauses that are its own; None where it is asked.

    The clause nearest to the group counts where other items stand on that side, else the last one that says something.
    """
    if ASKED_BEFORE.search(before):
        return None
    asking = ASKING.search(behind)
    said = behind[: asking.start()] if asking else behind
    clauses = CLAUSES.split(said)[:1] if others_behind else BUT.split(said)
    first = (CLAUSES if others_before else BUT).split(before)[-1]
    for clause in reversed(clauses):
        found = opinion_of(first, clause)
        if found:
            return found
    return None


def opinion_of(before: str, behind: str) -> Opinion | None:
    """What the words before and behind an item say of it; None where no phrase is found.

    The longest phrase counts, of several as long the last. A "not" in the two words before turns praise round, and a
    word of blame ("not boring"), but no longer blame ("could not sit through").
    """
    stems = [*_stems(before), ITEM, *_stems(behind)]
    best: tuple[int, int, str] | None = None
    for start in range(len(stems)):
        for length in range(min(_longest(), len(stems) - start), 0, -1):
            part = tuple(stems[start : start + length])
            plain = tuple(stem for stem in part if stem != ITEM)
            feeling = _phrases().get(part) or _phrases().get(plain)
            if feeling:
                best = max(best or (0, 0, ""), (len(plain), start, feeling))
                break
    if best is None:
        return None
    words, start, feeling = best
    if "not" in stems[max(0, start - 2) : start] and (feeling == LIKED or words == 1):
        feeling = DISLIKED if feeling == LIKED else LIKED
    return Opinion(feeling, words)


@cache
def opinion_words(name: str) -> frozenset[str]:
    """A list of words of opinions.yaml: left_out or circumstances."""
    return frozenset(_content()[name].split())


@cache
def _content() -> dict:
    return parse_yaml(resources.files("p5t5.questions").joinpath("opinions.yaml").read_text("utf-8"))


@cache
def _irregular() -> dict[str, str]:
    """Form → stem."""
    return {form: stem for stem, forms in _content()["irregular"].items() for form in forms}


@cache
def _phrases() -> dict[tuple[str, ...], str]:
    """Stems of a phrase → liked or disliked."""
    found: dict[tuple[str, ...], str] = {}
    for feeling in (LIKED, DISLIKED):
        for phrase in (phrase for group in _content()[feeling] for phrase in group):
            parts = [_stems(part) for part in phrase.split("X")]
            stems = tuple(word for part in parts[:-1] for word in (*part, ITEM)) + tuple(parts[-1])
            single = len(phrase.removeprefix("a ").split()) == 1
            if stems and (len(stems) > 1 or single):  # what is left of "lost me" says nothing
                found[stems] = feeling
    return found


@cache
def _longest() -> int:
    return max(map(len, _phrases()))


def _stems(text: str) -> list[str]:
    plain = _NOT.sub(" not ", _MARK.sub(" ", text.lower()))
    left_out = opinion_words("left_out")
    return [_stem(word) for word in _LETTERS.findall(plain) if word not in left_out]


@cache
def _stem(word: str) -> str:
    word = _irregular().get(word, word)
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
    return word
