"""How else a word may be spelled: without accents, with "ue" for "ü", or with one typing error."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
# Letters that Unicode does not take apart into a plain one and its accent.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th"})
_SPELLED_OUT = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "Ä": "Ae",
        "Ö": "Oe",
        "Ü": "Ue",
        "ø": "oe",
        "Ø": "Oe",
        "å": "aa",
        "Å": "Aa",
    }
)


def folded(word: str) -> str:
    """Lower case, without accents and signs: "Crème" → "creme", "Straße" → "strasse", "Mø" → "mo"."""
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", word).casefold()).translate(_PLAIN)
    return "".join(part for part in parts if part.isalnum())


def spelled_out(text: str) -> str:
    """As where the keyboard lacks them: "Müller" → "Mueller"."""
    return text if text.isascii() else unicodedata.normalize("NFC", text).translate(_SPELLED_OUT)


def one_edit_away(word: str) -> Iterator[str]:
    """All that a slip makes of ``word``: two letters swapped (first), one left out, another, or one too many."""
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]
    for place in range(len(word) + 1):
        for letter in _LETTERS:
            yield word[:place] + letter + word[place + 1 :]
            yield word[:place] + letter + word[place:]
