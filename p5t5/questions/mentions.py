"""The items that a question names, however they are written: the linker's exact titles, then other spellings.

Beside what `Linker` finds: numbers of sequels in any form ("godfather ii", "part two"), joined words
("starwars"), titles without their maker ("octave down", "razor 8 from vantro"), a part that names one title
("wrath of khan"), words with a typing error or two. The longest match wins, then the exacter.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from rapidfuzz import process
from rapidfuzz.distance import OSA

from p5t5.questions.attributes import ItemAttributes
from p5t5.questions.entity_linking import (
    AMBIGUOUS,
    ITEM,
    Link,
    Linker,
    Token,
    article_forms,
    crosses_sentence,
    everyday_language,
    is_evident,
    normalize,
    quoted_spans,
    tokens_of,
)
from p5t5.questions.mention_context import Mention, MentionContext
from p5t5.questions.title_spellings import head_with_number, parts_of, with_digits

# How exact a spelling is; the linker's own ranks are 0 to 4.
DIGITS, WITHOUT_MAKER, JOINED, PART, BEGINNING = 5, 6, 6, 8, 9
MAX_TYPING_ERRORS = 24  # words of one question that are compared with the titles' words
MAX_MEANT = 6  # a name that could be more items than these says nothing
_HEAD = re.compile(r"\s[-–—]\s|:\s|\.\s|\sor:\s")
_TAIL = re.compile(r"(?::|,\s*(?:or|ou|oder)\s|\sor:)\s*(.+)$")
_YEAR_BEHIND = re.compile(r"\s*\((\d{4})\)\s*$")
_NUMBERS_LISTED = re.compile(
    r"\b(?:watched|seen|saw|bought|liked|loved|enjoyed|read|rated|ordered|clicked|disliked|hated|ids?|after|history)\s*:?\s*"
    r"(?P<ids>\d+(?:\s*(?:,|;|and|&)\s*(?:and\s+)?\d+)+)\b(?!\s*(?:stars?|points?|times|films?|movies?|items?|books?|years?|%|/))",
    re.IGNORECASE,
)


@functools.cache
def known_words() -> frozenset[str]:
    """Words of questions: never a typing error of a title, and alone no part that names one."""
    language = everyday_language()
    texts = [cue for cues in language["cues"].values() for cue in cues]
    listed = set().union(*(language["words"][name] for name in language["words"]))
    return frozenset(listed | {word for text in texts for word in normalize(text).split()})


@functools.cache
def asking_words() -> frozenset[str]:
    """Words that questions are made of, without the other words of everyday speech."""
    return known_words() - everyday_language()["words"]["common"] | everyday_language()["words"]["everyday"]


class MentionFinder:
    """Finds mentions. Built once a catalogue; then read only."""

    def __init__(self, titles: Sequence[str], linker: Linker, attributes: ItemAttributes) -> None:
        self.linker, self.attributes, self.titles = linker, attributes, titles
        self.context = MentionContext(titles, linker, attributes)
        self._keys: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._longest: dict[str, int] = {}
        self._beginnings: dict[str, tuple[int, ...]] = {}
        spelled: dict[str, dict[int, int]] = defaultdict(dict)
        beginnings: dict[str, set[int]] = defaultdict(set)
        words: Counter = Counter()
        plain = [normalize(_YEAR_BEHIND.sub("", title)) for title in titles]
        for title in plain:
            words.update(set(title.split()))
        self._dull = frozenset(
            {word for word, count in words.items() if count > max(12, 0.02 * len(titles))} | known_words()
        )
        for item, title in enumerate(titles):
            for rank, key in self._other_keys(item, title):
                spelled[key][item] = min(rank, spelled[key].get(item, 99))
            for form in {normalize(form) for form in article_forms(_YEAR_BEHIND.sub("", title))}:
                parts = form.split()
                for end in range(1, len(parts)):
                    beginnings[" ".join(parts[:end])].add(item)
        for key, named in spelled.items():
            best = min(named.values())
            items = tuple(sorted(item for item, rank in named.items() if rank == best))
            if len({plain[item] for item in items}) == 1 and best >= PART:
                items = items[:1]
            if len(items) <= MAX_MEANT:
                self._keys[key] = (best, items)
        forms = attributes.forms
        for key, begun in beginnings.items():
            if len(begun) <= MAX_MEANT and key not in self._keys and key not in forms and self._tells(key):
                self._beginnings[key] = tuple(sorted(begun))
        for key in [*self._keys, *self._beginnings]:
            first, length = key.split(" ", 1)[0], key.count(" ") + 1
            self._longest[first] = max(length, self._longest.get(first, 0))
        self.title_words = frozenset(words)
        self._words = frozenset(words) | {word for key in self._keys for word in key.split()}
        self._by_letter: dict[str, list[str]] = defaultdict(list)
        for word in sorted(words):
            if len(word) > 3:
                self._by_letter[word[0]].append(word)

    def _tells(self, key: str) -> bool:
        telling = [word for word in key.split() if word not in self._dull]
        return bool(telling) and (len(telling) > 1 or len(max(telling, key=len)) >= 5)

    def _other_keys(self, item: int, title: str) -> Iterator[tuple[int, str]]:
        bare = _YEAR_BEHIND.sub("", title)
        for form in article_forms(bare):
            words = normalize(form).split()
            if not words:
                continue
            for kept in (words, _without_article(words)):
                digits = with_digits(kept)
                numbered = digits != " ".join(kept) or any(part.isdigit() for part in digits.split())
                if numbered and not digits.replace(" ", "").isdigit():
                    yield DIGITS, digits
                    yield DIGITS, digits.replace(" ", "")
                if len(kept) > 1:
                    yield JOINED, "".join(kept)
            for own in without_maker(self.attributes, item, words):
                yield WITHOUT_MAKER, " ".join(own)
                yield WITHOUT_MAKER, with_digits(own)
                if len(own) > 1:
                    yield WITHOUT_MAKER, "".join(own)
                for word in own:
                    if re.search(r"\d", word) and re.search(r"[a-z]", word) and len(own) > 1:
                        yield PART, word
            yield from ((PART, key) for key in parts_of(words, self._dull))
        split = _HEAD.search(bare)
        if split:
            head, tail = bare[: split.start()], bare[split.end() :]
            key = head_with_number(normalize(head).split(), normalize(tail).split())
            if key:
                yield DIGITS, key
                yield DIGITS, _without_article_text(key)
            if normalize(head).split():
                digits = with_digits(normalize(head).split())
                if digits.split()[-1].isdigit() and len(digits.split()) > 1:
                    yield DIGITS, digits
                    yield DIGITS, _without_article_text(digits)
                    yield DIGITS, digits.replace(" ", "")
        tail_said = _TAIL.search(bare)
        if tail_said:
            for form in article_forms(tail_said.group(1)):
                words = normalize(form).split()
                if len(words) > 1 or (words and len(words[0]) > 6 and words[0] not in self._dull):
                    yield PART, " ".join(words)
                    yield PART, " ".join(_without_article(words))

    def find(self, text: str) -> list[Mention]:
        """The mentions of a cleaned text, left to right, without overlaps."""
        tokens = list(tokens_of(text))
        quoted = quoted_spans(text)
        found: list[tuple[float, int, int, Mention]] = []
        for count, rank, link in self.linker.title_links(text):
            items = link.items
            found.append((count, 0, rank, Mention(link.start, link.end, items)))
        for count, rank, mention in self._scan(text, tokens, quoted):
            found.append((count, int(mention.respelled), rank, mention))
        for count, link in self.linker.id_links(text):
            if link.kind == ITEM:
                found.append((count, 0, 4, Mention(link.start, link.end, link.items)))
        for start, end, item in self._bare_ids(text):
            found.append((1.5, 0, 4, Mention(start, end, (item,))))
        users = [link for link in self.linker.link(text) if link.kind == "user"]
        found.sort(key=lambda match: (-match[0], match[1], match[2], match[3].start))
        taken: list[Mention] = []
        for _, _, _, mention in found:
            apart = all(mention.end <= other.start or other.end <= mention.start for other in taken)
            if apart and all(mention.end <= user.start or user.end <= mention.start for user in users):
                taken.append(mention)
        taken.sort(key=lambda mention: mention.start)
        return [self.context.settled(text, mention, taken) for mention in taken]

    def _bare_ids(self, text: str) -> Iterator[tuple[int, int, int]]:
        """(start, end, item) of numbers in a list behind a verb: "I've watched 1, 50, 181"."""
        for listed in _NUMBERS_LISTED.finditer(text):
            for match in re.finditer(r"\w+", listed.group("ids")):
                item = self.linker.item_of_id(match.group())
                if item is not None:
                    yield listed.start("ids") + match.start(), listed.start("ids") + match.end(), item

    def _scan(
        self, text: str, tokens: list[Token], quoted: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[float, int, Mention]]:
        """(words, rank, mention) of other spellings, overlapping ones too."""
        ways = self._ways(tokens)
        for first, token in enumerate(tokens):
            longest = max(
                (self._longest.get(word, 0) for word in ways[first]),
                default=0,
            )
            longest = max(longest, self.linker.longest_from(ways[first]), 4)
            for count in range(min(longest, len(tokens) - first), 0, -1):
                part = tokens[first : first + count]
                start, end = token.start, part[-1].end
                if crosses_sentence(text[start:end]):
                    continue
                hit = self._hit(ways[first : first + count], part)
                if hit is None:
                    continue
                rank, items, respelled = hit
                letters = sum(len(t.word) for t in part)
                if respelled:
                    if letters < (8 if count == 1 else 7):
                        continue
                elif (
                    (rank >= PART and not self._clear(text, tokens, first, count, list(quoted)))
                    or (count == 1 and part[0].word in known_words())
                    or (not is_evident(text, tokens, first, count, list(quoted)) and letters < 8)
                ):
                    continue
                yield count, rank, Mention(start, end, items, respelled)

    def _clear(
        self, text: str, tokens: list[Token], first: int, count: int, quoted: list[tuple[int, int]]
    ) -> bool:
        """Whether a part of a title stands there as a name: evident, and free of a name on either side."""
        if not is_evident(text, tokens, first, count, quoted):
            return False
        words = everyday_language()["words"]
        before = tokens[first - 1] if first else None
        part = tokens[first : first + count]
        lower = all(text[token.start].islower() for token in part if token.word not in words["articles"])
        after = tokens[first + count] if first + count < len(tokens) else None
        beside = [near for near in (before, after) if near is not None and not lower]
        if any(
            text[near.start].isupper()
            and re.fullmatch(r"[\s'’]*", _between(text, near, part))
            and near.word not in _OPENERS
            for near in beside
        ):
            return False  # a longer name
        telling = [token.word for token in part if token.word not in self._dull]
        if re.search(r"\d", part[0].word):
            return True
        if not lower:
            return first > 0 or count > 1
        if count > 1:
            return len(telling) > 1 or bool(telling and len(telling[0]) >= 7)
        return before is not None and before.word in _FELT and part[0].word not in known_words()

    def _ways(self, tokens: list[Token]) -> list[list[str]]:
        """The words each token may stand for: itself, then what it is a slip of."""
        out: list[list[str]] = []
        tried = 0
        forms = self.attributes.forms
        for token in tokens:
            ways = list(dict.fromkeys((token.word, token.other)))
            word = token.word
            unknown = word not in self._words and word not in known_words() and word not in forms
            if unknown and len(word) > 3 and not word.isdigit() and tried < MAX_TYPING_ERRORS:
                tried += 1
                ways += self._near_words(word)
            out.append(ways)
        return out

    def _near_words(self, word: str) -> list[str]:
        most = 1 if len(word) < 7 else 2
        found = process.extract(
            word, self._by_letter.get(word[0], []), scorer=OSA.distance, score_cutoff=most, limit=4
        )
        if not found:
            return []
        best = min(distance for _, distance, _ in found)
        return [near for near, distance, _ in found if distance == best]

    def _hit(
        self, ways: Sequence[Sequence[str]], part: Sequence[Token]
    ) -> tuple[int, tuple[int, ...], bool] | None:
        """(rank, items, respelled) of the exactest spelling of these tokens."""
        own = [token.word for token in part]
        other = [token.other for token in part]
        for words in [own] if own == other else [own, other]:
            for key in dict.fromkeys((" ".join(words), with_digits(words), "".join(words))):
                if key in self._keys:
                    return (*self._keys[key], False)
            joined = self.linker.named("".join(words)) if len(words) > 1 else None
            if joined:
                return JOINED, joined[1], False
            key = " ".join(words)
            if key in self._beginnings:
                return BEGINNING, self._beginnings[key], False
        if all(set(way) <= {token.word, token.other} for way, token in zip(ways, part, strict=True)):
            return None
        for chosen in itertools.islice(itertools.product(*(way[:5] for way in ways)), 24):
            words = list(chosen)
            if words in (own, other):
                continue
            key = " ".join(words)
            named = self.linker.named(key)
            if named:
                return named[0], named[1], True
            for spelled in (key, with_digits(words)):
                if spelled in self._keys and self._keys[spelled][0] < PART:
                    return (*self._keys[spelled], True)
        return None


_FELT = frozenset(
    [
        "loved",
        "liked",
        "enjoyed",
        "watched",
        "saw",
        "seen",
        "finished",
        "read",
        "hated",
        "disliked",
        "adored",
        "loves",
        "hates",
        "likes",
        "like",
        "own",
        "bought",
    ]
)
_OPENERS = frozenset(
    [
        "i",
        "i'm",
        "ive",
        "is",
        "are",
        "was",
        "would",
        "will",
        "should",
        "could",
        "do",
        "does",
        "did",
        "what",
        "which",
        "who",
        "why",
        "how",
        "when",
        "if",
        "has",
        "have",
    ]
)


def _between(text: str, near: Token, part: Sequence[Token]) -> str:
    return text[near.end : part[0].start] if near.end <= part[0].start else text[part[-1].end : near.start]


def without_maker(attributes: ItemAttributes, item: int, words: list[str]) -> Iterator[list[str]]:
    """A title's words behind the maker's name that it begins with."""
    for cells in attributes.values.values():
        for value in cells[item]:
            parts = normalize(value).split()
            for length in range(len(parts), 0, -1):
                if words[:length] == parts[:length] and len(words) > length:
                    own = words[length:]
                    if len("".join(own)) > 3:
                        yield own
                    break


def _without_article(words: list[str]) -> list[str]:
    articles = everyday_language()["words"]["articles"]
    return words[1:] if len(words) > 1 and words[0] in articles else words


def _without_article_text(key: str) -> str:
    return " ".join(_without_article(key.split()))


__all__ = ["AMBIGUOUS", "Link", "Mention", "MentionFinder", "known_words"]
