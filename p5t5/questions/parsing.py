"""What a cleaned question says, apart from which task it is: who, which items in which role, how rated.

Roles are read off the words around each linked item: "I loved Alien. Would I like Heat?" knows Alien
and asks about Heat. No grammar, a few dozen cue words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from p5t5.questions.entity_linking import AMBIGUOUS, ITEM, USER, Link
from p5t5.questions.masking import pasted_text

_KNOWN_CUE = re.compile(
    r"\b(?:loved|liked|enjoyed|adored|watched|saw|seen|bought|own|owned|finished|played|gave|rated|hated|disliked|after"
    r"|history|so far|ratings|favou?rites?|fan of|based on|given|having|since|already|know|knows|tried|read"
    r"|(?<!\bwould )(?<!\bwill )(?<!\bdo )(?<!\bmight )(?<!\bshould )\b(?:i|we|they) (?:also |really |just )*(?:like|love|enjoy|hate|adore|dislike)|vein of|similar to|something like"
    r"|anything like|did(?:n't| not) (?:like|enjoy))\b",
    re.IGNORECASE,
)
_ASKED_CUE = re.compile(
    r"\b(?:would|will|should|shall|could|which|choose|pick|select|between|among|candidates|options|one of|either"
    r"|how many|how much|what rating|what score|predict|guess|why|explain|is|does|recommend|rate|rank|about)\b",
    re.IGNORECASE,
)
_LIST_GAP = re.compile(r"^(?:\s|,|;|/|&|\"|'|“|”|\band\b|\bor\b|\bvs\.?|\bversus\b)*$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_FEELINGS = (  # the last one that matches before an item tells how it was liked, from −1 to 1
    (
        1.0,
        re.compile(
            r"\b(?:lov(?:ed?|ing)|ador(?:ed?|ing)|favou?rites?|best|masterpiece|fan of)\b", re.IGNORECASE
        ),
    ),
    (0.5, re.compile(r"\b(?:liked?|enjoy(?:ed)?|good|great)\b", re.IGNORECASE)),
    (
        -0.5,
        re.compile(
            r"\b(?:dislik\w+|(?:did|do|was|were|am)(?:n't| not) (?:\w+ )?(?:like|enjoy|a fan)|bored?)\b",
            re.IGNORECASE,
        ),
    ),
    (-1.0, re.compile(r"\b(?:hat(?:ed?|ing)|awful|terrible|worst|detest\w*)\b", re.IGNORECASE)),
)
_DIGITS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_NUMBER = r"(\d{1,2}(?:\.\d)?|" + "|".join(_DIGITS) + r")"
_RATED_BEHIND = re.compile(
    rf"^[\s\"”',:=(\-–]*(?:(?:a|an|with|was|is|got|gets|only|exactly|just)\s+)*{_NUMBER}\b(?!\s*(?:films?|movies?|items?|more|times|and then))",
    re.IGNORECASE,
)
_RATED_BEFORE = re.compile(
    rf"\b{_NUMBER}\s*(?:stars?|points?)?(?:\s*(?:/|out of)\s*\w+)?\s*(?:to|for)\s*(?:the\s+)?[\"“']?$",
    re.IGNORECASE,
)
_GUESS = re.compile(
    rf"\b{_NUMBER}\s*(?:-?\s*stars?|points?|out of|/)|\b(?:a|an|with)\s+{_NUMBER}\b", re.IGNORECASE
)
_FEATURE = (
    re.compile(
        r"\b(?:focus(?:ing|ed)? on|mention(?:s|ing)?|talk(?:ing)? about|speak(?:ing)? (?:of|about)|because of|regarding"
        r"|with regard to|in terms of|when it comes to|respect to|especially|word on|feature|by)\s+(?:its|the|their|how)?\s*"
        r"[\"“']?([a-z][\w\-]{2,})"
    ),
    re.compile(r"\bthe ([a-z][\w\-]{2,}) of\b"),
)


@dataclass(frozen=True)
class Question:
    """``text`` is cleaned; items are catalogue rows in the order they are named.

    - ``known``: what the person has met; ``asked``: what the question is about, perhaps a choice.
    - ``ratings``: known item → the number said of it; ``feelings``: known item → −1 (hated) to 1 (loved).
    - ``user``: the number of a known user; ``stranger``: how an unknown user was spelled.
    - ``review``: a pasted text; ``feature``: what an explanation should speak of; ``guess``: a rating
      to be confirmed. ``unclear``: names that fit several items.
    """

    text: str
    links: tuple[Link, ...] = ()
    known: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    last_list: tuple[int, ...] = ()
    ratings: dict[int, float] | None = None
    feelings: dict[int, float] | None = None
    user: int | None = None
    stranger: str = ""
    review: str | None = None
    feature: str | None = None
    guess: float | None = None
    unclear: tuple[Link, ...] = ()

    @property
    def items(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(link.item for link in self.links if link.kind == ITEM))

    @property
    def item(self) -> int | None:
        """The one item asked about: the last in that role, or the last named at all."""
        named = self.asked or self.items
        return named[-1] if named else None

    @property
    def others(self) -> tuple[int, ...]:
        """What is known, beside the item asked about."""
        return tuple(item for item in self.items if item != self.item and item not in self.asked)

    @property
    def choice(self) -> tuple[int, ...]:
        """The items to choose from: those asked about, or the last list of several, or all."""
        for items in (self.asked, self.last_list):
            if len(items) > 1:
                return items
        return self.items


def read_question(text: str, links: Sequence[Link]) -> Question:
    """``text`` must be cleaned, ``links`` be what a Linker found in it."""
    items = [link for link in links if link.kind == ITEM]
    roles = _roles(text, items)
    known = tuple(
        dict.fromkeys(link.item for link, role in zip(items, roles, strict=True) if role == "known")
    )
    asked = tuple(
        dict.fromkeys(link.item for link, role in zip(items, roles, strict=True) if role == "asked")
    )
    ratings, feelings = _opinions(text, items, roles)
    users = [link for link in links if link.kind == USER]
    strangers = [text[link.start : link.end] for link in users if link.user < 0]
    return Question(
        text=text,
        links=tuple(links),
        known=known,
        asked=asked,
        last_list=_last_list(text, items),
        ratings=ratings,
        feelings=feelings,
        user=next((link.user for link in users if link.user >= 0), None),
        stranger=strangers[0] if strangers else "",
        review=pasted_text(text),
        feature=_feature(text, links),
        guess=_guess(text, items, roles),
        unclear=tuple(link for link in links if link.kind == AMBIGUOUS),
    )


def _gaps(text: str, items: Sequence[Link]) -> list[str]:
    """The text before each link, back to the link before it."""
    starts = [0, *(link.end for link in items)]
    return [text[start : link.start] for start, link in zip(starts, items)]  # noqa: B905 (one start too many)


def _roles(text: str, items: Sequence[Link]) -> list[str]:
    """ "known" or "asked" for each link: by the last cue before it in its sentence, else as a whole sentence goes."""
    roles, role = [], ""
    for link, gap in zip(items, _gaps(text, items), strict=True):
        *ended, part = _SENTENCE_END.split(gap)
        if ended or not role:
            role = "asked" if _is_question(text, link) else "known"
        cues = [(match.end(), "known") for match in _KNOWN_CUE.finditer(part)]
        cues += [(match.end(), "asked") for match in _ASKED_CUE.finditer(part)]
        role = max(cues)[1] if cues else role
        roles.append(role)
    return roles


def _is_question(text: str, link: Link) -> bool:
    end = _SENTENCE_END.search(text, link.end)
    return end is not None and "?" in end.group()


def _last_list(text: str, items: Sequence[Link]) -> tuple[int, ...]:
    """The last run of two or more items with nothing but commas, "and", "or" between them."""
    runs: list[list[int]] = []
    for place, gap in enumerate(_gaps(text, items)):
        if place and _LIST_GAP.match(gap):
            runs[-1].append(items[place].item)
        else:
            runs.append([items[place].item])
    long = [tuple(dict.fromkeys(run)) for run in runs if len(set(run)) > 1]
    return long[-1] if long else ()


def _opinions(
    text: str, items: Sequence[Link], roles: Sequence[str]
) -> tuple[dict[int, float], dict[int, float]]:
    """Ratings and feelings said of the known items; a feeling goes on through a list of names."""
    ratings, feelings, feeling = {}, {}, 0.0
    behind = [*_gaps(text, items)[1:], text[items[-1].end :]] if items else []
    for link, role, before, after in zip(items, roles, _gaps(text, items), behind, strict=True):
        if _SENTENCE_END.search(before):
            feeling = 0.0
        found = [(m.end(), strength) for strength, pattern in _FEELINGS for m in pattern.finditer(before)]
        feeling = min(found, key=lambda cue: (-cue[0], cue[1]))[1] if found else feeling
        number = _RATED_BEHIND.search(after) or _RATED_BEFORE.search(before)
        if role != "known":
            continue
        if number:
            ratings[link.item] = _value(number.group(1))
        if feeling:
            feelings[link.item] = feeling
    return ratings, feelings


def _guess(text: str, items: Sequence[Link], roles: Sequence[str]) -> float | None:
    """The rating that is to be confirmed: a number of stars in the part that asks."""
    asked = [link for link, role in zip(items, roles, strict=True) if role == "asked"]
    if not asked:
        return None
    known = [link.end for link, role in zip(items, roles, strict=True) if role == "known"]
    starts = [*known, *(match.end() for match in _SENTENCE_END.finditer(text, 0, asked[-1].start))]
    start = max((place for place in starts if place <= asked[-1].start), default=0)
    behind = _RATED_BEHIND.search(text[asked[-1].end :])
    if behind:
        return _value(behind.group(1))
    part = text[start : asked[-1].start] + " " + text[asked[-1].end :]
    number = _GUESS.search(part)
    return _value(next(group for group in number.groups() if group)) if number else None


def _feature(text: str, links: Sequence[Link]) -> str | None:
    """The word that a question about a feature names."""
    for link in reversed(links):
        text = text[: link.start] + "X" + text[link.end :]
    for pattern in _FEATURE:
        match = pattern.search(text)
        if match and match.group(1) not in ("the", "user", "item", "this", "that", "which", "what", "reason"):
            return match.group(1)
    return None


def _value(number: str) -> float:
    return float(_DIGITS.get(number.lower(), 0) or number)
