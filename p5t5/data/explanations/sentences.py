"""A review in pieces that can stand alone: its sentences, and the clauses of those that are too long."""

from __future__ import annotations

import re

from p5t5.data.records.cleaning import clean_text

FEWEST_WORDS, MOST_WORDS = 4, 25

_MARKUP = re.compile(r"< ?/?[a-zA-Z][^<>]{0,80}>")  # clean_text has put a space behind each "<"
_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)|(?<=[a-z])[.!?]+(?=[A-Z][a-z'])")  # the second: "Fine.It works"
_NO_END = {"mr", "mrs", "dr", "vs", "etc", "e.g", "i.e", "approx", "st", "inc"}
_CLAUSE = re.compile(
    r"\s*[;:()]\s*|\s+[-–—]+\s+|,\s+(?=(?:and|but|so|which|because|though|although|while|yet|if|it|they|i)\b)"
    r"|\s+(?=(?:but|because|although)\b)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"(?:and|but|so|which|because|though|although|while|yet|also|plus)\b,?\s+", re.IGNORECASE
)
_REPEATED = re.compile(r"([.,!?*~_=-])\1+")
_TOKEN = re.compile(r"[a-z0-9]+(?:['’][a-z]+)?|[^\sa-z0-9]")


def sentences(review: str) -> list[str]:
    """What may be quoted: sentences of FEWEST_WORDS to MOST_WORDS words, of longer ones their clauses."""
    text = _MARKUP.sub(" ", review)
    pieces, start = [], 0
    for end in _END.finditer(text):
        before = text[max(start, end.start() - 8) : end.start()].rsplit(None, 1)
        if (
            before
            and before[-1].lstrip("(").lower() in _NO_END
            and not text[end.end() :].lstrip()[:1].isupper()
        ):
            continue
        pieces.append(text[start : end.end()])
        start = end.end()
    pieces.append(text[start:])
    found = []
    for piece in pieces:
        parts = [piece] if len(piece.split()) <= MOST_WORDS else _CLAUSE.split(piece)
        for part in parts:
            sentence = _tidy(part)
            if FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS:
                found.append(sentence)
    return found


def tokens(sentence: str) -> list[str]:
    """Lower-cased words, numbers and signs; "isn't" is one word."""
    return _TOKEN.findall(sentence.lower())


def _tidy(piece: str) -> str:
    """Without what only made sense in its place: openings, brackets and quotes at the ends, repeated signs."""
    text = _REPEATED.sub(r"\1", " ".join(piece.split())).strip(" \"'*-•~:;,([])}{_=+>/|")
    return clean_text(_OPENING.sub("", text, count=1) if _OPENING.match(text) else text)
