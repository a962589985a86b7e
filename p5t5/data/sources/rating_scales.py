"""Ratings as people write them: 4/5, ★★★★☆, "4.0 out of 5 stars", 85 %, B+, good, yes → numbers, and the mapping in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.data.sources.cells import MISSING, has_decimal_commas, number, with_point

READABLE = 0.9  # the share of a column's filled cells that a scale must read
_NOT_RATED = ("not rated", "unrated", "no rating", "norating", "not yet rated", "nicht bewertet", "tbd", "nr")

_FULL, _EMPTY, _HALF = "★⭐🌟✭✮✯❤♥♡*", "☆✩✰♡🤍", "½⯨⯪"
_STARS = re.compile(rf"(?:[{re.escape(_FULL + _EMPTY + _HALF)}]|1/2| )+")
_OUT_OF = re.compile(
    r"(?:\D{0,19}[\s:=])?(\d+(?:[.,]\d+)?)\s*"
    r"(?:(?:/|\\|out\s+of|of|von|sur|su|de|van|sobre|av|z|из)\s*(\d+(?:[.,]\d+)?))?\s*"
    r"(?:[*★⭐]|stars?|sterne?n?|sternen|points?|pts?|punkte?n?|étoiles?|etoiles?|estrellas?|stelle|stella|estrelas?|sterren)?\s*\.?",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:%|percent|prozent|pct)", re.IGNORECASE)
_LED = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(?:[-–—:=(.]\s*|\s)\s*[^\W\d].*"
)  # "4 - good", "5: excellent", "3 (ok)"
_LETTER = re.compile(r"([SA-F])\s?([+-]?)", re.IGNORECASE)
_COUNTED = {
    word: place + 1
    for place, word in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
}

# Words in the order of what they say, the worst first; those of one line say the same.
_WORDS = """
hate|hate it|hated it|loathe|worst|abysmal|unusable
terrible|awful|horrible|very bad|very poor|dreadful|strongly disagree|very dissatisfied|very unsatisfied|ungenugend|tres mauvais|pesimo|muy malo|pessimo|schrecklich|totally disagree
did not like it|didnt like it|dislike|disliked|disliked it|dislike it|bad|poor|disagree|dissatisfied|unsatisfied|unhappy|schlecht|mangelhaft|mauvais|malo|cattivo|slecht|ruim|not recommended|rotten|negative|thumbs down|skip it|boo
below average|mediocre|weak|subpar|ausreichend|passable|it was meh|meh
ok|okay|its ok|its okay|it was ok|it was okay|fair|average|neutral|mixed|so so|so-so|decent|medium|middling|acceptable|satisfactory|neither agree nor disagree|befriedigend|mittel|moyen|correct|regular|medio|normal|matig|not bad
above average|fine|pretty good|nice|liked it|like it|like|liked|agree|satisfied|happy|good|gut|bien|bon|bueno|buono|bom|goed|recommended|fresh|positive|thumbs up|yes
very good|really liked it|great|really good|very happy|sehr gut|tres bien|tres bon|muy bueno|molto buono|muito bom|zeer goed
love|love it|loved it|loved|it was amazing|excellent|amazing|awesome|outstanding|fantastic|superb|wonderful|brilliant|perfect|must see|must read|strongly agree|very satisfied|hervorragend|ausgezeichnet|excelente|eccellente|otimo|ottimo|uitstekend|totally agree|highly recommended
masterpiece|best|exceptional
"""
_STRENGTH = {
    word: place for place, line in enumerate(_WORDS.strip().splitlines()) for word in line.split("|")
}
# Two answers that say for or against: 0 and 1.
_AGAINST = "false|no|n|f|down|thumbs down|thumbsdown|thumb down|👎|dislike|disliked|not recommended|rotten|negative|neg|boo|nein|non|-1|skip|didnt like|did not like|nay|unlike|hate|bad|-|thumbs_down|falsch|falso|faux|0"
_FOR = "true|yes|y|t|up|thumbs up|thumbsup|thumb up|👍|like|liked|recommended|fresh|positive|pos|yay|ja|oui|si|sí|+1|love|good|+|thumbs_up|wahr|vrai|verdadero|sim|1"
_TWO = dict.fromkeys(_AGAINST.split("|"), 0.0) | dict.fromkeys(_FOR.split("|"), 1.0)


@dataclass(frozen=True)
class RatingScale:
    """``value``: a cell → its rating; NaN where it says "none", None where it is not of this scale.

    ``kind``: the scale in words. ``levels``: cell → rating, as far as a person should see it; {} for plain numbers.
    """

    kind: str
    value: Callable[[Any], float | None]
    levels: Mapping[str, float]

    def note(self) -> str:
        """What was made of which cells; "" for plain numbers."""
        if not self.levels:
            return ""
        shown = sorted(self.levels.items(), key=lambda pair: (pair[1], pair[0]))
        if len(shown) > 12:
            shown = [*shown[:5], ("…", np.nan), *shown[-5:]]
        told = ", ".join(text if value != value else f"{text} = {value:g}" for text, value in shown)
        return f"{self.kind} as numbers: {told} (--rating_levels WORD=NUMBER,… for others)"


def plain(value: Any) -> float | None:
    """A number as it is written."""
    return number(value)


PLAIN = RatingScale("numbers", plain, {})
COMMAS = RatingScale("decimal commas", lambda value: number(with_point(value)), {})


def named_levels(text: str) -> RatingScale:
    """``bad=1,ok=2,good=3`` as typed. Raises UserError where it is written otherwise."""
    levels = {}
    for pair in text.split(","):
        word, equals, level = pair.rpartition("=")
        read = number(level)
        if not equals or not _folded(word) or read is None or read != read:
            raise UserError(f"--rating_levels: {pair!r} is not WORD=NUMBER, as in bad=1,ok=2,good=3.")
        levels[word.strip()] = read
    by_word = {_folded(word): level for word, level in levels.items()}
    return RatingScale("levels", _lookup(by_word), levels)


def find_scale(counts: Mapping[Any, int]) -> RatingScale | None:
    """The scale that reads a column; None where none reads most of it. ``counts``: cell → rows."""
    filled = {cell: count for cell, count in counts.items() if not _is_missing(cell)}
    total = sum(filled.values())
    if not total:
        return PLAIN
    share = lambda read: sum(n for cell, n in filled.items() if read(cell) is not None) / total  # noqa: E731
    if share(plain) >= 0.5:
        return PLAIN
    if has_decimal_commas([cell for cell, count in filled.items() for _ in range(min(count, 20))]):
        return COMMAS
    texts = [str(cell) for cell in filled]
    for make in (_two_levels, _star_characters, _percents, _out_of, _letters, _words, _led_by_numbers):
        scale = make(texts)
        if scale is not None and share(scale.value) >= READABLE:
            levels = {text.strip()[:40]: scale.value(text) for text in texts}
            return RatingScale(
                scale.kind,
                scale.value,
                {text: level for text, level in levels.items() if level is not None and level == level},
            )
    return None


def is_unmistakable(scale: RatingScale | None) -> bool:
    """Whether what a column holds is a rating whatever its name: stars and "4 out of 5" are, words are not."""
    return scale is not None and scale.kind in ("stars", "points out of a highest")


def _is_missing(cell: Any) -> bool:
    return cell is None or cell != cell or _folded(cell) in (*MISSING, *_NOT_RATED)


def _folded(cell: Any) -> str:
    parts = unicodedata.normalize("NFKD", str(cell).strip().casefold().replace("’", "'").replace("'", ""))
    text = "".join(part for part in parts if not unicodedata.combining(part) and part != "\ufe0f")
    return " ".join(text.rstrip(".!").split())


def _lookup(levels: Mapping[str, float]) -> Callable[[Any], float | None]:
    return lambda cell: np.nan if _is_missing(cell) else levels.get(_folded(cell))


def _decimal(text: str) -> float:
    return float(text.replace(",", "."))


def _two_levels(texts: list[str]) -> RatingScale | None:
    words = {_folded(text) for text in texts} & set(_TWO)
    if {_TWO[word] for word in words} != {0.0, 1.0} and not words & {"true", "false"}:
        return None
    if len({_folded(text) for text in texts} - set(_TWO)):
        return None  # three kinds of words are levels
    return RatingScale("two answers", _lookup(_TWO), {})


def _star_characters(texts: list[str]) -> RatingScale | None:
    def value(cell: Any) -> float | None:
        if _is_missing(cell):
            return np.nan
        text = str(cell).replace("\ufe0f", "").strip()
        if not _STARS.fullmatch(text) or not any(char in text for char in _FULL + _EMPTY):
            return None
        half = text.count("1/2") + sum(text.count(char) for char in _HALF)
        empty = _EMPTY if any(char in text for char in "❤♥★⭐*🌟") or "♡" not in text else ""
        return sum(text.count(char) for char in _FULL if char not in empty) + 0.5 * half

    return RatingScale("stars", value, {})


def _percents(texts: list[str]) -> RatingScale | None:
    def value(cell: Any) -> float | None:
        found = _PERCENT.fullmatch(str(cell).strip())
        return _decimal(found[1]) if found else number(cell) if not _is_missing(cell) else np.nan

    return (
        RatingScale("percent", value, {}) if any(_PERCENT.fullmatch(text.strip()) for text in texts) else None
    )


def _out_of(texts: list[str]) -> RatingScale | None:
    """ "4/5", "4 out of 5 stars", "Rated 4": of several highest marks (9/10 among 4/5) the commonest is the scale."""
    found = [_OUT_OF.fullmatch(text.strip()) for text in texts]
    highest = [_decimal(match[2]) for match in found if match and match[2]]
    if highest and 0.0 not in highest:
        scale = max(sorted(set(highest)), key=highest.count)
    elif not highest:
        scale = 0.0
    else:
        return None

    def value(cell: Any) -> float | None:
        if _is_missing(cell):
            return np.nan
        match = _OUT_OF.fullmatch(str(cell).strip())
        if match is None:
            return None
        points, most = _decimal(match[1]), _decimal(match[2]) if match[2] else scale
        if most and (points > most or not most):
            return None
        return round(points / most * scale, 6) if most and most != scale else points

    if any(match is None for match in found) and sum(match is not None for match in found) < READABLE * len(
        found
    ):
        counted = {_folded(text): _COUNTED.get(_folded(text).split(" ")[0]) for text in texts}
        if all(counted.values()) and len(counted) > 1:
            return RatingScale(
                "numbers in words", _lookup({word: float(n or 0) for word, n in counted.items()}), {}
            )
        return None
    return RatingScale("points out of a highest" if highest else "numbers with words", value, {})


def _letters(texts: list[str]) -> RatingScale | None:
    found = {match[1].upper() for text in texts if (match := _LETTER.fullmatch(text.strip()))}
    if len(found) < 2:
        return None
    base = {"S": 6.0, "A": 5.0, "B": 4.0, "C": 3.0, "D": 2.0, "E": 1.0, "F": 0.0 if "E" in found else 1.0}

    def value(cell: Any) -> float | None:
        if _is_missing(cell):
            return np.nan
        match = _LETTER.fullmatch(str(cell).strip())
        if match is None:
            return None
        return round(base[match[1].upper()] + {"": 0.0, "+": 0.3, "-": -0.3}[match[2]], 1)

    return RatingScale("letters", value, {})


def _words(texts: list[str]) -> RatingScale | None:
    words = {_folded(text) for text in texts}
    known = sorted({_STRENGTH[word] for word in words if word in _STRENGTH})
    if len(known) < 2:
        return None
    level = {strength: float(place + 1) for place, strength in enumerate(known)}
    # Next to "very good" or "excellent", "good" and "average" may be neighbours: the order is what counts.
    return RatingScale(
        "words", _lookup({word: level[_STRENGTH[word]] for word in words if word in _STRENGTH}), {}
    )


def _led_by_numbers(texts: list[str]) -> RatingScale | None:
    def value(cell: Any) -> float | None:
        if _is_missing(cell):
            return np.nan
        match = _LED.fullmatch(str(cell).strip())
        return _decimal(match[1]) if match else number(cell)

    return RatingScale("numbers with words", value, {}) if len(set(map(value, texts))) <= 21 else None
