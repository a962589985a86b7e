"""One id in several spellings: 7 and 7.0, 0042 and 42, composed and decomposed letters, invisible characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from p5t5.core.errors import UserError

_DECIMAL = re.compile(r"([+-]?\d+)\.0+")
_SCIENTIFIC = re.compile(r"\d(?:\.\d+)?[eE]\+?\d{1,2}")


def _without_decimals(text: str) -> str:
    """ "7.0" and "1.08775003E8" are what spreadsheets and data frames make of whole numbers."""
    if found := _DECIMAL.fullmatch(text):
        return found[1]
    if _SCIENTIFIC.fullmatch(text) and (value := Decimal(text)) == value.to_integral_value():
        return str(int(value))
    return text


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    kept = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", kept)


KINDS: dict[str, Callable[[str], str]] = {
    "unicode": _unicode,
    "spaces": lambda text: "".join(text.split()),
    "decimal": _without_decimals,
    "zeros": lambda text: re.sub(r"^0+(?=\w)", "", text),
    "case": str.casefold,
    "quotes": lambda text: re.sub(r"^='?\"?|[\"']+", "", text) if text[:1] in "=\"'" else text,
    "punctuation": lambda text: re.sub(r"[-_./]", "", text),
}
_ABOUT = {
    "unicode": "other forms of the same characters (composed and decomposed letters, invisible characters)",
    "spaces": "spaces",
    "decimal": "“.0” at the end (whole numbers that became decimals)",
    "zeros": "leading zeros",
    "case": "upper and lower case",
    "quotes": "quotes around ids",
    "punctuation": "hyphens, dots or slashes",
}


def normalizer(kinds: Iterable[str]) -> Callable[[str], str]:
    """A function that makes spellings alike. ``kinds``: keys of KINDS, or "all". UserError for others."""
    chosen = [kind.strip() for kind in kinds if kind.strip()]
    for kind in chosen:
        if kind not in (*KINDS, "all"):
            raise UserError(
                f"--normalize_ids: there is no {kind!r}; choose among {', '.join(KINDS)}, or all."
            )
    functions = [function for kind, function in KINDS.items() if kind in chosen or "all" in chosen]

    def normalize(text: str) -> str:
        for function in functions:
            text = function(text) or text
        return text

    return normalize


def differing_spellings(ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Kind of spelling → (how many ids equal another but for it, "a, A"), of those kinds that there are."""
    found = {}
    for kind, function in KINDS.items():
        if kind == "punctuation":  # 1-2 and 12 are mostly two ids
            continue
        first: dict[str, str] = {}
        number, example = 0, ""
        for text in ids:
            other = first.setdefault(function(text) or text, text)
            if other is not text:
                number += 1
                example = example or f"{other!r}, {text!r}"
        if number:
            found[kind] = (number, example)
    return found


def spelling_of_join(ids: Sequence[str], others: Iterable[str]) -> tuple[list[str], int]:
    """(the fewest kinds under which most of ``ids`` are found among ``others``, how many are then)."""
    listed = list(dict.fromkeys(others))
    best: tuple[list[str], int] = ([], len(set(ids) & set(listed)))
    tried: list[list[str]] = [[kind] for kind in KINDS]
    tried += [["decimal", "zeros"], ["unicode", "spaces"], ["unicode", "case"], ["case", "spaces"], ["all"]]
    for kinds in tried:
        normalize = normalizer(kinds)
        there = {normalize(text) for text in listed}
        matched = sum(normalize(text) in there for text in ids)
        if matched > best[1]:
            best = (kinds, matched)
    return best


def cause_of_misses(ids: Sequence[str], others: Iterable[str], least: float = 0.02) -> str:
    """A sentence on why ids are not found in another table, and the option that helps; "" where none does.

    ``least``: the share of the ids that must be gained for the option to be named.
    """
    listed = list(others)
    before = len(set(ids) & set(listed))
    kinds, matched = spelling_of_join(ids, listed)
    if not kinds or matched - before < max(1, least * len(ids)):
        return ""
    about = " and ".join(_ABOUT[kind] for kind in kinds) if kinds != ["all"] else "several spellings"
    return f"the spellings differ by {about}: --normalize_ids {','.join(kinds)} matches {matched:,} of {len(ids):,}"
