"""Questions of fact: answered from the catalogue and the data, or with "I don't know". No model is asked."""

from __future__ import annotations

import re

import numpy as np

from p5t5.checkpoint.checkpoint import user_key
from p5t5.data.records.tables import IndexedRecords
from p5t5.questions.profiles import Data, UserProfiles
from p5t5.questions.request import Request
from p5t5.questions.wording import conditions_in_words

MAX_LISTED = 20
_ATTRIBUTE_WORDS = {
    "year": r"\bwhen\b|\byear\b|come out|released|published|how old",
    "price": r"how much|price|cost|expensive",
    "author": r"who wrote|author|who (?:is|was) the (?:author|writer)",
    "director": r"direct",
    "actor": r"\bstar(?:s|red)\b|who plays|who is in|\bcast\b",
    "brand": r"who made|who makes|brand|manufacturer|maker",
    "genre": r"genre|kind of",
    "category": r"category|kind of",
}


def look_up(request: Request, text: str, profiles: UserProfiles, data: Data | None) -> str:
    """The fact that is asked for, in a sentence; "I don't know …" where neither catalogue nor data holds it."""
    if request.people or re.search(r"\b(?:did|have|has) i\b", text, re.IGNORECASE):
        return _of_user(request, text, profiles, data)
    if re.search(r"\bhow many\b|\bnumber of\b", text, re.IGNORECASE) and not request.items:
        return _how_many(request, profiles)
    if not request.items:
        return _unknown("The catalogue holds no answer to that")
    return _of_item(request.items[0], text, profiles)


def _unknown(why: str) -> str:
    return f"I don't know. {why}."


def _how_many(request: Request, profiles: UserProfiles) -> str:
    if request.unmet or request.unknown:
        return _unknown("The catalogue does not say which items those are")
    keep = profiles.vocabulary.attributes.meets(request.where, request.without)
    said = conditions_in_words(request.where, request.without)
    return f"{int(keep.sum())} of the catalogue's {len(keep)} items" + (f" ({said})." if said else ".")


def _of_item(item: int, text: str, profiles: UserProfiles) -> str:
    attributes, title = profiles.vocabulary.attributes, profiles.catalogue.titles[item]
    if re.search(
        r"\b(?:have|got|sell|stock|carry|in (?:your|the) (?:catalogu?e|list|shop|store|collection))\b",
        text,
        re.IGNORECASE,
    ) and not re.search(r"\bin stock\b|\bavailable\b", text, re.IGNORECASE):
        return f"Yes: {title} is in the catalogue (item {profiles.catalogue.item_ids[item]})."
    asked = {name for name, pattern in _ATTRIBUTE_WORDS.items() if re.search(pattern, text, re.IGNORECASE)}
    asked |= {
        name for name in attributes.names if re.search(rf"\b{re.escape(name)}s?\b", text, re.IGNORECASE)
    }
    for name in sorted(asked):
        if name in attributes.numbers and np.isfinite(attributes.numbers[name][item]):
            return f"{title}: {name} {attributes.numbers[name][item]:g}."
        if name in attributes.values and attributes.values[name][item]:
            return f"{title}: {name} {', '.join(sorted(attributes.values[name][item]))}."
    known = ", ".join(attributes.names) or "nothing but the titles"
    return _unknown(f"Of {title} the catalogue holds {known}")


def _of_user(request: Request, text: str, profiles: UserProfiles, data: Data | None) -> str:
    if not request.people:
        return _unknown("I know histories by user only: name a user, and the data folder (--data, data=)")
    user = request.people[0]
    if data is None:
        return _unknown(
            f"The model holds no histories: name the data folder (--data, data=) to look up user {user}"
        )
    records, rows, numbers = profiles.records(data)
    row = rows.get(user_key(user))
    if row is None:
        return _unknown(f"User {user} is not in the data {records.name}")
    own = np.arange(records.user_start[row], records.user_start[row + 1])
    if request.items:
        return _about_item(request.items[0], user, own, records, numbers, profiles)
    if not len(own):
        return f"User {user} has no interactions in the data."
    if re.search(r"\bhow (?:many|much|often)\b|\bnumber of\b", text, re.IGNORECASE):
        return f"User {user} has {len(own)} interactions in the data."
    best = re.search(r"\b(?:highest|best|favou?rite|most)\b", text, re.IGNORECASE)
    worst = re.search(r"\b(?:lowest|worst|least)\b", text, re.IGNORECASE)
    if (best or worst) and records.rating is not None and np.isfinite(records.rating[own]).any():
        rated = own[np.isfinite(records.rating[own])]
        place = rated[int((records.rating[rated] if best else -records.rating[rated]).argmax())]
        return f"User {user} rated {records.titles[records.item[place]]} {'highest' if best else 'lowest'}, with {records.rating[place]:g}."
    if re.search(r"\bfirst\b", text, re.IGNORECASE):
        return f"The first item of user {user} in the data is {records.titles[records.item[own[0]]]}."
    if re.search(r"\b(?:last|latest|most recent|recently)\b", text, re.IGNORECASE):
        order = "" if records.timestamp is not None else " (the data has no times: the last row)"
        return f"The last item of user {user} in the data is {records.titles[records.item[own[-1]]]}{order}."
    shown = [records.titles[item] for item in records.item[own[-MAX_LISTED:]]]
    more = f" and {len(own) - len(shown)} before" if len(own) > len(shown) else ""
    return f"User {user}, the newest last: {'; '.join(shown)}{more}."


def _about_item(
    item: int,
    user: str,
    own: np.ndarray,
    records: IndexedRecords,
    numbers: np.ndarray,
    profiles: UserProfiles,
) -> str:
    title = profiles.catalogue.titles[item]
    met = own[numbers[records.item[own]] == item]
    if not len(met):
        return f"The data holds no interaction of user {user} with {title}."
    if records.rating is not None and np.isfinite(records.rating[met[-1]]):
        return f"User {user} gave {title} {records.rating[met[-1]]:g} (from the data)."
    return f"User {user} has an interaction with {title} in the data, without a rating."
