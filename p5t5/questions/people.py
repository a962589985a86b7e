"""The users that a question names: "user 42", "users 1, 2 and 3", "for user anna_k"."""

from __future__ import annotations

import re
from collections.abc import Callable

from p5t5.questions.entity_linking import Link
from p5t5.questions.mentions import known_words

_CALLED = re.compile(
    r"\b(?:users?|customers?|viewers?|members?|shoppers?|readers?|accounts?|reviewers?|persons?|subscribers?|visitors?)(?:[ _#:]*(?:ids?|no\.?|numbers?|nr\.?)(?=[\s:#]))?\s*[#:_]?\s*(?=\S)",
    re.IGNORECASE,
)
_ID = re.compile(r"[\"“'‘]?(?P<id>[\w](?:[\w.\-@+]*\w)?)")
_NEXT = re.compile(r"^[\"”'’]?(?:\s*(?:,|;|&|\+|\band\b|\bor\b))+\s*", re.IGNORECASE)
_FOR = re.compile(
    r"\b(?:for|to|of|by|with|will|would|does|did|should|is|and|from|let)\s+(?:the\s+)?$", re.IGNORECASE
)
_WORD_TO_FOLLOW = re.compile(
    r"^(?:\s*(?:[,.?!:;)]|$)|\s+(?:and|or|to|like|likes|enjoy|rate|give|watch|buy|read|see|next|would|will|is|has|wants?|needs?|please|go|pick|prefer|be|get)\b)",
    re.IGNORECASE,
)
_LONGEST = 4  # words of an id that is written with spaces


def find_people(
    text: str, links: list[Link], find_user: Callable[[str], int | None]
) -> tuple[list[str], list[tuple[int, int]]]:
    """(ids as written, their spans). ``links``: users that a linker found by bare ids."""
    people: list[str] = []
    spans: list[tuple[int, int]] = []
    for called in _CALLED.finditer(text):
        plural = called.group().strip().lower().rstrip(
            "s_#: "
        ) + "s" == called.group().strip().lower().rstrip("_#: ")
        place, start = called.end(), called.start()
        joined = re.match(r"[A-Za-z]+[_\-]?\d[\w\-]*|\w+", text[called.start() :])
        while True:
            found = _one(text, place, called.start(), find_user, bool(people) and start != called.start())
            if found is None:
                break
            written, end = found
            people.append(written)
            spans.append((start, end))
            more = _NEXT.match(text[end:])
            if not more or not plural:
                break
            start = place = end + more.end()
        if joined and find_user(joined.group()) is not None and joined.group() not in people:
            people.append(joined.group())
            spans.append((called.start(), called.start() + joined.end()))
    for link in links:
        if all(link.end <= left or right <= link.start for left, right in spans):
            written = re.sub(
                r"^(?:user|customer|viewer|member|shopper|reader|account|person|reviewer)[\s#:_]*",
                "",
                text[link.start : link.end],
                flags=re.IGNORECASE,
            )
            people.append(written or text[link.start : link.end])
            spans.append((link.start, link.end))
    order = sorted(range(len(spans)), key=lambda index: spans[index])
    return list(dict.fromkeys(people[index] for index in order)), [spans[index] for index in order]


def _one(
    text: str, place: int, called: int, find_user: Callable[[str], int | None], listed: bool
) -> tuple[str, int] | None:
    match = _ID.match(text, place)
    if not match:
        return None
    words = re.match(rf"(?:[\w.\-@+]+ ?){{1,{_LONGEST}}}", text[match.start("id") :])
    parts = words.group().split() if words else []
    for count in range(len(parts), 0, -1):
        written = " ".join(parts[:count]).rstrip(".-")
        if find_user(written) is not None:
            return written, match.start("id") + len(written)
    written, end = match.group("id"), match.end("id")
    if re.search(r"\d", written) and not re.fullmatch(r"\d+(?:st|nd|rd|th)", written):
        return written, end
    if re.search(r"\w[_@.]\w", written):
        return written, end
    if (_FOR.search(text[:called]) or not text[:called].strip()) and written.lower() not in known_words():
        return (written, end) if _WORD_TO_FOLLOW.match(text[end:]) else None
    return None
