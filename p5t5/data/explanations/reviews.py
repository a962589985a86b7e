"""From each review the sentence that best tells an opinion on a feature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from p5t5.data.explanations.features import WINDOW, Words
from p5t5.data.explanations.sentences import sentences, tokens

IDEAL_WORDS = 6, 16  # shorter ones say little, longer ones ramble


@dataclass(frozen=True)
class Explanation:
    """``sentence`` holds ``feature`` (lower-cased, one or two words) and, near it, ``opinion``."""

    feature: str
    opinion: str
    sentence: str


def explain(review: str, words: Words, sign: int = 0) -> Explanation | None:
    """The best of the review's sentences, None where none tells an opinion on a feature.

    ``sign``: +1, −1 or 0: whether the review's rating is above or below the middle. Better is: a common feature, an
    opinion close to it and of the rating's sign, a length within IDEAL_WORDS, an early place.
    """
    if not words.features:
        return None
    most = math.log1p(max(words.features.values()))
    best: tuple[float, Explanation] | None = None
    for place, sentence in enumerate(sentences(review)):
        said = tokens(sentence)
        score = -0.02 * place - _odd_length(len(said)) - 0.5 * sentence.endswith("?")
        for at, feature in _features(said, words):
            for distance, opinion in _opinions(said, at, feature, words):
                polarity = words.opinions[opinion]
                agrees = 0.0 if not sign or not polarity else 0.4 * (1 if polarity * sign > 0 else -1)
                value = score + math.log1p(words.features[feature]) / most - 0.1 * distance + agrees
                if best is None or value > best[0]:
                    best = value, Explanation(feature, opinion, sentence)
    return best[1] if best else None


def _features(said: Sequence[str], words: Words) -> list[tuple[int, str]]:
    """Where which features stand; of a known pair only the pair."""
    found, place = [], 0
    while place < len(said):
        pair = " ".join(said[place : place + 2])
        if place + 1 < len(said) and pair in words.features:
            found.append((place, pair))
            place += 2
            continue
        if said[place] in words.features:
            found.append((place, said[place]))
        place += 1
    return found


def _opinions(said: Sequence[str], at: int, feature: str, words: Words) -> list[tuple[int, str]]:
    """Opinions near a feature with their distance in words."""
    last = at + feature.count(" ")
    around = range(max(0, at - WINDOW), min(len(said), last + WINDOW + 1))
    return [
        (at - place if place < at else place - last, said[place])
        for place in around
        if not at <= place <= last and said[place] in words.opinions
    ]


def _odd_length(number: int) -> float:
    shortest, longest = IDEAL_WORDS
    return 0.05 * max(shortest - number, number - longest, 0)
