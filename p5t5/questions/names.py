"""Names in a question that no item has: written like titles, or standing where only a title makes sense."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from p5t5.questions.entity_linking import everyday_language, normalize, quoted_spans
from p5t5.questions.mentions import known_words

_I = re.IGNORECASE
_CAP = r"(?:[A-Z](?:[\w'’&\-/:]|\.(?=\w)|!(?= [a-z⟦]))*|\d+(?=[ ]+[A-Z])|(?<=[a-z] )\d{1,2}(?![\w/%.,])|[IVX]+\b)"
_SMALL = r"(?:the|of|and|a|an|in|to|for|on|with|la|le|de|der|die|das|des|du|von|und|et)"
_RUN = re.compile(rf"(?<![\w⟦'’]){_CAP}(?:[ ]+(?:(?:{_SMALL}[ ]+){{0,2}}{_CAP}))*(?!\w)")
_SLOT = re.compile(
    r"\b(?:similar to|anything like|something like|sth like|somthing like|more like|(?:movies?|films?|books?|things?|stuff|ones?) like|along the lines of|in the vein of|comparable to|alternatives? to|close to|(?:i|we|he|she|they)(?: really| just| also)* (?:liked|loved|enjoyed|hated|adored|disliked|watched|saw)|^(?:just )?(?:liked|loved|enjoyed|hated|adored|watched|saw|finished)"
    r"|(?:i|we)(?: really| just| also)* (?:love|adore|hate)|(?:would|will|might) (?:i|we|user|⟦u\d*⟧|he|she|they) (?:like|enjoy|love|hate|rate|give)|(?:stars|points|rating) (?:would|will|does|for|do you give)|fan of|newer than|older than|seen|have you got|do you have|who directed|who wrote)\s+(?:(?:the movie|the film|the book|the|a|an|my|our|called)\s+)*"
    r"(?P<name>[^\s⟦⟧,;.!?()][^⟦⟧,;!?()\n]*)",
    _I,
)
_STOP = re.compile(
    r"\s+(?:and|or|but|so|what|which|would|will|should|get|gets|have|next|now|then|is|was|are|were|because|if|when|please|pls|tonight|today|with|by|from|in|for|on|at|as|very|really|too|also|again|i|we|you|me|to|more|than|only|lately|yesterday|recently|before|after|any)\b|\s*[-–—:]\s|\.(?:\s|$)",
    _I,
)
_NO_NAME = frozenset(
    [
        "i",
        "i'm",
        "i'd",
        "i've",
        "i'll",
        "ok",
        "dvd",
        "tv",
        "usb",
        "pc",
        "us",
        "uk",
        "usa",
        "eu",
        "xmas",
        "christmas",
        "english",
        "german",
        "french",
        "spanish",
        "italian",
        "american",
        "british",
        "european",
        "japanese",
        "imdb",
        "netflix",
        "oscar",
        "oscars",
        "lol",
        "omg",
        "hi",
        "hello",
        "dear",
        "thanks",
        "january",
        "february",
        "march",
        "june",
        "july",
        "september",
        "october",
        "november",
        "december",
        "eur",
        "euro",
        "usd",
        "playstation",
        "max",
        "min",
        "id",
    ]
)
_PERSON_BEFORE = re.compile(
    r"\b(?:directed|written|made|starring|stars?|featuring|with|by|from|actor|actress|director|author|like a|user|named|called me|dear|composed)\s+(?:the\s+)?$",
    _I,
)


@dataclass(frozen=True)
class Name:
    """``text[start:end]`` looks like a title."""

    start: int
    end: int
    sure: bool  # written or quoted as a name, not only standing in its place


def unknown_names(masked: str, is_value: Callable[[str], bool]) -> list[Name]:
    """Candidates in a text whose known items are markers. ``is_value``: whether words name an attribute's value."""
    found: list[Name] = []
    for name in [*_quoted(masked), *_capitals(masked, is_value), *_in_place(masked, is_value)]:
        if all(name.end <= other.start or other.end <= name.start for other in found):
            found.append(name)
    return [_with_year(masked, name) for name in sorted(found, key=lambda name: name.start)]


def _with_year(masked: str, name: Name) -> Name:
    year = re.match(r"\s*\((?:1[89]|20)\d\d\)", masked[name.end :])
    return Name(name.start, name.end + year.end(), True) if year else name


def _quoted(masked: str) -> Iterator[Name]:
    for start, end in quoted_spans(masked):
        inner = masked[start + 1 : end - 1]
        if "⟦" not in inner and 1 <= len(inner.split()) <= 6 and not _common(inner):
            yield Name(start + 1, end - 1, True)


def _capitals(masked: str, is_value: Callable[[str], bool]) -> Iterator[Name]:
    shouted = sum(c.isupper() for c in masked) > 0.6 * max(sum(c.isalpha() for c in masked), 1)
    if shouted:
        return
    for match in _RUN.finditer(masked):
        start, end = match.span()
        words = [(m.start() + start, m.group()) for m in re.finditer(r"\S+", match.group())]
        opening = re.search(r"(?:^|[.!?…:]\s+|\n)[\"“'‘(]*$", masked[:start]) is not None
        while words and (
            words[0][1].lower().strip(".,!'’") in _NO_NAME
            or (opening and _plain(words[0][1]) in known_words())
            or is_value(words[0][1])
            or re.fullmatch(r"\d+(?:[.,]\d+)?[a-z%]*", words[0][1])
        ):
            words = words[1:]
            opening = False
        while words and (words[-1][1].lower() in _NO_NAME or words[-1][1].lower() in ("and", "or")):
            words = words[:-1]
        if not words:
            continue
        start, end = words[0][0], words[-1][0] + len(words[-1][1].rstrip(".!:,"))
        name = masked[start:end]
        capitals = [w for _, w in words if w[0].isupper()]
        small = [w for _, w in words if not w[0].isupper()]
        if _common(name) and not (len(capitals) > 1 and all(re.fullmatch(_SMALL, w) for w in small)):
            continue
        if (
            len(name) < 3
            or is_value(name)
            or _PERSON_BEFORE.search(masked[:start])
            or re.fullmatch(r"[\d\W]+", name)
        ):
            continue
        if (
            opening
            and len(words) == 1
            and not re.match(r"\s*(?:,|or\b|and\b|vs\b|is\b|was\b|\?|:)", masked[end:])
        ):
            continue
        everyday = everyday_language()["words"]["calendar"]
        if all(_plain(word) in everyday for _, word in words):
            continue
        yield Name(start, end, True)


def _in_place(masked: str, is_value: Callable[[str], bool]) -> Iterator[Name]:
    for match in _SLOT.finditer(masked):
        start, name = match.start("name"), match.group("name")
        first = 0
        for part in re.split(r"(\s+(?:and|or)\s+)", name):
            piece, offset = part, start + first
            first += len(part)
            if re.fullmatch(r"\s+(?:and|or)\s+", part) or not part.strip():
                continue
            stop = _STOP.search(piece)
            piece = piece[: stop.start()] if stop else piece
            piece = piece.rstrip(" .\"'")
            words = piece.split()
            if (
                not 1 <= len(words) <= 5
                or _common(piece)
                or is_value(piece)
                or any(is_value(word) for word in words)
            ):
                break
            if all(_plain(word) in known_words() or word.isdigit() for word in words):
                break
            unknown = [word for word in words if _plain(word) not in known_words()]
            if len(unknown) * 2 < len(words):
                break
            yield Name(offset, offset + len(piece), len(words) > 1)
            if stop:
                break


def _common(name: str) -> bool:
    words = normalize(name).split()
    return not words or all(
        word in known_words() or word in _NO_NAME or (word.isdigit() and len(words) == 1) for word in words
    )


def _plain(word: str) -> str:
    return normalize(word) or word
