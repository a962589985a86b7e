"""What stands around a name and settles which item it is: a maker, a year, the number of a sequel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from p5t5.questions.attributes import ItemAttributes
from p5t5.questions.entity_linking import Linker, normalize
from p5t5.questions.title_spellings import number_of

_YEAR_BEHIND = re.compile(r"\s*\((\d{4})\)\s*$")
_YEAR_SAID = re.compile(
    r"^[\s,]*(?:\(|,|-|the one |the |from |of |made in |in |i mean |i meant )*\(?(?P<year>(?:1[5-9]|20)\d\d|['’]\d\d)\b"
    r"\)?(?:\s+(?:one|film|movie|version|book|edition|release))?",
    re.IGNORECASE,
)
YEAR_MEANT = re.compile(
    r"\b(?:i mean|i meant|meaning|namely|that is) the ((?:1[5-9]|20)\d\d) (?:one|film|movie|version|book)",
    re.IGNORECASE,
)
_SEQUEL = re.compile(
    r"^[\s,:]*(?:(?:part|pt\.?|vol\.?|volume|mk|mark|episode|no\.?)\s*)?(?P<number>\d{1,2}|ii|iii|iv|vi|vii|viii|ix|two|three"
    r"|four|five|six)\b(?!\s*(?:/|%|,\d|\.\d|out of|of five|of ten|stars?|points?|times|years?|films?|movies?|books?|more|others"
    r"|comed|of\b|and\b|to\b|\d))(?P<counted>)",
    re.IGNORECASE,
)
_RATED = re.compile(
    r"\b(?:rat(?:e|ed|ing|ings)|gave|give|given|scored?|stars?|points|marks?)\b|\d\s*/\s*\d", re.IGNORECASE
)
_ROMANS = frozenset(["ii", "iii", "iv", "vi", "vii", "viii", "ix"])


@dataclass(frozen=True)
class Mention:
    """``text[start:end]`` names ``items``: one, several where it is unclear, none where it is a sequel that the
    catalogue lacks. ``respelled``: a typing error was repaired."""

    start: int
    end: int
    items: tuple[int, ...]
    respelled: bool = False

    @property
    def item(self) -> int:
        return self.items[0] if len(self.items) == 1 else -1


class MentionContext:
    """Reads what stands around the names of one catalogue's items."""

    def __init__(self, titles: Sequence[str], linker: Linker, attributes: ItemAttributes) -> None:
        self.titles, self.linker, self.attributes = titles, linker, attributes

    def settled(self, text: str, mention: Mention, taken: Sequence[Mention]) -> Mention:
        """With what stands around it: a maker, a year, the number of a sequel that the catalogue lacks."""
        before, behind = text[: mention.start], text[mention.end :]
        items, start, end = mention.items, mention.start, mention.end
        closing = re.match(r"[!?.]+", text[end:])
        if (
            len(items) == 1
            and closing
            and _YEAR_BEHIND.sub("", self.titles[items[0]]).endswith(closing.group())
        ):
            end += closing.end()
        maker = re.match(
            r"\s*(?:\(|by |from |made by |of |by the )\s*(?:the )?([\w.\-& ]{3,30})", behind, re.IGNORECASE
        )
        if maker:
            length = self._maker(items, maker.group(1))
            if length is not None:
                items, width = length
                end += maker.start(1) + width
                end += 1 if text[end : end + 1] == ")" else 0
        kind = re.match(r"\s+([\w\- ]{3,30})", text[end:])
        if kind and not maker:
            length = self._maker(items, kind.group(1))
            if length is not None:
                end += kind.start(1) + length[1]
        owner = re.search(r"([\w.\-]{3,30})(?:['’]s|s['’])\s+$", before)
        if owner:
            length = self._maker(items, owner.group(1))
            if length is not None:
                items, start = length[0], owner.start(1)
        other = re.match(r"\s*\(\s*((?:1[89]|20)\d\d)\s*\)", text[end:])
        if other and all(
            abs(self.linker.year_of(i, int(other.group(1))) - int(other.group(1))) > 1 for i in items
        ):
            return Mention(start, end + other.end(), ())
        year = _YEAR_SAID.match(text[end:])
        if year and (
            len(items) > 1
            or not re.match(r"^[\s,]*(?:of|in|from)\b", text[end:], re.IGNORECASE)
            or len(items) == 1
        ):
            said = year.group("year")
            number = int(said) if said.isdigit() else 1900 + int(said[1:])
            same = tuple(item for item in items if abs(self.linker.year_of(item, number) - number) <= 1)
            if same and (len(items) > 1 or _year_is_its_own(text[end:])):
                items, end = (same if len(items) > 1 else items), end + year.end()
        elif len(items) > 1:
            later = YEAR_MEANT.search(text)
            if later:
                same = tuple(item for item in items if self.linker.year_of(item, 0) == int(later.group(1)))
                items = same or items
        if len(items) == 1:
            sequel = self._sequel(text, start, end, items[0], taken)
            if sequel is not None:
                return Mention(start, sequel, ())
        return Mention(start, end, items, mention.respelled)

    def _maker(self, items: Sequence[int], written: str) -> tuple[tuple[int, ...], int] | None:
        """The items that have an attribute with this value, and how many letters of ``written`` say it."""
        words = written.split()
        for length in range(min(4, len(words)), 0, -1):
            said = " ".join(words[:length])
            for name, value in self.attributes.forms.get(normalize(said), ()):
                kept = tuple(item for item in items if value in self.attributes.values[name][item])
                if kept:
                    return kept, len(said)
        return None

    def _sequel(self, text: str, start: int, end: int, item: int, taken: Sequence[Mention]) -> int | None:
        """Where the number behind a title ends, if it makes it a sequel that the catalogue lacks."""
        said = _SEQUEL.match(text[end:])
        if not said or any(end < other.start < end + said.end() for other in taken):
            return None
        if re.match(r"^\s*[,:]", said.group()) or normalize(self.titles[item]).split()[-1:] == [
            said.group("number")
        ]:
            return None
        digits = said.group("number").isdigit() or number_of(said.group("number").lower()) is not None
        worded = re.search(r"[a-z]", said.group(), re.IGNORECASE)
        if not digits or (
            _RATED.search(text[:start] + " " + text[end:])
            and not (worded and said.group("number").lower() in _ROMANS)
        ):
            return None
        if number_of(said.group("number").lower()) == 1:
            return None
        return end + said.end()


def _year_is_its_own(behind: str) -> bool:
    """ "(1995)", "from '93" right behind a title, no new wish such as ", from 1994 please"."""
    return re.match(r"^\s*(?:\(|from ['’]|the \d{4} |of ['’])", behind) is not None
