"""Which column of somebody's table is which: by its name, else by what its first cells hold."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p5t5.errors import UserError
from p5t5.sources.cells import MISSING, _number, is_time

OPTIONS = {
    "user_id": "--user",
    "item_id": "--item",
    "rating": "--rating",
    "timestamp": "--time",
    "review": "--review",
    "summary": "--summary",
    "feature": "--feature",
    "explanation": "--explanation",
}
MADE = ("feature", "explanation")  # columns that few have, and that `prepare` can make from others
NONE = "none"  # `--rating none`: leave the column out
# Names as people write them (lower case, no signs), the likeliest first.
NAMES = {
    "user_id": (
        "userid user uid useruuid username reviewerid reviewer customerid customer memberid member accountid "
        "account visitorid visitor buyerid buyer clientid client shopperid shopper profileid profile authorid "
        "author readerid reader viewerid viewer playerid player listenerid listener personid person subscriberid "
        "sessionid session"
    ),
    "item_id": (
        "itemid item iid productid product parentasin asin movieid movie filmid film bookid book isbn articleid "
        "article songid song trackid track artistid artist albumid album gameid game appid app videoid video "
        "showid show animeid anime businessid business restaurantid restaurant venueid venue placeid poiid "
        "recipeid recipe courseid course newsid news listingid listing contentid sku goodsid productname "
        "movietitle itemname"
    ),
    "rating": (
        "rating ratings ratingvalue stars star starrating overall score reviewrating reviewscore grade userrating "
        "vote preference"
    ),
    "timestamp": (
        "timestamp time ts unixreviewtime unixtime datetime date reviewtime reviewdate createdat created eventtime "
        "eventtimestamp ratedat orderdate purchasedate purchasetime orderedat visitedat watchedat readat "
        "listenedat updatedat lastupdated dateupdated dateadded when day"
    ),
    "review": "reviewtext review text reviewbody comment comments content body feedback opinion",
    "summary": "summary headline reviewtitle reviewsummary reviewheadline subject",
    "feature": "feature featureword aspect",
    "explanation": "explanation explanations justification",
    "title": "title name itemtitle itemname productname producttitle movietitle filmtitle booktitle songname",
    "head": "head subject item itemid",
    "relation": "relation predicate property",
    "tail": "tail object entity value",
}
# Numbers with few values that are no ratings.
_NO_RATINGS = (
    "quantity qty count number price cost amount age year month hour weekday helpful helpfulvotes votes length size "
    "index row rank position page gender zip"
)


@dataclass(frozen=True)
class Guess:
    """A column of theirs, and why it was taken: "named", "by its name", "by its values", "the one that is left"."""

    theirs: str
    why: str


def by_name(ours: str, names: Sequence[str]) -> str | None:
    """The likeliest of ``names`` for our column, None where none is known."""
    plain = {plain_name(name): name for name in reversed(names)}
    return next((plain[name] for name in NAMES[ours].split() if name in plain), None)


def plain_name(name: str) -> str:
    """ "User ID" and "user_id:token" (RecBole's files) → "userid"."""
    return re.sub(r"[^a-z0-9]", "", name.split(":")[0].lower())


def guess_columns(
    sample: Mapping[str, Sequence[Any]], named: Mapping[str, str], where: str
) -> tuple[dict[str, Guess], list[str]]:
    """Our column → theirs, of an interactions file, and notes on columns that were not taken.

    ``sample``: the first cells of each column. ``named``: what the user said, ``none`` for "leave it out".
    Raises UserError where a named column is not there, or users and items cannot be told.
    """
    names = list(sample)
    found: dict[str, Guess] = {}
    notes: list[str] = []
    left_out = {ours for ours, theirs in named.items() if theirs == NONE and theirs not in names}
    for ours, theirs in named.items():
        if ours not in left_out:
            found[ours] = Guess(
                existing(theirs, names, where, OPTIONS.get(ours, f"--columns {ours}=")), "named"
            )

    def free() -> list[str]:
        return [name for name in names if name not in {guess.theirs for guess in found.values()}]

    for ours in OPTIONS:
        if ours in found or ours in left_out:
            continue
        likely_name = by_name(ours, free())
        fits = {"rating": _is_rating, "timestamp": _is_ordered}.get(ours)
        if likely_name is not None and (fits is None or fits(sample[likely_name])):
            found[ours] = Guess(likely_name, "by its name")
        elif likely_name is not None:
            what = "numbers" if ours == "rating" else "times"
            notes.append(
                f"column {likely_name} is not our {ours}: few of its cells are {what}; if it is, {OPTIONS[ours]} "
                f"{likely_name}"
            )
    if "review" in found and "summary" not in {*found, *left_out} and "title" in free():
        found["summary"] = Guess("title", "by its name, beside a review")
    if "feature" not in named and "explanation" not in found:
        found.pop("feature", None)  # a feature of the item, say: ours is what an explanation is about
    missing = [ours for ours in ("user_id", "item_id") if ours not in found]
    for ours, fits in (("timestamp", _is_time), ("rating", _is_scale)):
        fitting = [
            name for name in free() if fits(sample[name]) and not (fits is _is_scale and _no_rating(name))
        ]
        others = [name for name in free() if _is_id(sample[name]) and name not in fitting]
        # Small numbers may be ids as well: enough columns must be left for those.
        if ours not in {*found, *left_out} and len(fitting) == 1 and len(others) >= len(missing):
            found[ours] = Guess(fitting[0], "by its values")
    likely = [name for name in free() if _is_id(sample[name])]
    if missing and len(likely) == len(missing):
        why = "the one that is left" if len(missing) == 1 else "by its place: users before items"
        found |= {ours: Guess(name, why) for ours, name in zip(missing, likely, strict=True)}
        missing = []
    if missing:
        if all(_number(name) is not None for name in names):
            raise UserError(
                f"{where}: its first line names no columns ({', '.join(names)}); "
                "name them in order with --header user,item,rating,time."
            )
        held = {"user_id": "users", "item_id": "items"}[missing[0]]
        raise UserError(
            f"{where}: which column holds the {held}? There are {', '.join(names)}. "
            f"Say it with {' and '.join(f'{OPTIONS[ours]} NAME' for ours in missing)}."
        )
    taken = [guess.theirs for guess in found.values()]
    for name in taken:
        if taken.count(name) > 1:
            raise UserError(f"{where}: column {name} was named twice; a column can be one thing only.")
    return {ours: found[ours] for ours in OPTIONS if ours in found}, notes


def existing(theirs: str, names: Sequence[str], where: str, option: str) -> str:
    """``theirs`` if it is one of the names. Raises UserError with the nearest name."""
    if theirs in names:
        return theirs
    near = difflib.get_close_matches(theirs, names, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"{where}: no column {theirs} ({option}); there are {', '.join(names)}.{meant}")


def _known(values: Sequence[Any]) -> list[Any]:
    return [v for v in values if v is not None and str(v).strip().lower() not in MISSING]


def _is_rating(values: Sequence[Any]) -> bool:
    """Most cells that are filled are numbers; where most are not, the column is something else."""
    known = _known(values)
    return sum(_number(value) is not None for value in known) >= 0.5 * len(known)


def _is_scale(values: Sequence[Any]) -> bool:
    """Numbers with few different values, none far from the others: stars, points, thumbs."""
    known = _known(values)
    if not known or any(_number(value) is None for value in known):
        return False
    scale = {_number(value) for value in known}
    return 2 <= len(scale) <= min(21, max(2, len(known) // 2)) and min(scale) >= -10 and max(scale) <= 100  # type: ignore[type-var, operator]


def _is_time(values: Sequence[Any], share: float = 0.9) -> bool:
    known = _known(values)[:100]
    return bool(known) and sum(map(is_time, known)) >= share * len(known)


def _is_ordered(values: Sequence[Any]) -> bool:
    """What a column called "time" may hold: times, or numbers that count something (1, 2, 3, …)."""
    return _is_rating(values) or _is_time(values, 0.5)


def _no_rating(name: str) -> bool:
    return plain_name(name) in _NO_RATINGS.split()


def _is_id(values: Sequence[Any]) -> bool:
    """Whole numbers or short texts, most of them there, and no times."""
    known = _known(values)
    if not known or len(known) < len(values) / 2:
        return False
    short = sum(
        not isinstance(v, (float, list, dict)) and len(str(v)) <= 64 and "\n" not in str(v) for v in known
    )
    whole = all((number := _number(v)) is None or float(number).is_integer() for v in known)
    return (
        whole
        and short == len(known)
        and not (_is_time(values) and not all(isinstance(v, int) for v in known))
    )
