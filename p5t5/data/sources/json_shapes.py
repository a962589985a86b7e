"""One JSON object that is a table: wrapped ({"data": […]}), by columns, split, by index, or user → items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError
from p5t5.data.sources.header import is_known_name

_Table = tuple[list[dict[str, Any]], str]


def rows_of_object(value: Any, path: Path) -> _Table | None:
    """The rows of a table and the shape that it was in, in words; None for an object that is one row."""
    if not isinstance(value, dict) or not value:
        return None
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        names = [str(name) for name in value["columns"]]
        rows = [dict(zip(names, row, strict=False)) for row in value["data"] if isinstance(row, list)]
        return (rows, "JSON in the split orient of pandas") if rows else None
    if (found := _wrapped(value, path)) is not None:
        return found
    if all(isinstance(inner, dict) for inner in value.values()):
        return _of_dicts(value)
    if len(value) > 1 and all(isinstance(inner, list) for inner in value.values()):
        return _of_lists(value)
    return None


def _wrapped(value: Mapping[str, Any], path: Path, depth: int = 0, within: str = "") -> _Table | None:
    tables = {name: inner for name, inner in value.items() if _is_table(inner)}
    if len(tables) > 1:
        raise UserError(
            f"{path} holds several tables ({', '.join(tables)}); write each into a file of its own, "
            f"as in: jq '.{within}{next(iter(tables))}' {path.name} > {next(iter(tables))}.json"
        )
    if tables:
        name, rows = next(iter(tables.items()))
        return rows, f"the rows are in {within}{name} of a JSON object"
    for name, inner in value.items():
        if isinstance(inner, dict) and depth < 3:
            found = _wrapped(inner, path, depth + 1, f"{within}{name}.")
            if found is not None:
                return found
    return None


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(row, dict) for row in value)


def _of_dicts(value: Mapping[str, Mapping[str, Any]]) -> _Table | None:
    inner = [set(row) for row in value.values()]
    every = set().union(*inner)
    if not every:
        return None
    same = all(keys == inner[0] for keys in inner)
    if same and _are_numbers(inner[0]) and not _are_numbers(value):
        rows = [{name: column[key] for name, column in value.items()} for key in next(iter(value.values()))]
        return rows, "JSON by columns, as pandas writes it"
    if same or (len(every) <= 30 and any(is_known_name(key) for key in every)):
        key = "id" if "id" not in every else "key"
        numbered = list(value) == [str(number) for number in range(len(value))]
        rows = [dict(row) if numbered else {key: name, **row} for name, row in value.items()]
        return rows, "JSON by rows" if numbered else f"JSON by rows; their keys are the column {key}"
    if all(isinstance(cell, (int, float)) for row in value.values() for cell in row.values()):
        rows = [
            {"user_id": user, "item_id": item, "rating": cell}
            for user, row in value.items()
            for item, cell in row.items()
        ]
        return rows, "JSON of user → item → rating"
    return None


def _of_lists(value: Mapping[str, list[Any]]) -> _Table | None:
    lengths = {len(inner) for inner in value.values()}
    if len(lengths) == 1 and any(is_known_name(name) for name in value):
        return [
            dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)
        ], "JSON by columns"
    if all(isinstance(item, (str, int)) for items in value.values() for item in items):
        rows = [{"user_id": user, "item_id": item} for user, items in value.items() for item in items]
        return rows, "JSON of user → items, in the order of the lists"
    return None


def _are_numbers(keys: Iterable[str]) -> bool:
    return all(key.isdigit() for key in keys)
