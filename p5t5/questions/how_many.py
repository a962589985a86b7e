"""How many items a question asks for: "top 5", "three comedies", "a couple of films"."""

from __future__ import annotations

import re

from p5t5.questions.attributes import ItemAttributes
from p5t5.questions.condition_scope import Conditions
from p5t5.questions.entity_linking import normalize
from p5t5.questions.title_spellings import number_of

_COUNT_WORDS = {
    "a couple of": 2, "a couple": 2, "a pair of": 2, "a dozen": 12, "half a dozen": 6, "fifteen": 15, "twenty": 20,
    "thirty": 30, "fifty": 50, "a hundred": 100,
}  # fmt: skip
_NUMBER = r"(?:\d{1,3}|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|fifty|(?:half )?a dozen|a couple(?: of)?|a pair of)"
_NOUN = (
    r"(?:movies|films|flicks|pictures|items|things|products|books|reads|titles|options|ideas|suggestions|tips|picks|recommendations"
    r"|recs|results|choices|songs|albums|games|stories|alternatives|more|others|other|classics|novels|accessories|gifts|presents|ones)"
)
_COUNT = re.compile(
    rf"\b(?P<top>top |best |the )?(?P<number>{_NUMBER})\s+(?P<between>(?:[a-z'\-&]+\s+){{0,4}}?){_NOUN}\b(?!-)",
    re.IGNORECASE,
)
_TOP = re.compile(
    rf"\b(?:top|best|(?:give|show|list|name|send|find|get) me(?: the)?(?: best| top)?)[ -](?P<number>{_NUMBER})\b(?!\s*(?:stars?|points?|%|/|out of|minutes|euro|dollars|bucks))",
    re.IGNORECASE,
)
_LIST_OF = re.compile(
    rf"\b(?P<number>{_NUMBER})\s+(?:of (?:them|those|these)|like|similar to|for me|please|pls)\b",
    re.IGNORECASE,
)
_NOT_A_COUNT = re.compile(
    r"\b(?:all|both|those|these|my|first|last|next to|user|users|item|items|of the|seen|watched|read)\s*$",
    re.IGNORECASE,
)


def read_count(text: str, attributes: ItemAttributes, found: Conditions) -> None:
    """How many items are wanted."""
    plural = {form for form in attributes.forms if form.endswith("s")} | {
        form.split()[-1] for form in attributes.forms if form.endswith("s")
    }
    for match in re.finditer(rf"\b{_NUMBER}\b", text, re.IGNORECASE):
        behind = text[match.end() : match.end() + 60]
        words = re.split(r"[.,;:!?⟦(]", behind)[0].split()[:5]
        named = found.free(*match.span()) and any(normalize(word) in plural for word in words[:4])
        if named and _counts(text, match.start(), behind):
            found.count = _as_number(match.group())
            found.spans.append(match.span())
            return
    for pattern in (_COUNT, _TOP, _LIST_OF):
        for match in pattern.finditer(text):
            span = match.span("number")
            if found.free(*span) and _counts(text, span[0], text[span[1] :]):
                found.count = _as_number(match.group("number"))
                found.spans.append(span)
                return


def _counts(text: str, start: int, behind: str) -> bool:
    if text[start - 1 : start] in ("/", ".", ",") or re.search(r"\bout of\s*$", text[:start]):
        return False
    if _NOT_A_COUNT.search(text[:start]) and not re.search(
        r"\b(?:show|give|list|name|need|want)\b[^.?!]{0,12}$", text[:start]
    ):
        return False
    return not re.match(
        r"[ \-]*(?:years?|yrs?|stars?|points?|times|minutes|mins|hours|pages|%|/|out of|of (?:5|five|ten|10)\b|thumbs|⟦|people|friends|weeks|days|months|euro|dollars|bucks|€|\$)",
        behind, re.IGNORECASE,
    )  # fmt: skip


def _as_number(written: str) -> int | None:
    plain = " ".join(written.lower().split())
    return _COUNT_WORDS.get(plain) or number_of(plain)
