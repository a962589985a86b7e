"""Other ways to write a title: numbers of sequels, joined words, without its maker, a part that names it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_UNITS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13,
}  # fmt: skip
_ORDINALS = {
    "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5,
    "6th": 6, "zweiter": 2, "zweites": 2, "zweite": 2, "dritter": 3, "drittes": 3, "dritte": 3, "deuxieme": 2,
    "troisieme": 3, "erster": 1, "erste": 1, "erstes": 1, "premier": 1, "premiere": 1,
}  # fmt: skip
_ROMAN = {
    "ii": 2, "iii": 3, "iv": 4, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12, "xiii": 13,
}  # fmt: skip
_OTHER = {"zwei": 2, "drei": 3, "vier": 4, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "dos": 2, "tres": 3}
_COUNTERS = frozenset(
    [
        "part",
        "pt",
        "vol",
        "volume",
        "mark",
        "mk",
        "version",
        "ver",
        "v",
        "series",
        "gen",
        "generation",
        "episode",
        "ep",
        "teil",
        "band",
        "chapter",
        "tome",
        "no",
        "nr",
        "number",
        "the",
        "edition",
    ]
)
_GLUED = re.compile(r"(mk|mark|v|vol|pt|part)(\d+|ii|iii|iv|vi|vii|viii|ix)")
_TENS = (("quatre vingts", "80"), ("quatre vingt", "80"))


def number_of(word: str) -> int | None:
    """A number in digits, words or Roman figures ("i", "v" and "x" alone are letters)."""
    if word.isdigit():
        return int(word)
    for table in (_UNITS, _ROMAN, _ORDINALS, _OTHER):
        if word in table:
            return table[word]
    return None


def with_digits(words: Sequence[str]) -> str:
    """Normalised words with every number of a sequel in digits, and without "part", "mark" or "version".

    "terminator ii" → "terminator 2", "kestrel mkiii" → "kestrel 3", "the green drive version 2" →
    "the green drive 2". A last "i" or "v" behind other words counts as a number.
    """
    split: list[str] = []
    written = " ".join(words)
    for tens, digits in _TENS:
        written = re.sub(
            rf"\b{tens}\b(?! \w*(?:un|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize)\b)",
            digits,
            written,
        )
    for word in written.split():
        glued = _GLUED.fullmatch(word)
        split += glued.groups() if glued else [word]
    numbers: list[int | None] = [number_of(word) for word in split]
    if len(split) > 1 and numbers[-1] is None:
        numbers[-1] = {"i": 1, "v": 5, "x": 10}.get(split[-1])
        if numbers[-1] is None and split[-1] == "one" and split[-2] in _COUNTERS:
            numbers[-1] = 1
    out: list[str] = []
    for index, word in enumerate(split):
        beside = [numbers[near] for near in (index - 1, index + 1) if 0 <= near < len(split)]
        two_on = numbers[index + 2] if index + 2 < len(split) and split[index + 1] in _COUNTERS else None
        if numbers[index] is not None:
            out.append(str(numbers[index]))
        elif word in _COUNTERS and index and (any(n is not None for n in beside) or two_on is not None):
            continue
        else:
            out.append(word)
    return " ".join(out)


def head_with_number(head: Sequence[str], tail: Sequence[str]) -> str | None:
    """ "faust 2" for "Faust. Der Tragödie zweiter Teil": a title's head and the number at its end."""
    whole = with_digits(tail).split()
    if head and whole and whole[-1].isdigit() and not head[-1].isdigit():
        return " ".join([*with_digits(head).split(), whole[-1]])
    return None


def parts_of(words: Sequence[str], dull: frozenset[str], longest: int = 10) -> Iterator[str]:
    """Runs of words inside a title that could name it: at least two words that are not ``dull``."""
    words = list(words)[:longest]
    for start in range(len(words)):
        for end in range(start + 2, len(words) + 1):
            if end - start == len(words) or words[start] in ("and", "of", "or") or words[end - 1] in dull:
                continue
            telling = [word for word in words[start:end] if word not in dull]
            at_its_end = end == len(words) and telling and len(telling[-1]) >= 7
            if (len(telling) > 1 and sum(map(len, telling)) >= 8) or at_its_end:
                yield " ".join(words[start:end])
