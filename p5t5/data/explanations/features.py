"""Which words are features and which are opinions: learnt from reviews, the training ones only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p5t5.data.explanations.english import English
from p5t5.data.explanations.sentences import sentences, tokens

WINDOW = 5  # how many words an opinion may stand from what it is about
LEAST_SUPPORT = 3  # sentences, and
LEAST_SHARE = 0.0002  # of the sentences, that speak of a feature with an opinion
NOUN_SHARE = 1 / 3  # of a word's occurrences that are nouns
NAME_SHARE = 0.5  # of a word's occurrences within sentences that are capitalised: then it is a brand
PREDICATIVE_SHARE = 0.2  # of an adjective's occurrences: "is sturdy", not "acoustic guitar"
MOST_REVIEWS = 20_000  # that are read to learn the words

# Nouns that are about nothing in particular: time, amounts, people, and the act of buying.
_GENERAL = set(
    """
    thing things lot lots bit way ways time times day days week weeks month months year years hour
    hours minute minutes moment while one ones something anything everything nothing someone anyone
    everyone nobody people person guy guys man friend friends son daughter wife husband kid kids
    kind kinds sort type types part parts piece pair couple number reason reasons idea fact point
    case end side sides top bottom place thanks star stars deal job amazon use need problem problems
    issue issues difference choice chance question hope lol ok okay work works fun stuff mine others
    amount rest plenty tons alot mind course matter luck state opinion experience life home name
    """.split()  # noqa: SIM905
)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][A-Za-z]+")
_SUBJECTS = set("i you we they he she it who that to will would can could should might must not".split())  # noqa: SIM905
_BEFORE_NOUN = ("DT", "PRP$", "JJ", "JJR", "JJS", "POS")
_LINKS = set(
    """
    is are was were be been feel feels felt look looks looked seem seems sound sounds stay stays
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Words:
    """``features``: word or pair of words → in how many sentences an opinion stands near it, most first.

    ``opinions``: word → −1 to 1, 0 for those that were learnt and have no known sign.
    """

    features: dict[str, int]
    opinions: dict[str, float]


def fit_words(reviews: Iterable[str], english: English) -> Words:
    """Reads reviews (of the training part). A sentence that is written several times counts once."""
    seen: dict[tuple[str, ...], None] = {}
    capitalised: Counter[str] = Counter()
    for review in reviews:
        for sentence in sentences(review):
            words = tuple(tokens(sentence))
            if words not in seen:
                seen[words] = None
                capitalised.update(name.lower() for name in _NAME.findall(sentence))
    opinions = _opinions(seen, english)
    support: Counter[str] = Counter()
    occurrences: Counter[str] = Counter()
    nouns: Counter[str] = Counter()
    for words in seen:
        occurrences.update(words)
        near = _near_opinions(words, opinions)
        spoken, before = set(), False
        for place, word in enumerate(words):
            is_noun = word not in opinions and _is_noun(words, place, english)
            if is_noun:
                nouns[word] += 1
                if near[place]:
                    spoken.add(word)
                    if before and words[place - 1] != word:
                        spoken.add(f"{words[place - 1]} {word}")
            before = is_noun
        support.update(spoken)
    least = max(LEAST_SUPPORT, LEAST_SHARE * len(seen))
    found = {
        feature: number
        for feature, number in sorted(support.items(), key=lambda pair: (-pair[1], pair[0]))
        if number >= least
        and all(
            nouns[word] >= NOUN_SHARE * occurrences[word]
            and capitalised[word] <= NAME_SHARE * occurrences[word]
            for word in feature.split()
        )
    }
    return Words(found, opinions)


def frequent_nouns(reviews: Iterable[str], english: English) -> list[str]:
    """The baseline: nouns by the number of sentences that hold them, whatever is said of them."""
    counts: Counter[str] = Counter()
    for review in reviews:
        for sentence in sentences(review):
            words = tokens(sentence)
            counts.update({word for word in words if english.tag(word).startswith("NN") and len(word) > 2})
    return [word for word, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _opinions(seen: Iterable[Sequence[str]], english: English) -> dict[str, float]:
    """The lexicon's opinions, and adjectives that are said of things: "is sturdy", "feels very flimsy"."""
    found: dict[str, float] = {}
    all_of, said_of = Counter[str](), Counter[str]()
    for words in seen:
        for place, word in enumerate(words):
            if english.tag(word) not in ("JJ", "JJR", "JJS", "VBN"):
                if word not in found and (polarity := english.polarity(word)):
                    found[word] = polarity
                continue
            all_of[word] += 1
            earlier = place - 1
            if earlier > 0 and english.tag(words[earlier]) == "RB":
                earlier -= 1
            said_of[word] += earlier >= 0 and words[earlier] in _LINKS
    for word, number in all_of.items():
        if polarity := english.polarity(word):
            found[word] = polarity
        elif (
            english.tag(word) != "VBN"
            and said_of[word] >= LEAST_SUPPORT
            and said_of[word] >= PREDICATIVE_SHARE * number
            and not english.is_no_opinion(word)
        ):
            found[word] = 0.0
    return dict(sorted(found.items()))


def _near_opinions(words: Sequence[str], opinions: dict[str, float]) -> list[bool]:
    """Which places are within WINDOW words of an opinion."""
    near = [False] * len(words)
    for place, word in enumerate(words):
        if word in opinions:
            for other in range(max(0, place - WINDOW), min(len(words), place + WINDOW + 1)):
                near[other] = True
    return near


def _is_noun(words: Sequence[str], place: int, english: English) -> bool:
    """By the word's usual tag and the word before it: "the picks" is one, "it works" is none."""
    word, before = words[place], words[place - 1] if place else ""
    if len(word) < 3 or word in _GENERAL or english.is_no_opinion(word):
        return False
    tag = english.tag(word)
    if tag.startswith("NN"):
        return before not in _SUBJECTS
    return tag in ("VB", "VBZ", "VBP", "VBG") and bool(before) and english.tag(before) in _BEFORE_NOUN
