"""What a question wants of the items: values and ranges of attributes, how many, newer or older than one.

Works on a masked text: each item named is a marker ⟦0⟧, ⟦1⟧ … (see `p5t5.questions.mask`), so that words of
titles are no conditions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from p5t5.questions.attributes import PRICE, YEAR, ItemAttributes, singular
from p5t5.questions.children import for_children
from p5t5.questions.condition_scope import Conditions, clause_before, disliked_behind, negated
from p5t5.questions.entity_linking import everyday_language, tokens_of
from p5t5.questions.how_many import read_count

_DECADES = {
    "twenties": 20,
    "thirties": 30,
    "forties": 40,
    "fifties": 50,
    "sixties": 60,
    "seventies": 70,
    "eighties": 80,
    "nineties": 90,
}
_DECADE = r"(?:(?P<{0}>(?:1[5-9]|20)?\d0)\s?['’]?s\b|(?P<{0}w>" + "|".join(_DECADES) + r")\b)"
_DECADE_RANGE = re.compile(
    rf"['’]?{_DECADE.format('a')}(?:\s*(?:and|or|to|&|-|–|through|until|/)\s*(?:the\s+|early\s+|late\s+)?['’]?{_DECADE.format('b')})?",
    re.IGNORECASE,
)
_THIS_CENTURY = re.compile(r"\b(?:this|our|the (?:present|current|21st)) century\b", re.IGNORECASE)
_CHEAPER = re.compile(
    r"\b(?P<how>cheaper|less expensive|more affordable|pricier|more expensive) (?:than|(?:version|alternative|option|choice|sibling)s? (?:of|to|than)) (?:the |a |my )?⟦(?P<number>\d+)⟧",
    re.IGNORECASE,
)
_OWNED = re.compile(r"\balready (?:have|own|got|bought|has)(?:\s+\w+){0,2}\s*$", re.IGNORECASE)
_CENTURY = re.compile(r"\b(?:the\s+)?(\d{1,2})(?:st|nd|rd|th)[ \-]century\b", re.IGNORECASE)
_YEAR = r"(?:(?:1[5-9]|20)\d\d)"
_SHORT_YEAR = re.compile(r"(?<!\w)['’](\d\d)\b(?!['’]?s)")
_CURRENCY = r"(?:€|\$|£|euros?|eur|dollars?|usd|bucks|pounds?|quid|gbp)"
_AMOUNT = rf"(?:{_CURRENCY}\s*)?\d+(?:[.,]\d+)?(?:\s*{_CURRENCY})?"
_UNIT = r"(?:\s*-?\s*(?:minutes?|mins?|hours?|pages?|stars?|points?|%|percent|years? old|year-old|kg|cm|inch\w*|grams?|words|episodes|seasons|/|out of|of 5|of five|times))"
_END = rf"(?!\d|{_UNIT})"
_BETWEEN = re.compile(
    rf"\b(?:between|from)?\s*(?P<a>{_AMOUNT})\s*(?:-|–|and|to|until|bis)\s*(?P<b>{_AMOUNT}){_END}",
    re.IGNORECASE,
)
_MOST_BEFORE = re.compile(
    rf"\b(?P<how>under|below|less than|cheaper than|max(?:imum|\.)?(?: of)?|at most|up to|no more than|not more than|within|(?:my |our )?budget(?: is| of|:| tops out at| ends at| stops at)?|tops out at|i have(?= \$?€?£?\d+\S* to spend)|got(?= \$?€?£?\d+\S* to spend)"
    rf"|before|pre|until|till|prior to|earlier than|older than|no newer than|not newer than|no later than|not later than|not after|by the end of)\s*"
    rf"(?:the year |about |around |year |(?:i|we|he|she) (?:was|were) born,? (?:in )?)?(?P<a>{_AMOUNT}){_END}",
    re.IGNORECASE,
)
_LEAST_BEFORE = re.compile(
    rf"\b(?P<how>over|above|more than|at least|from|starting at|min(?:imum)?(?: of)?|not under|not below|no less than|after|post|since|newer than|later than|more recent than"
    rf"|no older than|not older than|not before|no earlier than|not earlier than)\s*(?:the year |about |year )?(?P<a>{_AMOUNT}){_END}",
    re.IGNORECASE,
)
_MOST_BEHIND = re.compile(
    rf"(?P<a>{_AMOUNT})\s*(?:each\s*)?(?:max(?:imum)?\b|or less|or cheaper|tops|at most|and under|or under|or below|and below|limit|budget|or before|or earlier|and before|and earlier|or older|and older)",
    re.IGNORECASE,
)
_LEAST_BEHIND = re.compile(
    rf"(?P<a>{_AMOUNT})\s*(?:and up|or more|upwards?|up\b|plus\b|\+|and above|or above|and over|or over|or later|or newer|and later|and newer|onwards?|or after|and after|or more recent)",
    re.IGNORECASE,
)
_TWO_YEARS = re.compile(
    rf"(?<![\d(\-–])\b(?P<a>{_YEAR})\s*(?:or|and|,|/|&)\s*(?P<b>{_YEAR})\b(?![\d)\-–])", re.IGNORECASE
)
_ONE_YEAR = re.compile(rf"(?<![\d(\-–])\b{_YEAR}\b(?![\d)\-–])")
_REFUSED_BEHIND = re.compile(
    r"^[\w\s'’]{0,12}?(?:\b(?:is|are|was)(?:n['’]t| not)\b[^.?!,;]{0,20}\b(?:me|us|thing|taste|tea|him|her)\b|\s+no thanks|\s+please no|\s*[,:]?\s*(?:no|nope|never)\s*[.!?,]"
    r"|[^.?!;]{0,12}\bbut (?:i|we) (?:do not|don['’]t) want\b|\s+(?:excluded|excepted|aside)\b|\s+(?:bores?|annoys?|scares?)\b)",
    re.IGNORECASE,
)
_AND = re.compile(r"^\s*(?:,|/|&|\b(?:or|and|nor)\b|\s)+(?:(?:any|no|the|a|an|by|from)\s+)*$", re.IGNORECASE)
_THAN = r"(?:than\s+)(?:the\s+|a\s+)?"
_NEWER = r"(?:newer|more recent|more modern|later|younger|fresher|more current|more up to date)"
_OLDER = r"(?:older|earlier|more classic|less recent)"
_MADE_AFTER = re.compile(
    rf"\b(?:{_NEWER}\s+{_THAN}|(?:made|released|published|out|from|that came|which came|came out|written) after\s+(?:the\s+)?)⟦(\d+)⟧",
    re.IGNORECASE,
)
_MADE_BEFORE = re.compile(
    rf"\b(?:{_OLDER}\s+{_THAN}|(?:made|released|published|from|that came|which came|came out|written) before\s+(?:the\s+)?)⟦(\d+)⟧",
    re.IGNORECASE,
)
_JUST_NEWER = re.compile(
    rf"(?<!or )(?<!and )(?<!no )(?<!not )(?<!any )\b{_NEWER}\b(?!\s+than\s+(?:⟦|the|{_AMOUNT})|\s+(?:films?|movies?|books?)\s+than)",
    re.IGNORECASE,
)
_JUST_OLDER = re.compile(
    rf"(?<!or )(?<!and )(?<!no )(?<!not )(?<!any )(?<!year )(?<!years )\b{_OLDER}\b(?!\s+than\s+(?:⟦|the|{_AMOUNT}))",
    re.IGNORECASE,
)


def read_conditions(text: str, attributes: ItemAttributes, items: Sequence[int]) -> Conditions:
    """``text`` is masked; ``items``: the item of each marker, −1 where it is not known which."""
    found = Conditions()
    for match in re.finditer(r"⟦\w+⟧", text):
        found.spans.append(match.span())
    _relations(text, items, attributes, found)
    _same_kind(text, attributes, items, found)
    _ranges(text, attributes, found)
    _values(text, attributes, found)
    read_count(text, attributes, found)
    return found


def _relations(text: str, items: Sequence[int], attributes: ItemAttributes, found: Conditions) -> None:
    """newer_than and older_than."""
    for pattern, name in ((_MADE_AFTER, "newer_than"), (_MADE_BEFORE, "older_than")):
        match = pattern.search(text)
        if match and items[int(match.group(1))] >= 0 and not negated(text, match.start()):
            setattr(found, name, items[int(match.group(1))])
            found.spans.append(match.span())
            found.bounds.append(int(match.group(1)))
    for match in _CHEAPER.finditer(text):
        item = items[int(match.group("number"))]
        price = attributes.numbers[PRICE][item] if PRICE in attributes.numbers and item >= 0 else float("nan")
        if price == price:
            less = match.group("how").lower() in ("cheaper", "less expensive", "more affordable")
            found.where[PRICE] = (None, float(price) - 0.01) if less else (float(price) + 0.01, None)
            found.bounds.append(int(match.group("number")))
            found.spans.append(match.span())
    named = [int(number) for number in re.findall(r"⟦(\d+)⟧", text)]
    if not named or items[named[0]] < 0:
        return
    for pattern, name in ((_JUST_NEWER, "newer_than"), (_JUST_OLDER, "older_than")):
        match = pattern.search(text)
        if match and getattr(found, name) is None and found.free(*match.span()):
            nearest = [n for n in named if text.find(f"⟦{n}⟧") < match.start() and items[n] >= 0]
            if nearest and not re.match(r"\s+than\s+\d", text[match.end() :]):
                setattr(found, name, items[nearest[-1]])
                found.spans.append(match.span())


_SAME_KIND = re.compile(
    r"\b(?P<how>different|another|other|(?:not|no)(?: \w+)? (?:by|from|of) the same|the same|same)\s+(?P<name>[a-z]+)\b",
    re.IGNORECASE,
)


def _same_kind(text: str, attributes: ItemAttributes, items: Sequence[int], found: Conditions) -> None:
    """ "from a different brand", "by the same author": of the item that is named."""
    named = [items[int(number)] for number in re.findall(r"⟦(\d+)⟧", text)]
    for match in _SAME_KIND.finditer(text):
        name = singular(match.group("name"))
        if name not in attributes.values or not named or named[-1] < 0 or not found.free(*match.span()):
            continue
        values = tuple(sorted(attributes.values[name][named[-1]]))
        same = match.group("how").lower() in ("the same", "same") and not negated(text, match.start())
        if values:
            (found.where if same else found.without)[name] = values
            found.spans.append(match.span())


def _years(first: str | None, word: str | None) -> tuple[int, int]:
    if word:
        low = 1900 + _DECADES[word.lower()]
    else:
        low = int(first or 0)
        low += (1900 if low >= 20 else 2000) if low < 100 else 0
    return low, low + 9


def _put(found: Conditions, name: str, low: float | None, high: float | None, negative: bool) -> None:
    """A range; what is denied becomes the other side where there is one."""
    if negative:
        if low is None and high is not None:
            low = high + 1
            high = None
        elif low is not None and high is None:
            high = low - 1
            low = None
        else:
            found.without[name] = (low, high)
            return
    old = found.where.get(name)
    if old is not None and len(old) == 2:
        low = old[0] if low is None else low  # type: ignore[assignment]
        high = old[1] if high is None else high  # type: ignore[assignment]
    found.where[name] = (low, high)


def _amount(written: str) -> tuple[float, bool]:
    """(number, whether a currency is said)."""
    digits = re.search(r"\d+(?:[.,]\d+)?", written)
    return float(digits.group().replace(",", ".")) if digits else 0.0, bool(
        re.search(_CURRENCY, written, re.IGNORECASE)
    )


def _ranges(text: str, attributes: ItemAttributes, found: Conditions) -> None:
    """Years and prices."""
    masked = text
    years = YEAR in attributes.numbers
    for match in _THIS_CENTURY.finditer(text):
        _number(found, years, match, 2000, None, negated(text, match.start()))
    for match in _CENTURY.finditer(text):
        century = int(match.group(1))
        _number(found, years, match, (century - 1) * 100 + 1, century * 100, negated(text, match.start()))
    for match in _DECADE_RANGE.finditer(text):
        if not found.free(*match.span()) or (match.start() and text[match.start() - 1].isdigit()):
            continue
        low, high = _years(match.group("a"), match.group("aw"))
        if match.group("b") or match.group("bw"):
            high = _years(match.group("b"), match.group("bw"))[1]
        before = clause_before(text, match.start()).lower()
        if re.search(r"\b(?:before|older than|earlier than|pre-?)\s*(?:the\s+)?$", before):
            _number(found, years, match, None, low - 1, negated(text, match.start() - 8))
        elif re.search(r"\b(?:after|newer than|later than|post-?)\s*(?:the\s+)?$", before):
            _number(found, years, match, high + 1, None, False)
        elif re.search(r"\bsince\s*(?:the\s+)?$", before):
            _number(found, years, match, low, None, False)
        else:
            _number(found, years, match, low, high, negated(text, match.start()))
    for pattern, side in (
        (_BETWEEN, "both"), (_MOST_BEHIND, "most"), (_LEAST_BEHIND, "least"), (_MOST_BEFORE, "most"), (_LEAST_BEFORE, "least"),
    ):  # fmt: skip
        for match in pattern.finditer(masked):
            _bounded(text, match, side, attributes, found)
    for match in _TWO_YEARS.finditer(text):
        if years and found.free(*match.span()):
            low, high = sorted((int(match.group("a")), int(match.group("b"))))
            _number(found, years, match, low, high, negated(text, match.start()))
    for match in _SHORT_YEAR.finditer(text):
        if years and found.free(*match.span()):
            year = 1900 + int(match.group(1)) if int(match.group(1)) > 25 else 2000 + int(match.group(1))
            _number(found, years, match, year, year, negated(text, match.start()))
    for match in _ONE_YEAR.finditer(text):
        if found.free(*match.span()) and (years or re.search(r"\b(?:from|in|of)\s*$", text[: match.start()])):
            year = int(match.group())
            _number(found, years, match, year, year, negated(text, match.start()))


def _number(
    found: Conditions, known: bool, match: re.Match, low: float | None, high: float | None, negative: bool
) -> None:
    found.spans.append(match.span())
    if known:
        _put(found, YEAR, low, high, negative)
    else:
        found.unmet.append(match.group().strip())


def _bounded(text: str, match: re.Match, side: str, attributes: ItemAttributes, found: Conditions) -> None:
    if not found.free(*match.span()):
        return
    how = (match.groupdict().get("how") or "").lower()
    first, money = _amount(match.group("a"))
    year = bool(re.fullmatch(_YEAR, match.group("a"))) and not money
    year = year and (YEAR in attributes.numbers) and not how.startswith("budget")
    behind = text[match.end() : match.end() + 12]
    if side == "both":
        second, more = _amount(match.group("b"))
        if second <= first:
            return
        if year and re.fullmatch(_YEAR, match.group("b").strip()):
            _number(found, True, match, first, second, negated(text, match.start()))
        elif PRICE in attributes.numbers and (money or more or second >= 10):
            found.spans.append(match.span())
            _put(found, PRICE, first, second, negated(text, match.start()))
        return
    if year:
        strict = how in (
            "before",
            "pre",
            "prior to",
            "earlier than",
            "older than",
            "under",
            "below",
            "less than",
        )
        over = how in (
            "after",
            "post",
            "newer than",
            "later than",
            "more recent than",
            "over",
            "above",
            "more than",
        )
        if how == "from" and not re.match(r"\s*(?:on|up|onwards?)\b", behind):
            return
        low = None if side == "most" else first + (1 if over else 0)
        high = (first - (1 if strict else 0)) if side == "most" else None
        _number(found, True, match, low, high, negated(text, match.start()))
        return
    time_word = how in (
        "before",
        "pre",
        "after",
        "post",
        "since",
        "until",
        "till",
        "prior to",
        "earlier than",
        "older than",
        "newer than",
        "later than",
        "more recent than",
    )
    if time_word and not money:
        return
    if how == "from" and not re.match(r"\s*(?:up|upwards|on)\b", behind):
        return
    if PRICE in attributes.numbers and (money or first >= 5):
        found.spans.append(match.span())
        _put(
            found,
            PRICE,
            first if side == "least" else None,
            first if side == "most" else None,
            negated(text, match.start()),
        )
    elif money:
        found.spans.append(match.span())
        found.unmet.append(match.group().strip())


def _values(text: str, attributes: ItemAttributes, found: Conditions) -> None:
    """Values of attributes, wanted or not."""
    tokens = list(tokens_of(text))
    forms = attributes.forms
    longest = max((form.count(" ") + 1 for form in forms), default=0)
    everyday = everyday_language()["words"]["everyday"]
    last: tuple[int, bool] | None = None
    index = 0
    while index < len(tokens):
        for count in range(min(longest, len(tokens) - index), 0, -1):
            part = tokens[index : index + count]
            start, end = part[0].start, part[-1].end
            values = forms.get(" ".join(token.word for token in part)) or forms.get(
                " ".join(token.other for token in part)
            )
            if not values or not found.free(start, end) or re.search(r"[.!?⟦,;]", text[start:end]):
                continue
            if (
                re.search(
                    r"\b(?:is|was|are|were|s)\s+(?:(?:so|very|really|too|quite|pretty|just)\s+)*$",
                    text[:start],
                )
                and count == 1
            ):
                continue
            if count == 1 and part[0].word in everyday and not _is_wish(text, start, end):
                continue
            if _OWNED.search(text[:start]):
                found.spans.append((start, end))
                break
            denied = negated(text, start) or disliked_behind(text, end)
            denied = denied or _REFUSED_BEHIND.match(text[end:]) is not None
            if (
                last is not None
                and _AND.match(text[last[0] : start])
                and not re.search(r"\bno\b", text[last[0] : start])
            ):
                denied = last[1] or denied
            several = len({name for name, _ in values}) == 1 and len(values) > 1
            if several and not attributes.all_meant(values):
                break  # several values could be meant
            name = values[0][0]
            meant = [value for _, value in values] if several else [values[0][1]]
            into = found.without if denied else found.where
            into[name] = tuple(dict.fromkeys([*into.get(name, ()), *meant]))
            found.spans.append((start, end))
            last = (end, denied)
            index += count - 1
            break
        index += 1
    for_children(text, attributes, found)
    for name, wanted in found.without.items():
        if name in found.where and not isinstance(found.where[name][0], int | float | None):
            kept = tuple(value for value in found.where[name] if value not in wanted)
            if kept:
                found.where[name] = kept  # type: ignore[assignment]
            else:
                del found.where[name]
                break


def _is_wish(text: str, start: int, end: int) -> bool:
    """Whether an everyday word that is also a value ("family", "short") is said as one: "family movies"."""
    return (
        re.match(r"\s+(?:movies?|films?|books?|stories|story|stuff|ones?)\b", text[end:], re.IGNORECASE)
        is not None
    )
