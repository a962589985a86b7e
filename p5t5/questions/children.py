"""Wishes for children, "for a five year old": a value of an attribute where the catalogue has one."""

from __future__ import annotations

import re

from p5t5.questions.attributes import ItemAttributes
from p5t5.questions.condition_scope import Conditions

_CHILDREN = re.compile(
    r"\b(?:for|with) (?:(?:the|my|our|some|two|three|small|little|young) )*(?:kids?|children|child|toddlers?|little ones)\b|\b(?:\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)[ \-](?:year|yr)s?[ \-]olds?\b|\bkids?['’]? (?:films?|movies?|books?)|\b(?:child|kid)[ \-]friendly\b|\bthe (?:whole )?family\b",
    re.IGNORECASE,
)


def for_children(text: str, attributes: ItemAttributes, found: Conditions) -> None:
    """Adds the condition to what was found, or the words to its ``unmet``."""
    for match in _CHILDREN.finditer(text):
        if re.match(r"(?:for|with) ", match.group()) and re.search(r"\bto\s*$", text[: match.start()]):
            continue
        values = attributes.forms.get("children", [])
        overlap = [span for span in found.spans if span[0] < match.end() and match.start() < span[1]]
        if overlap:
            continue
        if values:
            name, value = values[0]
            found.where[name] = tuple(dict.fromkeys([*found.where.get(name, ()), value]))
        else:
            found.unmet.append(match.group())
        found.spans.append(match.span())
