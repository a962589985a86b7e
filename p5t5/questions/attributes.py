"""The catalogue's attributes as sets and numbers: which items meet a condition, and how people say a value."""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.questions.entity_linking import everyday_language, normalize
from p5t5.questions.request import Condition, is_range

_YEAR_BEHIND = re.compile(r"\((\d{4})\)\s*$")
_NO_VALUE = frozenset(["", "unknown", "none", "other", "nan", "null", "n/a", "no genres listed", "misc"])
_MAKERS = frozenset(["brand", "maker", "manufacturer", "label", "publisher", "company", "studio", "producer"])
_PEOPLE = frozenset(["author", "writer", "director", "artist", "composer", "creator", "actor"]) | _MAKERS
YEAR, PRICE = "year", "price"
MAX_VALUE_LENGTH = 40  # characters; a column of longer values is prose, which nobody asks for word by word


def singular(name: str) -> str:
    """ "genres" → "genre", "Categories" → "category"."""
    name = name.casefold().strip()
    if name.endswith("ies") and name != "series":
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") and not name.endswith(("ss", "us", "series")) else name


class ItemAttributes:
    """What is known of each item beside its title: values and numbers, by attribute in the singular.

    ``values``: attribute → a frozenset of values for each item; ``numbers``: attribute → float64 [items], NaN
    where unknown. A year behind the titles ("Fargo (1996)") counts where no column holds one.
    """

    def __init__(self, titles: Sequence[str], columns: Mapping[str, Sequence[str]]) -> None:
        self.size = len(titles)
        self.values: dict[str, list[frozenset[str]]] = {}
        self.numbers: dict[str, np.ndarray] = {}
        for column, cells in columns.items():
            name, cells = singular(column), ["" if cell is None else str(cell).strip() for cell in cells]
            numbers = _numbers(cells)
            if numbers is not None:
                self.numbers[_role_of(name, numbers)] = numbers
                continue
            filled = [cell for cell in cells if cell.casefold() not in _NO_VALUE]
            if filled and sum(map(len, filled)) / len(filled) <= MAX_VALUE_LENGTH:
                self.values[name] = _split(cells)
        if YEAR not in self.numbers and YEAR not in self.values:
            years = [_YEAR_BEHIND.search(title) for title in titles]
            if sum(year is not None for year in years) > len(titles) / 2:
                self.numbers[YEAR] = np.array([float(year.group(1)) if year else np.nan for year in years])

    @staticmethod
    def of_items(items: pd.DataFrame) -> ItemAttributes:
        """From an item table (item_id, title, a column an attribute), or a catalogue's ``attributes`` texts."""
        titles = items["title"].astype(str).tolist() if "title" in items else [""] * len(items)
        skipped = {"item_id", "title", "attributes", "identifier", "tokens", "item_bias", "item_count"}
        columns = {str(c): items[c].tolist() for c in items.columns if c not in skipped}
        if "attributes" in items and not columns:
            columns = _from_texts(items["attributes"].astype(str).tolist())
        return ItemAttributes(titles, {name: cells for name, cells in columns.items() if not _is_bias(cells)})

    @property
    def names(self) -> list[str]:
        return [*self.values, *self.numbers]

    @functools.cached_property
    def forms(self) -> dict[str, list[tuple[str, str]]]:
        """Normalised phrase → (attribute, value) that it may stand for."""
        out: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        for name, cells in self.values.items():
            counts = Counter(value for cell in cells for value in cell)
            for form, value in _forms(name, list(counts)):
                out[form][(name, value)] = None
        return {form: list(found) for form, found in out.items()}

    @functools.cached_property
    def _value_of(self) -> dict[str, dict[str, str]]:
        """attribute → normalised form → value, where only one is meant."""
        out: dict[str, dict[str, str]] = {name: {} for name in self.values}
        for form, found in self.forms.items():
            for name, value in found:
                same = [other for attribute, other in found if attribute == name]
                if len(same) == 1:
                    out[name][form] = value
        return out

    def all_meant(self, values: Sequence[tuple[str, str]]) -> bool:
        """Whether a phrase means every one of the values: it is the last word of each ("guitars")."""
        last = {_plurals(normalize(value).split()[-1])[-1] for _, value in values}
        return len(last) == 1 and all(" " in normalize(value) for _, value in values)

    def check(self, conditions: Mapping[str, Any] | None, option: str) -> dict[str, Condition]:
        """Conditions as a caller gives them → by singular attribute, values as the catalogue spells them.

        {"genre": "Comedy", "year": (1990, 1999)} → {"genre": ("Comedy",), "year": (1990, 1999)}. UserError for an
        attribute or value that the catalogue lacks, or a range of what is no number.
        """
        out: dict[str, Condition] = {}
        for attribute, wanted in (conditions or {}).items():
            name = singular(str(attribute))
            if name not in self.values and name not in self.numbers:
                known = ", ".join(self.names) or "none"
                raise UserError(f"{option}: the items have no attribute {attribute!r}; they have: {known}.")
            if name in self.numbers:
                out[name] = _range(wanted, f"{option}[{attribute!r}]")
                continue
            if is_range(wanted):
                raise UserError(
                    f"{option}[{attribute!r}]: {wanted!r} is a range, but its values are no numbers."
                )
            chosen = [wanted] if isinstance(wanted, str) else list(wanted)
            out[name] = tuple(self._value(name, str(value), option, str(attribute)) for value in chosen)
        return out

    def _value(self, name: str, written: str, option: str, attribute: str) -> str:
        value = self._value_of[name].get(normalize(written))
        if value is None:
            from rapidfuzz import process

            known = sorted({value for cell in self.values[name] for value in cell})
            near = [found[0] for found in process.extract(written, known, limit=3, score_cutoff=60)]
            hint = (
                f"do you mean {' or '.join(near)}?"
                if near
                else f"it has, for example, {', '.join(known[:5])}."
            )
            raise UserError(f"{option}[{attribute!r}]: no item has the value {written!r}; {hint}")
        return value

    def meets(
        self, where: Mapping[str, Condition], without: Mapping[str, Condition] | None = None
    ) -> np.ndarray:
        """bool [items]: who meets every condition of ``where`` and none of ``without``.

        Several values of one attribute: any of them. An item of which the attribute is not known never meets a
        condition of ``where``, and is never left out by ``without``.
        """
        keep = np.ones(self.size, bool)
        for name, wanted in where.items():
            keep &= self._has(name, wanted)
        for name, wanted in (without or {}).items():
            keep &= ~self._has(name, wanted)
        return keep

    def _has(self, name: str, wanted: Condition) -> np.ndarray:
        if name in self.numbers:
            low, high = _range(wanted, name)
            numbers = self.numbers[name]
            with np.errstate(invalid="ignore"):
                return (numbers >= (-np.inf if low is None else low)) & (
                    numbers <= (np.inf if high is None else high)
                )
        chosen = set(wanted)
        return np.array([bool(cell & chosen) for cell in self.values[name]], bool)


def _is_bias(cells: Sequence[Any]) -> bool:
    return bool(len(cells)) and isinstance(cells[0], float)


def _from_texts(texts: Sequence[str]) -> dict[str, list[str]]:
    """Columns from texts such as "year 1995 ; genres Animation, Comedy": the first word is the name."""
    columns: dict[str, list[str]] = {}
    for row, text in enumerate(texts):
        for part in text.split(" ; "):
            name, _, value = part.strip().partition(" ")
            if value:
                columns.setdefault(name, [""] * len(texts))[row] = value
    filled = {name: sum(map(bool, cells)) for name, cells in columns.items()}
    return {name: cells for name, cells in columns.items() if filled[name] >= max(2, 0.02 * len(texts))}


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    numbers = np.full(len(cells), np.nan)
    failed = filled = 0
    for index, cell in enumerate(cells):
        if cell.casefold() in _NO_VALUE:
            continue
        filled += 1
        match = re.fullmatch(r"[$€£]?\s*(-?\d+(?:\.\d+)?)\s*[$€£]?", cell)
        if match:
            numbers[index] = float(match.group(1))
        else:
            failed += 1
    return numbers if filled and failed <= 0.05 * filled else None


def _role_of(name: str, numbers: np.ndarray) -> str:
    if YEAR in name or (name in ("date", "released", "release") and np.nanmedian(numbers) > 1000):
        return YEAR
    return PRICE if PRICE in name else name


def _split(cells: Sequence[str]) -> list[frozenset[str]]:
    """Cells as sets: split at "|" and ";", at commas where the parts are fewer than the whole cells."""
    bare = [re.sub(r"^\[(.*)\]$", r"\1", cell).replace("'", "'") for cell in cells]
    lists = [listed != cell for listed, cell in zip(bare, cells, strict=True)]
    by_comma = [re.split(r"\s*,\s*", cell) for cell in bare]
    parts = {part for row in by_comma for part in row}
    comma = len(parts) < len(set(bare)) or any(lists)
    separator = r"\s*[|;,]\s*" if comma else r"\s*[|;]\s*"
    out = []
    for cell, listed in zip(bare, lists, strict=True):
        values = [value.strip("'\" ") if listed else value.strip() for value in re.split(separator, cell)]
        out.append(frozenset(value for value in values if value.casefold() not in _NO_VALUE))
    return out


def _range(wanted: Any, what: str) -> tuple[float | None, float | None]:
    if isinstance(wanted, int | float | np.number) and not isinstance(wanted, bool):
        return float(wanted), float(wanted)
    if isinstance(wanted, str) and re.fullmatch(r"-?\d+(\.\d+)?", wanted.strip()):
        return float(wanted), float(wanted)
    if isinstance(wanted, tuple | list) and len(wanted) == 2:
        ends: list[float | None] = []
        for end in wanted:
            if end is None:
                ends.append(None)
            elif isinstance(end, int | float | np.number) and not isinstance(end, bool) and np.isfinite(end):
                ends.append(float(end))
            else:
                break
        if len(ends) == 2:
            if None not in ends and ends[0] > ends[1]:  # type: ignore[operator]
                raise UserError(f"{what}: the range {wanted!r} is empty: the lower end comes first.")
            return ends[0], ends[1]
    raise UserError(f"{what}: give a number or (lowest, highest), with None for an open end, not {wanted!r}.")


def _plurals(form: str) -> list[str]:
    if form.endswith("ies"):
        return [form, form[:-3] + "y"]
    if form.endswith("y") and form[-2:-1] not in "aeiou":
        return [form, form[:-1] + "ies", form + "s"]
    if form.endswith("s"):
        return [form, form[:-1]]
    return [form, form + "s", form + "es"] if form.endswith(("x", "ch", "sh")) else [form, form + "s"]


def _forms(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """(normalised phrase, value): as spelled, singular and plural, by its own synonyms, by a word that tells it."""
    words = everyday_language()["words"]
    heads: Counter = Counter()
    for value in values:
        heads.update({base for word in set(normalize(value).split()) for base in (_plurals(word)[-1], word)})
    out: list[tuple[str, str]] = []
    for value in values:
        plain = normalize(value)
        forms = _plurals(plain)
        for group in everyday_language()["synonyms"]:
            same = [normalize(word) for word in group.split(", ")]
            if any(form in same for form in forms):
                forms += [form for word in same for form in _plurals(word)]
        parts = plain.split()
        if len(parts) > 1:
            telling = [parts[-1], *(parts[:1] if name in _MAKERS else [])]
            for word in telling:
                if len(word) <= 3 or word in words["everyday"]:
                    continue
                if heads[word] == 1:
                    forms += [word] if name in _PEOPLE else _plurals(word)
                elif word == parts[-1] and name not in _PEOPLE and name not in _MAKERS:
                    forms.append(word)  # "guitars": acoustic, electric and bass ones
            for group in everyday_language()["synonyms"]:
                same = [normalize(word) for word in group.split(", ")]
                if parts[-1] in same and heads[parts[-1]] == 1:
                    forms += [form for word in same for form in _plurals(word)]
            if "and" in parts:
                forms.append(" ".join(part for part in parts if part != "and"))
        out += [(form, value) for form in dict.fromkeys(forms) if form]
    return out


def written_conditions(given: Sequence[str], name: str) -> dict[str, Any]:
    """ "genre=Comedy", "year=1990..1999" → {"genre": ["Comedy"], "year": (1990.0, 1999.0)}; UserError for other forms."""
    out: dict[str, Any] = {}
    for condition in given:
        attribute, equals, value = condition.partition("=")
        if not equals or not attribute.strip() or not value.strip():
            raise UserError(f"{name} {condition}: write ATTRIBUTE=VALUE, or ATTRIBUTE=LOWEST..HIGHEST.")
        low, dots, high = value.partition("..")
        if dots:
            try:
                out[attribute] = tuple(float(end) if end.strip() else None for end in (low, high))
            except ValueError:
                raise UserError(
                    f"{name} {condition}: the ends of a range are numbers, such as 1990..1999."
                ) from None
        else:
            out[attribute] = [*out.get(attribute, ()), value]
    return out
