"""What is said to people about how their question was understood: notes, refusals, help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p5t5.questions.request import Condition, Request, is_range
from p5t5.questions.vocabulary import Vocabulary

_LANGUAGES = {
    "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "nl": "Dutch", "sv": "Swedish",
    "da": "Danish", "no": "Norwegian", "fi": "Finnish", "tr": "Turkish", "pl": "Polish", "cs": "Czech", "hu": "Hungarian",
    "ro": "Romanian", "id": "Indonesian", "vi": "Vietnamese", "ja": "Japanese", "zh": "Chinese", "ko": "Korean",
    "ru": "Russian", "uk": "Ukrainian", "el": "Greek", "ar": "Arabic", "he": "Hebrew", "th": "Thai", "hi": "Hindi",
}  # fmt: skip


def misunderstandings(request: Request, vocabulary: Vocabulary) -> list[str]:
    """Notes on what was not understood, or not as it was written."""
    titles = vocabulary.titles
    notes = []
    for written, items in zip(request.unclear, request.could_be, strict=False):
        notes.append(f"“{written}” could be {' or '.join(titles[item] for item in items)}: say which")
    for written in request.unknown:
        near = [titles[item] for item, _ in vocabulary.nearest(written)]
        meant = f": do you mean {' or '.join(near)}?" if near else ""
        notes.append(f"“{written}” is not in the catalogue{meant}")
    notes += [f"took “{written}” for {titles[item]}" for written, item in request.respelled]
    if request.assumed:
        names = ", ".join(titles[item] for item in request.assumed)
        notes.append(
            f"took {names} as known to you, without an opinion: say “I liked …” or “I disliked …” if there is one"
        )
    if request.unmet:
        said = ", ".join(f"“{wish}”" for wish in request.unmet)
        notes.append(f"the catalogue does not say which items are {said}: this wish was left out of account")
    if len(request.people) > 1:
        first, *others = (f"user {person}" for person in request.people)
        notes.append(
            f"{len(request.people)} people are named: this is for {first}, not for {' or '.join(others)}. "
            "Ask for the others one by one"
        )
    if request.parts > 1:
        notes.append(
            f"{request.parts} questions were asked, and only the first is answered: ask the others one by one"
        )
    return notes


def conditions_in_words(where: Mapping[str, Condition], without: Mapping[str, Condition]) -> str:
    """ "genre Comedy, year from 1990 to 1999, no genre Horror"."""
    return ", ".join(
        [f"{name} {_said(value)}" for name, value in where.items()]
        + [f"no {name} {_said(value)}" for name, value in without.items()]
    )


def _said(wanted: Condition) -> str:
    if not is_range(wanted):
        return " or ".join(str(value) for value in wanted)
    low, high = wanted
    if low == high:
        return f"{low:g}"
    if low is None:
        return f"up to {high:g}"
    return f"from {low:g}" + ("" if high is None else f" to {high:g}")


def help_text(language: str, titles: Sequence[str]) -> str:
    """What can be asked, and in which language."""
    one, two = ([*titles[:2], "…", "…"])[:2]
    asks = (
        f"Ask in English, for example: “I liked {one} and {two}. What next?”, “Something like {one}”, "
        f"“How many stars would I give {two}?”, “Would user 42 like {one}?”, “{one} or {two}?”, or “What is popular?”"
    )
    if language != "en":
        return f"I understand questions in English only, and this looks like {_LANGUAGES.get(language, 'another language')}. {asks}"
    return f"I recommend items of this catalogue and say how they would be liked. {asks}"


def no_choice(request: Request, titles: Sequence[str]) -> str:
    """Why there is nothing to choose between."""
    found = ", ".join(titles[item] for item in request.candidates)
    return (
        "To choose, two items or more must be found in the catalogue: name each by its title or id. "
        f"Found: {found or 'none'}."
    )


def no_item(request: Request, vocabulary: Vocabulary) -> str:
    """Why there is no item to say anything of."""
    if request.unclear or request.unknown:
        return f"Which item is meant? {misunderstandings(request, vocabulary)[0]}."
    return (
        "No item of the catalogue was found in the question: name one by its title (and year) or id, "
        'as in "I liked …, what next?" or "How many stars would I give …?".'
    )
