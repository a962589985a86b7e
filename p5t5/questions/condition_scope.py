"""What is gathered of a question's conditions, and how far a "no" or "not" reaches in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from p5t5.questions.opinions import DISLIKED, opinion_of
from p5t5.questions.request import Condition

_NEGATED = re.compile(
    r"(?:\b(?:no|not|without|nothing|none|never|except(?:ing)?(?: for)?|excluding|exclude|minus|avoid|skip|nor|neither|hates?|hated|dislikes?|disliked|despise|loathe|detest|fed up"
    r"|instead of|rather than|other(?: \w+)? than|apart from|aside from|besides|(?:any|every|all)(?:thing|one)? ?(?:[a-z]+ )?but|sick of|tired of|enough of|spare me|leave out|less|zero)\b|n['’]t\b)",
    re.IGNORECASE,
)
_BRIDGE = re.compile(
    r"^(?:\s|,|:|['\"]|\b(?:more|any|a|an|the|from|by|of|please|want|wants|need|like|likes|love|enjoy|those|that|is|are|be|it|in|into|one|ones|made|written|too|much|other|another|fan|fond"
    r"|poets?|authors?|brands?|writers?|makers?|to|for|with|stuff|things?|anything|films?|movies?|books?|see|watch|read|buy|really|kind|type|all|but|them|these|us|based|set|include|including|care|stand|do|have|at|genre|elements?|again|mood|keen|interested|feel)\b)*$",
    re.IGNORECASE,
)

_WEARY = re.compile(
    r"\b(?:bored (?:of|by|with)|weary of|done with|over|had it with|had (?:my fill|enough) of|no patience (?:for|with)|can['’]?t stand|cannot stand"
    r"|not (?:a )?(?:big |huge )?fans? of|allergic to|let down by|disappointed (?:by|with|in)|not in the mood for|never again)\s+(?:any(?:thing)?(?: by| from)? |all |the |another |more )?$",
    re.IGNORECASE,
)


@dataclass
class Conditions:
    """``spans``: what of the masked text said them; ``bounds``: markers that only say how new; else as in `Request`."""

    where: dict[str, Condition] = field(default_factory=dict)
    without: dict[str, Condition] = field(default_factory=dict)
    count: int | None = None
    newer_than: int | None = None
    older_than: int | None = None
    unmet: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    bounds: list[int] = field(default_factory=list)

    def free(self, start: int, end: int) -> bool:
        """Whether nothing there has been read yet."""
        return all(end <= left or right <= start for left, right in self.spans)


def clause_before(text: str, place: int) -> str:
    """What stands before ``place`` in its clause."""
    return re.split(
        r"[.!?;]\s|(?<!anything )(?<!everything )(?<!nothing )(?<!all )(?<!brand )(?<!author )(?<!genre )(?<!kind )(?<!maker )(?<!category )\bbut (?!not|no\b)|\s[-–—]\s|\n",
        text[:place],
    )[-1]


def disliked_behind(text: str, place: int) -> bool:
    """Whether what is said right behind ``place`` is a dislike: "Fontane is too slow for me"."""
    clause = re.split(r"[.!?;:,]|\bbut\b|⟦", text[place:])[0]
    if not re.match(
        r"\s+(?:is|are|was|were|isn['’]t|aren['’]t|does|do|did|bores?|makes?|gives?|puts?|leaves?|never|always|drives?)\b",
        clause,
    ):
        return False
    if re.match(r"\s+(?:is|are|was|were) (?:just |simply |a bit |a little |far |way |much )?too\b", clause):
        return True
    found = opinion_of("", clause)
    return found is not None and found.feeling == DISLIKED


def negated(text: str, place: int) -> bool:
    """Whether a "no", "not", "without", "bored of" … before ``place`` reaches it."""
    before = clause_before(text, place)
    last = None
    for last in _NEGATED.finditer(before):  # noqa: B007 (the last one is wanted)
        pass
    if _WEARY.search(before):
        return True
    return last is not None and _BRIDGE.match(before[last.end() :]) is not None
