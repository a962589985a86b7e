"""Which language a question is written in: by its letters, else by its frequent words."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from importlib import resources

from p5t5.core.files import parse_yaml

_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "ARABIC": "ar", "HEBREW": "he", "GREEK": "el", "THAI": "th",
    "DEVANAGARI": "hi", "CYRILLIC": "ru", "CJK": "zh", "ARMENIAN": "hy", "GEORGIAN": "ka", "BENGALI": "bn", "TAMIL": "ta",
}  # fmt: skip
_UKRAINIAN = re.compile("[іїєґ]", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
_OPENING = re.compile("[¿¡]")
ENGLISH = "en"


@functools.cache
def _frequent() -> dict[str, frozenset[str]]:
    content = parse_yaml(resources.files("p5t5.questions").joinpath("languages.yaml").read_text("utf-8"))
    return {
        str(code if code is not False else "no"): frozenset(words.split()) for code, words in content.items()
    }


def _elided(word: str, known: frozenset[str]) -> bool:
    """ "l'auteur", "qu'il": a short word run into the next."""
    short, mark, rest = word.partition("'")
    return bool(mark) and (len(short) <= 2 or short in ("dell", "nell", "all")) and rest in known


def language_of(text: str) -> str:
    """ISO code of the language of ``text`` (names of items left out): "en" unless another is likelier."""
    scripts: Counter = Counter()
    for letter in text:
        if letter.isalpha():
            name = unicodedata.name(letter, "").split(" ")[0].split("-")[0]
            scripts[name] += 1
    other = {name: count for name, count in scripts.items() if name in _SCRIPTS}
    if sum(other.values()) > 0.3 * sum(scripts.values()):
        if "HIRAGANA" in other or "KATAKANA" in other:
            return "ja"
        code = _SCRIPTS[max(other, key=lambda name: other[name])]
        return "uk" if code == "ru" and _UKRAINIAN.search(text) else code
    words = [word.lower().replace("’", "'") for word in _WORDS.findall(text)]
    words = [
        re.sub(r"(?:'(?:s|re|ve|ll|d|m)|n't)$", "", word) for word in words if len(word) > 1 or word in "iay"
    ]
    frequent = _frequent()
    shared = {
        "a",
        "on",
        "me",
        "no",
        "or",
        "an",
        "in",
        "i",
        "the",
        "is",
        "so",
        "film",
        "films",
        "he",
        "am",
        "was",
        "do",
    }
    english = sum(
        0.4 if word in shared - {"i", "the", "is"} else 1 for word in words if word in frequent[ENGLISH]
    )
    counts = {}
    for code, known in frequent.items():
        if code == ENGLISH:
            continue
        pieces = [word for word in words if word in known or _elided(word, known)]
        own = [word for word in pieces if word not in frequent[ENGLISH]]
        counts[code] = len(own) + 0.3 * (len(pieces) - len(own)) + 0.2 * sum(not w.isascii() for w in own)
    best = max(counts, key=lambda code: counts[code])
    clear = counts[best] + (2 if _OPENING.search(text) else 0)
    if (clear >= 1.5 and clear > english) or (clear >= 1 and not english and len(words) <= 4):
        return best
    return ENGLISH
