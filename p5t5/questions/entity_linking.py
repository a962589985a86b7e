"""Titles, item ids and user ids in free text → catalogue items and users: exact after normalisation.

Case, accents, punctuation and spacing do not count ("ü" is "u" and "ue"), "Godfather, The" and "The
Godfather" are one title, and a year may be left out where the rest names one item only. An id of words
("Night Song") is a title. Typing errors are not repaired; `Linker.near` says what may have been meant.
A title that is also an everyday word ("Big", "It", "Heat") needs evidence: its year, quotes, a
capital inside a sentence, or a place in the sentence where only a name makes sense.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from p5t5.core.files import parse_yaml
from p5t5.data.records.cleaning import clean_text
from p5t5.questions.spelling import folded, one_edit_away, spelled_out

ITEM, USER, AMBIGUOUS = "item", "user", "ambiguous"

_WORD = re.compile(r"[^\W_]+(?:['’`´][^\W_]+)*|&|(?<=\s)\+(?=\s)")
_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS = {str(number): word for number, word in enumerate(_NUMBER_WORDS, 2)}
_NUMBERS |= {word: digits for digits, word in _NUMBERS.items()}
_INITIALS = re.compile(r"\b\w(?: \w\b)+")
_YEAR_BEHIND = re.compile(r"\s*\((\d{4})\)\s*(?:\([A-Z]{1,3}\)\s*)?$")  # "(1995) (V)": V for video
_PARENTHESIS = re.compile(r"\(([^()]*)\)")
_ID = r"(?:\s*(?:ids?|no\.?|numbers?|nr\.?)\b)?\s*[#:]?\s*[\"“'_]?(?P<id>[\w.\-]+)"
_ITEM_ID = re.compile(rf"\b(?:item|product|movie|film|title|article|asin)(?P<plural>s?){_ID}", re.IGNORECASE)
_NEXT_ID = re.compile(
    rf"[\"”']?(?:\s*(?:,|;|&|\band\b|\bor\b))+\s*(?:item|product|movie|film)?{_ID}(?!\s+(?:others?|more)\b)",
    re.IGNORECASE,
)
_USER_ID = re.compile(
    rf"\b(?:user|customer|viewer|member|shopper|reader|account|person|reviewer){_ID}", re.IGNORECASE
)
# Letters with digits, or a number that begins with 0: what people write for ids only.
_BARE_ID = re.compile(r"(?<![\w.\-])(?:(?=[\w\-]*\d)(?=[\w\-]*[A-Za-z])[\w\-]+|0\d\d+)(?![\w\-])")
_LONG = 6  # characters from which on such an id counts in another case too
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|„([^“”]+)[“”]|(?<!\w)['‘]([^'‘’]+)['’](?!\w)")


@functools.cache
def everyday_language() -> dict:
    """questions.yaml: word lists of the linker and cue sentences of the router."""
    content = parse_yaml(resources.files("p5t5.questions").joinpath("questions.yaml").read_text("utf-8"))
    return {**content, "words": {name: frozenset(words.split()) for name, words in content["words"].items()}}


@dataclass(frozen=True)
class Link:
    """``text[start:end]`` names ``items``: one catalogue row, several when ambiguous, or a user.

    ``kind`` is "item", "user" or "ambiguous"; for a user ``user`` is its number, −1 for a stranger.
    """

    kind: str
    start: int
    end: int
    items: tuple[int, ...] = ()
    user: int = -1

    @property
    def item(self) -> int:
        return self.items[0] if self.kind == ITEM else -1


@dataclass(frozen=True)
class Token:
    word: str
    other: str  # with "ue" for "ü"
    start: int
    end: int


def normalize(text: str) -> str:
    """The words of ``text`` without case, accents, punctuation and apostrophes: "& " is "and"."""
    words = ("and" if word in "&+" else _plain(word) for word in _WORD.findall(text))
    return " ".join(word for word in words if word)


def title_keys(title: str, year: str = "") -> Iterator[tuple[int, str]]:
    """(rank, normalised spelling) of every way to write a title.

    0: as it stands, year included; 1: another way, with the year; 2: the title without its year;
    3: another title given in parentheses, the title without a leading article, or initials written
    as a word; 4: its head before a colon or a dash. ``year`` is used where the title has none.
    """
    behind = _YEAR_BEHIND.search(title)
    bare = title[: behind.start()] if behind else title
    year = behind.group(1) if behind else year
    main = _PARENTHESIS.sub(" ", bare)
    forms = article_forms(main)
    spellings = [(2, bare), *((2, form) for form in forms)]
    others = [other for other in _PARENTHESIS.findall(bare) if len(other.strip()) > 2 and not other.isdigit()]
    spellings += [(3, form) for other in others for form in article_forms(other)]
    words = normalize(forms[-1]).split()
    if words and words[0] in everyday_language()["words"]["articles"] and len("".join(words[1:])) >= 7:
        spellings.append((3, " ".join(words[1:])))
    joined = _INITIALS.sub(lambda match: match.group().replace(" ", ""), " ".join(words))
    spellings.append((3, joined))
    if len(words) > 1:  # "seven" is a title, "7" a number
        spellings.append((3, " ".join(_NUMBERS.get(word, word) for word in words)))
    head = re.split(r"\sor:|:|\s[-–—]\s", main)[0]
    if head != main and len(normalize(head).split()) > 1:
        spellings += [(4, form) for form in article_forms(head)]
    if behind:
        yield 0, normalize(title)
        yield 0, normalize(spelled_out(title))
    for rank, spelling in spellings:
        for key in dict.fromkeys((normalize(spelling), normalize(spelled_out(spelling)))):
            if key:
                yield rank, key
                if year:
                    yield 1, f"{key} {year}"


class Linker:
    """Finds what a text names. Built once a catalogue (0.1 s for 1,000 titles), then read only.

    ``find_user``: user id → the user's number, None for a stranger. ``years``: a year an item ("" where
    unknown), for titles that do not end in one.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        titles: Sequence[str],
        find_user: Callable[[str], int | None] | None = None,
        years: Sequence[str] | None = None,
    ):
        self._titles: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._longest: dict[str, int] = {}  # first word → words of the longest title that starts so
        self._item_ids = item_ids
        self._item_index = _index(item_ids)
        self._find_user = find_user or (lambda written: None)
        self._year = [_year_of(title) for title in titles]
        spelled: dict[str, list[tuple[int, int]]] = {}
        for item, (item_id, title) in enumerate(zip(item_ids, titles, strict=True)):
            if title in (item_id, clean_text(item_id)) and not _is_name(item_id):
                continue  # no title: ids are linked by their own rules
            given = years[item] if years is not None else ""
            self._year[item] = self._year[item] or given
            for rank, key in set(title_keys(title, given)):
                if key:
                    spelled.setdefault(key, []).append((rank, item))
        full = [normalize(title) for title in titles]
        for key, named in spelled.items():
            best = min(rank for rank, _ in named)
            items = sorted({item for rank, item in named if rank == best})
            if len({full[item] for item in items}) == 1:
                items = items[:1]  # one title listed twice: the first stands for both
            self._titles[key] = (best, tuple(items))
            first, length = key.split(" ", 1)[0], key.count(" ") + 1
            self._longest[first] = max(length, self._longest.get(first, 0))

    def link(self, text: str) -> list[Link]:
        """The links of ``text``, left to right and without overlaps; the longest match wins."""
        found = [*((count, link) for count, _, link in self.title_links(text)), *self.id_links(text)]
        found.sort(key=lambda match: (-match[0], match[1].start))
        taken: list[Link] = []
        for _, link in found:
            if all(link.end <= other.start or other.end <= link.start for other in taken):
                taken.append(link)
        return sorted(taken, key=lambda link: link.start)

    def title_links(self, text: str) -> Iterator[tuple[float, int, Link]]:
        """(words matched, rank of the spelling, link) of every title in the text, overlapping ones too."""
        tokens = list(tokens_of(text))
        quoted = quoted_spans(text)
        for first, token in enumerate(tokens):
            longest = max(self._longest.get(token.word, 0), self._longest.get(token.other, 0))
            for count in range(min(longest, len(tokens) - first), 0, -1):
                part = tokens[first : first + count]
                key = " ".join(token.word for token in part)
                if key not in self._titles:
                    key = " ".join(token.other for token in part)
                if key not in self._titles:
                    continue
                rank, items = self._titles[key]
                start, end = token.start, tokens[first + count - 1].end
                if crosses_sentence(text[start:end]) and rank > 2:
                    continue
                said = re.match(r"\s*\(\s*(\d{4})\s*\)", text[end:])
                if rank > 1 and said:  # a year that the title's own spelling did not match
                    items = tuple(item for item in items if self._near(item, int(said.group(1))))
                    if not items:
                        continue
                    end += said.end()
                elif rank > 1 and not is_evident(text, tokens, first, count, quoted):
                    continue
                if rank < 2 and text[end : end + 1] == ")" and "(" in text[start:end]:
                    end += 1
                yield count, rank, Link(ITEM if len(items) == 1 else AMBIGUOUS, start, end, items)

    def near(self, text: str, links: Sequence[Link]) -> list[Link]:
        """Names outside ``links`` that are one letter (or two swapped) away from titles: what may be meant.

        Single words only where they stand out: with a capital inside a sentence, or in quotes.
        """
        tokens = [
            token
            for token in tokens_of(text)
            if all(token.end <= link.start or link.end <= token.start for link in links)
        ]
        everyday = everyday_language()["words"]["everyday"]
        quoted = [match.span() for match in _QUOTED.finditer(text)]
        found: list[Link] = []
        for count in range(min(6, len(tokens)), 0, -1):
            for first in range(len(tokens) - count + 1):
                part = tokens[first : first + count]
                start, end = part[0].start, part[-1].end
                key = " ".join(token.word for token in part)
                if len(key) < 5 or all(token.word in everyday for token in part):
                    continue
                if crosses_sentence(text[start:end]) or any(start < link.start < end for link in links):
                    continue
                in_quotes = any(left <= start and end <= right for left, right in quoted)
                if count == 1 and not in_quotes and not _stands_out(text, start):
                    continue
                items = {item for way in one_edit_away(key) for item in self._titles.get(way, (0, ()))[1]}
                if items and all(end <= other.start or other.end <= start for other in found):
                    found.append(Link(AMBIGUOUS, start, end, tuple(sorted(items))))
        return sorted(found, key=lambda link: link.start)

    def named(self, key: str) -> tuple[int, tuple[int, ...]] | None:
        """(rank, items) of a normalised spelling."""
        return self._titles.get(key)

    def item_of_id(self, written: str) -> int | None:
        """The item with this id."""
        return _lookup(self._item_index, written)

    def longest_from(self, words: Sequence[str]) -> int:
        """Words of the longest title that begins with one of these."""
        return max((self._longest.get(word, 0) for word in words), default=0)

    def year_of(self, item: int, unknown: int) -> int:
        """The year of an item, ``unknown`` where none is known."""
        return int(self._year[item]) if self._year[item].isdigit() else unknown

    def _near(self, item: int, year: int) -> bool:
        """Whether a year said by a person can mean this item: release dates differ by country."""
        known = self._year[item]
        return not known.isdigit() or abs(int(known) - year) <= 1

    def id_links(self, text: str) -> Iterator[tuple[float, Link]]:
        """As title_links; at equal length a title wins over an id."""
        for match in _ITEM_ID.finditer(text):
            span, more = match.span("id"), match.group("plural")
            item = _lookup(self._item_index, match.group("id"))
            start = match.start()
            while item is not None:
                end = span[0] + len(text[slice(*span)].rstrip(".-"))
                yield 1.5, Link(ITEM, start, end, (item,))
                following = _NEXT_ID.match(text, end) if more else None
                item = _lookup(self._item_index, following.group("id")) if following else None
                if following:
                    span, start = following.span("id"), following.start("id")
        for match in _QUOTED.finditer(text):
            item = _lookup(self._item_index, next(group for group in match.groups() if group))
            if item is not None:
                yield 1.5, Link(ITEM, *match.span(), (item,))
        for match in _USER_ID.finditer(text):
            written = match.group("id").rstrip(".-")
            end = match.start("id") + len(written)
            user = self._find_user(text[match.start() : end])  # "reader3" may be the id itself
            user = self._find_user(written) if user is None else user
            if user is not None or any(char.isdigit() for char in written):  # "user 99999": nobody we know
                yield 2.5, Link(USER, match.start(), end, user=-1 if user is None else user)
        for match in _BARE_ID.finditer(text):
            item = _lookup(self._item_index, match.group())
            user = self._find_user(match.group())
            if item is not None and len(match.group()) < _LONG and self._item_ids[item] != match.group():
                item = None
            if item is not None:
                yield 1.5, Link(ITEM, *match.span(), (item,))
            elif user is not None:
                yield 1.5, Link(USER, *match.span(), user=user)


def replace_links(text: str, links: Sequence[Link], names: dict[str, str]) -> str:
    """``text`` with each link replaced by ``names[kind]``."""
    out, place = [], 0
    for link in links:
        out += [text[place : link.start], names[link.kind]]
        place = link.end
    return "".join([*out, text[place:]])


def quoted_spans(text: str) -> list[tuple[int, int]]:
    """Where quotes stand, marks included."""
    return [match.span() for match in _QUOTED.finditer(text)]


def tokens_of(text: str) -> Iterator[Token]:
    for match in _WORD.finditer(text):
        word = "and" if match.group() in "&+" else _plain(match.group())
        if word:
            other = word if match.group().isascii() else _plain(spelled_out(match.group()))
            yield Token(word, other, match.start(), match.end())


def _plain(word: str) -> str:
    if word.isascii():
        return word.replace("'", "").replace("`", "").casefold()
    return folded(word)


def _stands_out(text: str, start: int) -> bool:
    """Whether the word there has no small letter first, and is not the first of its sentence."""
    return not text[start].islower() and bool(re.search(r"[^\s.!?\"“]\s+$", text[:start]))


def _is_name(item_id: str) -> bool:
    """Whether an id is words, so that it is named in a text as a title is: "Night Song", "Käsereibe"."""
    words = normalize(item_id).split()
    return len(words) > 1 or (item_id.isalpha() and len(item_id) > 3)


def article_forms(title: str) -> list[str]:
    """The title as it stands, and with an article behind a last comma moved to the front."""
    head, comma, tail = title.strip().rpartition(",")
    if comma and normalize(tail) in everyday_language()["words"]["articles"]:
        return [title, f"{tail} {head}"]
    return [title]


def _year_of(title: str) -> str:
    behind = _YEAR_BEHIND.search(title)
    return behind.group(1) if behind else ""


def _index(names: Iterable[str]) -> dict[str, int]:
    """Each spelling of an id → its number: as given, and caseless where that is unique."""
    names = [str(name) for name in names]
    exact = {name: place for place, name in enumerate(names)}
    folded: dict[str, int | None] = {}
    for place, name in enumerate(names):
        folded[name.casefold()] = None if name.casefold() in folded else place
    return {**{name: place for name, place in folded.items() if place is not None}, **exact}


def _lookup(index: dict[str, int], written: str) -> int | None:
    for spelling in (written, written.rstrip(".-"), written.casefold()):
        if spelling in index:
            return index[spelling]
    return None


def crosses_sentence(span: str) -> bool:
    return re.search(r"(?:\w{4}\.|[!?])\s+[A-Z]|\n", span) is not None


def is_evident(text: str, tokens: list[Token], first: int, count: int, quoted: list[tuple[int, int]]) -> bool:
    """Whether words that spell a title are meant as one (see the module's docstring)."""
    words, part = everyday_language()["words"], tokens[first : first + count]
    start, end = part[0].start, part[-1].end
    if any(left <= start and end <= right and right - left <= end - start + 4 for left, right in quoted):
        return True
    if re.match(r"\s*\((?:the|a|an)\s", text[end:]):  # "seven (the one with …)"
        return True
    content = [token for token in part if token.word not in words["articles"]] or part
    if all(token.word in words["calendar"] for token in content):
        return False
    everyday = all(token.word in words["everyday"] for token in part)
    opening = re.search(r"(?:^|[.!?:…]\s+[\"“'‘(]*|[\"“])$", text[:start]) is not None
    capitals = [not text[token.start].islower() for token in content]
    if all(capitals) and content[0].start > start and not opening:
        return True
    if everyday:
        inner = capitals[1:] if opening else capitals
        return bool(inner) and all(inner) and part[0].word != "i"
    if count > 1 or all(capitals):
        return True
    before = tokens[first - 1].word if first else ""
    if (
        first > 1
        and before in ("the", "my", "a", "an", "both", "our")
        and tokens[first - 2].word in words["before"]
    ):
        before = tokens[first - 2].word
    behind = tokens[first + 1].word if first + 1 < len(tokens) else ""
    free_before = (
        not before or before in words["before"] or bool(re.search(r"[,;:(/\-.!?]\s*$", text[:start]))
    )
    free_behind = (
        not behind
        or behind in words["behind"]
        or bool(re.match(r"\s*(?:[,;:)/\-.!?=<>]|\d+\s*(?:/|%|out|stars?|points?|of)|[^\w\s])", text[end:]))
    )
    common = words["common"] | words["everyday"] | words["articles"]
    return free_before and (free_behind or (len(part[0].word) > 3 and part[0].word not in common))
