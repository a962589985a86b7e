"""Items about which something is said that no pattern understands: they are taken as seen, and that is said."""

from __future__ import annotations

import re

from p5t5.questions.clauses import ASKING, CLAUSES, groups_of, sentences_of
from p5t5.questions.entity_linking import normalize
from p5t5.questions.mentions import asking_words
from p5t5.questions.opinions import opinion_words

_MARK = re.compile(r"⟦\w*⟧")


def unread_opinions(masked: str, numbers: set[int]) -> set[int]:
    """The markers among ``numbers`` whose clause says something beyond naming, seeing and asking."""
    out: set[int] = set()
    for sentence in sentences_of(masked):
        groups = groups_of(sentence, {})
        for index, group in enumerate(groups):
            start = groups[index - 1].end if index else 0
            end = groups[index + 1].start if index + 1 < len(groups) else len(sentence)
            before, behind = sentence[start : group.start], sentence[group.end : end]
            asking = ASKING.search(behind)
            statement = behind[: asking.start()] if asking else behind
            if _says_more(CLAUSES.split(before)[-1]) or _says_more(statement):
                out |= numbers & set(group.numbers)
    return out


def _says_more(part: str) -> bool:
    """Whether words are left that neither ask nor say when, where or with whom."""
    if ASKING.search(part):
        return False
    known = asking_words() | opinion_words("circumstances")
    words = normalize(_MARK.sub(" ", part)).split()
    return any(len(word) > 2 and word not in known and not word.isdigit() for word in words)
