"""Ratings that a masked question gives items, with the highest of the scale as said: 9/10, four stars, 80 %."""

from __future__ import annotations

import re

from p5t5.questions.title_spellings import number_of

_VALUE = r"(?P<value>\d{1,3}(?:[.,]\d{1,2})?|one|two|three|four|five|six|seven|eight|nine|ten|zero)"
_SCALE = r"(?:\s*(?:/|out of|of|from)\s*(?P<top>\d{1,3}|five|ten|a hundred|hundred|four|six)\b(?!\s+(?:films|movies|books))|\s*(?P<percent>%|percent)|[\s\-]*(?P<stars>stars?|points?|★+|⭐+)(?:\s*(?:out\s+)?of\s*(?P<top2>\d{1,3}|five|ten))?)"
_RATED_BEHIND = re.compile(
    rf"^[\s\"”',:=(\-–]*(?:(?:a|an|with|was|is|are|got|gets|only|exactly|just|at|were|rating|rated|it|about|solid|weak|strong|good|poor|mere|generous|full|measly|lousy|meagre|my|for|me|really)\b\s*)*{_VALUE}(?:{_SCALE})?(?![\w/])(?!\s*(?:for|to|on)\s+(?:the )?⟦)(?!\s*(?:films?|movies?|items?|books?|more|times|and then|years?|others|bucks|euros?|dollars))",
    re.IGNORECASE,
)
_RATED_BEFORE = re.compile(
    rf"(?<![\w/]){_VALUE}(?:{_SCALE})?\s*(?:(?:is|are|was|were|goes?|went)\b(?:(?!rating|guess|score|predict)[^.?!⟦\d]){{0,30}}?\b)?(?:to|for|on)\s*(?:the\s+|my\s+)?[\"“']?$",
    re.IGNORECASE,
)
_JOINED = re.compile(r"[\s,;]*(?:and |but )?", re.IGNORECASE)
_RATING_WORDS = re.compile(r"\b(?:rat(?:e[ds]?|ings?)|gave|given|give|scores?d?|marks?)\b", re.IGNORECASE)


def read_ratings(text: str) -> dict[int, tuple[float, float | None]]:
    """Numbers said of items; a bare number only where ratings are spoken of."""
    out: dict[int, tuple[float, float | None]] = {}
    marks = list(re.finditer(r"⟦(\d+)⟧", text))
    spoken = bool(_RATING_WORDS.search(text)) or bool(re.search(r"\d\s*/\s*\d|\bstars?\b", text))
    used: set[int] = set()
    for index, mark in enumerate(marks):
        end = marks[index + 1].start() if index + 1 < len(marks) else len(text)
        start = marks[index - 1].end() if index else 0
        behind, before = text[mark.end() : end], text[start : mark.start()]
        match, place = _RATED_BEHIND.match(behind), mark.end()
        given = _RATED_BEFORE.search(before)  # "five stars for A, one star for B"
        if given and _has_scale(given) and match and _JOINED.fullmatch(behind[: match.start("value")]):
            match = None
        if match is None or (match.group("value") in ("one",) and not _has_scale(match)):
            match, place = _RATED_BEFORE.search(before), start
            if match is not None and start + match.start() in used:
                match = None
        if match is None or not (_has_scale(match) or spoken):
            continue
        if (
            place == mark.end()
            and not _has_scale(match)
            and match.group("value").isdigit()
            and int(match.group("value")) > 100
        ):
            continue
        used.add(place + match.start("value") if place == start else place)
        value, top = _value(match)
        if value is not None:
            out[int(mark.group(1))] = (value, top)
    return out


def _has_scale(match: re.Match) -> bool:
    return any(match.group(name) for name in ("top", "top2", "percent", "stars"))


def _value(match: re.Match) -> tuple[float | None, float | None]:
    def number(written: str) -> float | None:
        special = {"one": 1, "zero": 0, "a hundred": 100, "hundred": 100}.get(written.lower())
        if special is not None:
            return float(special)
        if re.fullmatch(r"\d+(?:[.,]\d+)?", written):
            return float(written.replace(",", "."))
        known = number_of(written.lower())
        return None if known is None else float(known)

    value = number(match.group("value"))
    top = match.group("top") or match.group("top2")
    scale = 100.0 if match.group("percent") else (number(top) if top else None)
    return value, scale
