"""A question with titles, users, numbers and pasted reviews replaced by markers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from p5t5.questions.entity_linking import Link, everyday_language, replace_links
from p5t5.text.prompts import PLACEHOLDER, Prompt

_MARKERS = {"item": " [item] ", "ambiguous": " [item] ", "user": " [user] "}

_SLOT_MARKERS = {
    "user": "[user]",
    "item": "[item]",
    "title": "[item]",
    "items": "[items]",
    "history": "[items]",
    "history_titles": "[items]",
    "candidates": "[items]",
    "rated_history": "[items]",
    "rated_titles": "[items]",
    "review": "[text]",
    "about": "",
}

_TITLE_WORD = r"(?:[A-Z0-9][\w'’.&\-]*|&)"

_TITLE_RUN = rf"{_TITLE_WORD}(?:[ ,:]+(?:(?:the|of|and|a|an|in|to|for|on|with|la|de) )*{_TITLE_WORD})*"

_DATED = re.compile(rf"{_TITLE_RUN}\s*\((?:19|20)\d\d\)")

_NAMES = re.compile(
    rf"(?<=[a-z,:;\]] )(?!I\b|\d+\b){_TITLE_WORD}(?:[ ]+(?:(?:the|of|and|a|an|in|to|for|on|with|la|de) )*{_TITLE_WORD})*"
)

_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|(?<!\w)['‘]([^'‘’]{3,})['’](?!\w)")

_PASTED = re.compile(
    r"(?:[:\n]|\b(?:reviews?|feedback|comments?|opinion|text|title|headline|summary)\b[^.?!]{0,30}[.?!])\s*([^:\s][^:\n]{24,}.*)$",
    re.DOTALL | re.IGNORECASE,
)

# What follows may be terse ("great strings, lasted long") and no sentence by its words.
_CALLED_A_REVIEW = re.compile(r"\b(?:review|feedback|comment|opinion)\s*:\s*$", re.IGNORECASE)

_USER = re.compile(
    r"\b(user|customer|viewer|member|shopper|reader|account|reviewer)[ _#]*(?=\w*\d)\w+", re.IGNORECASE
)

_NUMBERED = re.compile(r"\b(?:item|product|movie|film)s?[ _#]*(?=\w*\d)\w+", re.IGNORECASE)

_WORD = re.compile(r"(?<![\[\w])[A-Za-z]{4,}(?![\]\w])")  # and no marker

_BETWEEN = re.compile(r"\s*(?:[,;/]|\bor\b)\s*")

_NAME = re.compile(r"(?!(?:I|It|This|That|These|We|You|He|She|They|My)\b)[A-Z0-9]\S*(?:\s+\S+){0,7}")

_RUN = re.compile(r"\[items?\](?:(?:\s|,|;|/|&|\band\b|\bor\b|\bthen\b)+\[items?\])+")


def outline(text: str, links: Sequence[Link] = ()) -> str:
    """The question with what it names replaced by markers: found links, and what looks like a name."""
    text = replace_links(text, links, _MARKERS)
    text = _DATED.sub(_keep_opener, text)
    text = _NUMBERED.sub(" [item] ", text)
    text = _QUOTED.sub(lambda match: _quoted_marker(next(group for group in match.groups() if group)), text)
    pasted = _pasted(text)
    if pasted:
        text = f"{text[: pasted[0]]} [text] {text[pasted[1] :]}"
    text = _USER.sub(" [user] ", text)
    text = _NAMES.sub(" [item] ", text)
    return _merge(text)


def pasted_text(text: str) -> str | None:
    """A review pasted into the question: the longest quoted prose, or prose behind a colon or line break."""
    quoted = [next(group for group in match.groups() if group) for match in _QUOTED.finditer(text)]
    prose = [part for part in quoted if _quoted_marker(part) == " [text] "]
    pasted = _pasted(text)
    if not prose and pasted:
        return text[slice(*pasted)].strip()
    return max(prose, key=len).strip() if prose else None


def _prompt_outline(prompt: Prompt) -> str:
    return _merge(PLACEHOLDER.sub(lambda match: f" {_SLOT_MARKERS.get(match.group(1), '')} ", prompt.input))


def _merge(text: str) -> str:
    return " ".join(_RUN.sub("[items]", text).split())


def _pasted(text: str) -> tuple[int, int] | None:
    """The span of prose behind a colon, or after a sentence that mentions a review, without a question at its end."""
    match = _PASTED.search(text)
    if not match or match.group(1).startswith("[item"):
        return None
    start, end = match.span(1)
    sentences = list(re.finditer(r"(?:^|(?<=[.!?]))\s*[^.!?]+[.!?]*", match.group(1)))
    if len(sentences) > 1 and sentences[-1].group().rstrip().endswith("?"):
        end = start + sentences[-1].start()
    called_so = _CALLED_A_REVIEW.search(text[:start]) and _quoted_marker(text[start:end]) == " [text] "
    return (start, end) if called_so or _is_prose(text[start:end]) else None


def _keep_opener(match: re.Match) -> str:
    """ "Is Heat (1995)" → "Is [item]": a capital at the start of a sentence is not part of the title."""
    words, kept = match.group().split(), 0
    everyday = everyday_language()["words"]["everyday"] - everyday_language()["words"]["articles"]
    while kept < len(words) - 2 and words[kept].lower() in everyday:
        kept += 1
    return " ".join([*words[:kept], " [item] "])


def _quoted_marker(part: str) -> str:
    words = part.split()
    capitals = sum(word[0].isupper() or word[0].isdigit() for word in words)
    return " [item] " if len(words) <= 2 or (len(words) < 10 and 2 * capitals >= len(words)) else " [text] "


def _is_prose(part: str) -> bool:
    """Whether words look like sentences rather than a list of names."""
    words = re.findall(r"[a-z']+", part.lower())
    prose = everyday_language()["words"]["prose"]
    if "[item" in part and len(words) < 14:
        return False
    names = [name for name in _BETWEEN.split(part.strip(" .?!")) if name]
    if len(names) > 1 and all(_NAME.fullmatch(name) for name in names):
        return False
    return len(words) >= 6 and sum(word in prose for word in words) >= 0.2 * len(words)
