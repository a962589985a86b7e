"""A question in plain words → a Request: what is asked, of whom, within which conditions. No model is involved.

vocabulary = Vocabulary.of_items(items)          # item_id, title, a column for each attribute
parse_request("three comedies like Fargo, nothing before 1990", vocabulary)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.questions import intent_rules as rules
from p5t5.questions.conditions import Conditions, read_conditions
from p5t5.questions.entity_linking import normalize
from p5t5.questions.feelings import BARE, DISLIKED, LIKED, SEEN, SIMILAR, UNSEEN, Feelings, read_feelings
from p5t5.questions.language import ENGLISH, language_of
from p5t5.questions.marking import masked_text, named_items
from p5t5.questions.masking import pasted_text
from p5t5.questions.mention_context import Mention
from p5t5.questions.mentions import asking_words
from p5t5.questions.people import find_people
from p5t5.questions.request import Request
from p5t5.questions.unread import unread_opinions
from p5t5.questions.vocabulary import Vocabulary
from p5t5.questions.wishes import unmet_wishes

__all__ = ["MAX_LENGTH", "Vocabulary", "parse_request"]

MAX_LENGTH = 2000
BOUND = "bound"  # the role of an item that only says how new the others should be
_REVIEW_WORDS = re.compile(
    r"\b(?:reviews?|headline|title|summar\w*|sum (?:\w+ ){0,4}up|tl;?dr|shorten|gist|condense|boil|rating|ratings|stars?|score|comments?|feedback|wrote|says|said|text|opinion|subject line|heading|in a few words|compress|one line)\b",
    re.IGNORECASE,
)
_HEADLINE = re.compile(
    r"\b(?:headline|title|summar\w*|sum\b|tl;?dr|shorten|short version|gist|condense|boil|subject line|heading|in a few words|compress|one line|in brief|call (?:this|it)|phrase)\b",
    re.IGNORECASE,
)
_SCORE = re.compile(
    r"\b(?:ratings?|rated?|stars?|scores?|positive|negative|grade|marks?|points|how (?:happy|good|satisfied))\b",
    re.IGNORECASE,
)
_CALLED_REVIEW = re.compile(r"\b(?:reviews?|comments?|feedback|wrote|says|said)\b", re.IGNORECASE)
_SPLIT = re.compile(
    r"(?<=[.!?])[\"”')]*\s+|,?\s+(?:and|but|also|plus|oh and)(?: also)? (?=(?:how|what|which|who|when|where|would|will|should|is|does|can|could|do you)\b)|\s+(?=also,? (?:how|what|which|who|when|would|will|should|is)\b)|;\s+|\n+",
    re.IGNORECASE,
)
_STRONG = re.compile(
    r"\?|\b(?:recommend\w*|suggest\w*|what(?:['’]s)? next|what (?:should|else|now|to|could|can)|next\b|more\b|anything|something|ideas|show me|find me|give me|list|top \w+|need|want|best|any|looking for|hit me)\b",
    re.IGNORECASE,
)
_ITEM_WORDS = re.compile(
    r"\b(?:movies?|films?|books?|novels?|stories|songs?|albums?|games?|products?|flicks?|shows?|series|read|gift)\b",
    re.IGNORECASE,
)
_TRUE_OF_THAT = re.compile(
    r"^\W*(?:is|am|was) (?:that|this|it|i) (?:correct|right|true|so|fair|accurate)\b", re.IGNORECASE
)
_AND_THIS = re.compile(r"\b(?:and|what about|how about)\s+(?:the\s+)?⟦(\d+)⟧\W*\?\W*$", re.IGNORECASE)
_WANTED = ("recommend", "similar")
_WITH_CONDITIONS = ("recommend", "similar", "choose", "lookup", "like", "rate", "explain", "verify")


def parse_request(text: str, vocabulary: Vocabulary) -> Request:
    """The request that ``text`` makes. UserError for an empty text or one of more than 2,000 characters."""
    if len(text) > 10 * MAX_LENGTH or len(cleaned := clean_text(text)) > MAX_LENGTH:
        raise UserError(
            f"the question has {len(text)} characters, but at most {MAX_LENGTH} are read: ask in fewer words."
        )
    cleaned = " ".join(re.sub("[⟦⟧]", " ", cleaned).split(" "))  # what items are masked with
    if not cleaned.strip():
        raise UserError("the question is empty: ask something, such as “What should I watch after Fargo?”")
    review = pasted_text(cleaned)
    around = cleaned.replace(review, " ") if review else ""
    if (
        review
        and _REVIEW_WORDS.search(around)
        and (_HEADLINE.search(around) or _SCORE.search(around) or _CALLED_REVIEW.search(around))
    ):
        return _of_review(cleaned, review, vocabulary)
    links = [link for link in vocabulary.linker.link(cleaned) if link.kind == "user"]
    people, people_spans = find_people(cleaned, links, vocabulary.find_user)
    mentions = [
        mention
        for mention in vocabulary.finder.find(cleaned)
        if all(mention.end <= left or right <= mention.start for left, right in people_spans)
    ]
    plain = masked_text(cleaned, mentions, people_spans, [])
    language = language_of(re.sub(r"⟦\w*⟧", " ", plain))
    if language != ENGLISH:
        return Request("help", language=language)
    mentions, unknown = named_items(cleaned, mentions, people_spans, vocabulary)
    masked = masked_text(cleaned, mentions, people_spans, unknown)
    quiet = all(cleaned[mention.start].islower() or mention.start == 0 for mention in mentions)
    if not people and ((quiet and rules.is_greeting(cleaned)) or (not mentions and rules.is_service(masked))):
        return Request("help")
    return _Reading(
        cleaned, masked, mentions, people, [cleaned[a:b] for a, b in unknown], vocabulary
    ).request()


def _of_review(text: str, review: str, vocabulary: Vocabulary) -> Request:
    """A pasted review: a headline for it, or the rating that goes with it."""
    around = text.replace(review, " … ")
    headline, score = _HEADLINE.search(around), _SCORE.search(around)
    intent = "headline" if headline or not score else "review_score"
    if (
        headline
        and score
        and re.search(
            r"\b(?:how many|what|which|guess|predict|tell me the) (?:stars?|rating|score|points)\b|\brating\b",
            around,
            re.IGNORECASE,
        )
    ):
        intent = "review_score"
    links = [link for link in vocabulary.linker.link(around) if link.kind == "user"]
    people, _ = find_people(around, links, vocabulary.find_user)
    return Request(intent, people=tuple(people), review=review)


class _Reading:
    """One question on its way to a Request."""

    def __init__(
        self,
        text: str,
        masked: str,
        mentions: Sequence[Mention],
        people: Sequence[str],
        unknown: Sequence[str],
        vocabulary: Vocabulary,
    ) -> None:
        self.text, self.masked, self.mentions, self.people = text, masked, mentions, people
        self.unknown, self.vocabulary = unknown, vocabulary
        self.items = [mention.item for mention in mentions]
        self.conditions: Conditions = read_conditions(masked, vocabulary.attributes, self.items)
        self.feelings: Feelings = read_feelings(masked)
        self.feelings.role.update(dict.fromkeys(self.conditions.bounds, BOUND))

    def request(self) -> Request:
        parts = self._parts()
        intent, part = self._intent(parts)
        if not intent:
            return Request("help", unknown=tuple(self.unknown))
        roles = self._roles(intent, part, len(parts) > 1)
        found = self.conditions if intent in _WITH_CONDITIONS else Conditions()
        unmet = list(found.unmet)
        if intent in _WANTED:
            unmet += unmet_wishes(self.masked, found.spans)
        several = [m for m in self.mentions if len(m.items) > 1]
        request = Request(
            intent,
            items=_once(roles["items"]),
            liked=_once(roles["liked"]),
            disliked=_once(roles["disliked"]),
            seen=_once(roles["seen"]),
            candidates=_once(roles["candidates"]),
            ratings=self._ratings(intent),
            people=tuple(self.people),
            where=found.where,
            without=found.without,
            count=found.count,
            newer_than=found.newer_than,
            older_than=found.older_than,
            unknown=tuple(dict.fromkeys(self.unknown)),
            unclear=tuple(self.text[m.start : m.end] for m in several),
            could_be=tuple(m.items for m in several),
            unmet=tuple(dict.fromkeys(unmet)),
            parts=max(1, len(parts)),
            feature=rules.feature_of(self.masked) if intent == "explain" else "",
            assumed=_once(self._assumed(roles["seen"])),
            respelled=tuple(
                (self.text[m.start : m.end], m.item) for m in self.mentions if m.respelled and m.item >= 0
            ),
        )
        if request.newer_than is not None or request.older_than is not None:
            request = self._without_bounds(request)
        return request

    # -- what is asked

    def _numbers(self, start: int, end: int) -> list[int]:
        return [int(number) for number in re.findall(r"⟦(\d+)⟧", self.masked[start:end])]

    def _role(self, number: int) -> str:
        if number in self.feelings.ratings:
            return "rated"
        return self.feelings.role.get(number, BARE)

    def _parts(self) -> list[rules.Part]:
        """The stretches that ask for something of their own."""
        ends = [match.end() for match in _SPLIT.finditer(self.masked)]
        bounds = [0, *ends, len(self.masked)]
        out: list[rules.Part] = []
        for start, end in itertools.pairwise(bounds):
            part = self.masked[start:end]
            if not part.strip():
                continue
            numbers = self._numbers(start, end)
            if _TRUE_OF_THAT.match(part) and self.mentions:
                return [rules.Part("verify", 0, end)]
            intent = rules.intent_of(part, [self._role(number) for number in numbers])
            if not intent or (intent == "recommend" and not _STRONG.search(part)):
                continue
            out.append(rules.Part(intent, start, end))
        return self._merged(out)

    def _merged(self, parts: list[rules.Part]) -> list[rules.Part]:
        """Parts of one question told in several sentences are one part."""
        kept: list[rules.Part] = []
        for part in parts:
            last = kept[-1] if kept else None
            if last is None:
                kept.append(part)
                continue
            new = [n for n in self._numbers(part.start, part.end) if self._role(n) in (BARE, SIMILAR)]
            wants = part.intent in _WANTED and last.intent in (*_WANTED, "choose")
            same = part.intent == last.intent and not (new and part.intent not in ("choose",))
            if wants or same or (part.intent == "choose" and last.intent in (*_WANTED, "like")):
                intent = (
                    "choose"
                    if "choose" in (part.intent, last.intent)
                    else ("similar" if "similar" in (part.intent, last.intent) else last.intent)
                )
                kept[-1] = rules.Part(intent, last.start, part.end)
            elif part.intent == "recommend" and not re.search(
                r"\?|\b(?:recommend|suggest|what)\b", self.masked[part.start : part.end], re.IGNORECASE
            ):
                continue
            elif last.intent == "recommend" and not re.search(
                r"\?|\b(?:recommend|suggest|what|next)\b", self.masked[last.start : last.end], re.IGNORECASE
            ):
                kept[-1] = part
            else:
                kept.append(part)
        return kept

    def _intent(self, parts: list[rules.Part]) -> tuple[str, rules.Part | None]:
        roles = [self._role(number) for number in range(len(self.mentions))]
        bare = sum(role in (BARE, UNSEEN) for role in roles) + self.masked.count("⟦x")
        last = _AND_THIS.search(self.masked)
        if last and self.feelings.ratings and roles[int(last.group(1))] == BARE:
            return "rate", None
        if parts:
            first = parts[0]
            if (
                first.intent in _WANTED
                and bare > 1
                and (rules.CHOOSE.search(self.masked) and self._choice_is_asked())
            ):
                return "choose", None
            return first.intent, first
        if bare > 1 and (rules.CHOOSE.search(self.masked) or re.search(r"⟧\W*\bor\b", self.masked)):
            return "choose", None
        whole = rules.intent_of(self.masked, roles)
        if whole:
            return whole, None
        if self.mentions:
            return (
                "similar" if all(role == BARE for role in roles) and len(roles) == 1 else "recommend"
            ), None
        if self.people or self.conditions.where or self.conditions.without or self.conditions.count:
            return "recommend", None
        if self.unknown and any(len(name.split()) > 1 or name[:1].isupper() for name in self.unknown):
            return "recommend", None
        return ("recommend" if self._is_of_items() else ""), None

    def _is_of_items(self) -> bool:
        """Whether the text at least mentions films, books or words of the catalogue's titles."""
        words = normalize(self.masked).split()
        if _ITEM_WORDS.search(self.masked):
            return True
        if any(word in asking_words() for word in words) and unmet_wishes(self.masked, self.conditions.spans):
            return True
        return sum(len(word) > 4 and word in self.vocabulary.finder.title_words for word in words) * 2 >= max(
            len(words), 2
        )

    def _choice_is_asked(self) -> bool:
        return (
            re.search(
                r"\bwhich (?:one|of)\b|\bwhich\s*\?|\bbest bet\b|\bpick\b|\bchoose\b|\bdecide\b|\beither\b|⟧\W*\b(?:or|vs)\b\W*⟦|\bbest choice\b|\blist\s*:|\bselect\b|\brank\b",
                self.masked,
                re.IGNORECASE,
            )
            is not None
        )

    # -- who stands where

    def _roles(self, intent: str, part: rules.Part | None, several: bool) -> dict[str, list[int]]:
        out: dict[str, list[int]] = {
            name: [] for name in ("items", "liked", "disliked", "seen", "candidates")
        }
        inside = set(range(len(self.mentions)))
        if part is not None:
            inside = set(self._numbers(part.start, part.end))
        asked = self._asked(intent, inside, part)
        for number, item in enumerate(self.items):
            role = self._role(number)
            if item < 0 or (number in self.feelings.ratings and not (intent == "verify" and number in asked)):
                continue
            if number in asked:
                out["candidates" if intent == "choose" else "items"].append(item)
            elif role == LIKED:
                out["liked"].append(item)
            elif role == DISLIKED:
                out["disliked"].append(item)
            elif role == SEEN or (
                role == BARE and intent == "recommend" and not (several and number not in inside)
            ):
                out["seen"].append(item)
            elif role == SIMILAR:
                out["liked" if intent != "similar" else "items"].append(item)
        return out

    def _asked(self, intent: str, inside: set[int], part: rules.Part | None) -> set[int]:
        """The markers that the question is about."""
        everything = range(len(self.mentions))
        if intent == "recommend":
            return set()
        if intent == "lookup":
            return inside or set(everything)
        if intent == "similar":
            return {n for n in everything if self._role(n) in (SIMILAR, BARE)}
        if intent == "choose":
            bare = {n for n in everything if self._role(n) in (BARE, UNSEEN)}
            return bare if bare else set(everything)
        fit = {
            n
            for n in inside
            if self._role(n) in (BARE, UNSEEN) or (intent == "verify" and self._role(n) == "rated")
        }
        if intent == "verify" and len(fit) > 1:
            fit = {max(fit)}
        if fit:
            return fit
        outside = {n for n in everything if self._role(n) in (BARE, UNSEEN)}
        if outside:
            return {max(outside)}
        rest = [n for n in sorted(inside or set(everything)) if self._role(n) != "rated"]
        return {rest[-1]} if rest else set()

    def _assumed(self, seen: Sequence[int]) -> list[int]:
        """Those of the seen items of which something was said that was not understood."""
        numbers = {number for number, item in enumerate(self.items) if item in seen}
        unread = unread_opinions(self.masked, numbers) if numbers else set()
        return [self.items[number] for number in sorted(unread)]

    def _ratings(self, intent: str) -> dict[int, tuple[float, float | None]]:
        return {self.items[n]: value for n, value in self.feelings.ratings.items() if self.items[n] >= 0}

    def _without_bounds(self, request: Request) -> Request:
        """An item that only says how new the others should be is no taste."""
        bounds = {request.newer_than, request.older_than}
        if request.intent == "recommend":
            return replace(request, seen=tuple(item for item in request.seen if item not in bounds))
        rest = tuple(item for item in request.items if item not in bounds)
        return replace(request, items=rest or request.items)


def _once(items: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(items))
