"""Rows with objects and lists in them → flat ones: ``{"user": {"id": 7}}`` has a column user.id, a basket is a row an item."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p5t5.data.records.cell_texts import text_of_value
from p5t5.data.sources.column_names import NAMES, plain_name

NO_ID = "\x00"  # what a list or an object becomes where one value is wanted: no id, no number
_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_KEYS = 20  # of an object that becomes columns
_DEEPEST = 4
_LISTS = {
    "basket": "item",
    "cart": "item",
    "history": "item",
    "clicks": "item",
    "purchases": "item",
    "likes": "item",
}


@dataclass(frozen=True)
class Flattening:
    """``paths``: the keys that lead to each column. ``exploded``: the column whose lists become rows, "" for none."""

    paths: dict[str, tuple[str, ...]]
    exploded: str = ""
    notes: tuple[str, ...] = ()

    def rows(self, row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The rows that one row becomes."""
        if not self.exploded:
            return [row]
        values = row.get(self.exploded)
        return [{**row, self.exploded: value} for value in (values if isinstance(values, list) else [values])]

    def value(self, row: Mapping[str, Any], name: str) -> Any:
        """What a row has in a column; what MongoDB wraps ({"$date": …}) unwrapped."""
        found: Any = row
        for key in self.paths[name]:
            found = found.get(key) if isinstance(found, Mapping) else None
        return unwrapped(found)


def unwrapped(value: Any) -> Any:
    """``{"$oid": "5f…"}`` → "5f…"; anything else as it is."""
    while isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith("$"):
        value = next(iter(value.values()))
    return value


def flattening(sample: Sequence[Mapping[str, Any]], explode: bool = True) -> Flattening:
    """How to flatten rows like these: objects with the same few keys become columns, a list of items becomes rows."""
    exploded = _list_of_items(sample) if explode else ""
    rows = [part for row in sample for part in Flattening({}, exploded).rows(row)]
    paths: dict[str, tuple[str, ...]] = {}
    flat: list[str] = []
    _collect(rows, (), paths, flat)
    notes = [f"flattened: {', '.join(flat)}"] if flat else []
    if exploded:
        named = _singular(exploded)
        paths = {
            (named + name.removeprefix(exploded) if path[0] == exploded else name): path
            for name, path in paths.items()
        }
        notes.append(
            f"a row an item: the lists in {exploded} are taken apart, each element as {named} of its row"
        )
    return Flattening(paths, exploded, tuple(notes))


def _collect(
    rows: Sequence[Any], path: tuple[str, ...], paths: dict[str, tuple[str, ...]], flat: list[str]
) -> None:
    keys = dict.fromkeys(key for row in rows for key in row)
    for key in keys:
        values = [value for row in rows if (value := unwrapped(row.get(key))) is not None]
        place = (*path, str(key))
        if values and all(isinstance(value, dict) for value in values) and len(place) < _DEEPEST:
            inner = {name for value in values for name in value}
            if 0 < len(inner) <= _MOST_KEYS:
                flat.append(".".join(place))
                _collect(values, place, paths, flat)
                continue
        paths[".".join(place)] = place


def _list_of_items(sample: Sequence[Mapping[str, Any]]) -> str:
    """The one column that lists the items of a basket, where no column holds one item."""
    names = list(dict.fromkeys(str(name) for row in sample for name in row))
    known = set(NAMES["item_id"].split())
    lists = []
    for name in names:
        values = [value for row in sample if (value := row.get(name)) is not None]
        is_list = sum(isinstance(value, list) for value in values) > 0.5 * len(values) if values else False
        plain = plain_name(name)
        if is_list and (plain in known or plain_name(_singular(name)) in known or plain in _LISTS):
            lists.append(name)
        elif not is_list and plain in known:
            return ""
    return lists[0] if len(lists) == 1 else ""


def _singular(name: str) -> str:
    if (plain := plain_name(name)) in _LISTS:
        return _LISTS[plain]
    name = re.sub(r"(?i)[ _-]?list$", "", name)
    return (
        re.sub(r"ies$", "y", name)
        if name.endswith("ies") and not name.endswith("movies")
        else name.removesuffix("s")
    )


def text_of(value: Any, single: bool = False) -> str | None:
    """A value as text, lists joined by commas (NO_ID where ``single``), None for none."""
    if value is None or value != value:
        return None
    if isinstance(value, str):
        # Arrow holds UTF-8; half a character pair becomes a control character, which no id may hold.
        return value if value.isascii() else _SURROGATE.sub("\x01", value)
    if isinstance(value, (list, tuple, dict)):
        return NO_ID if single else text_of_value(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return str(int(value))
    return str(value)
