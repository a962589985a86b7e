"""The tables: who did what with which item, and what is known of items and users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError
from p5t5.data.records.parquet import TABLES, read_parquet
from p5t5.data.records.tables import IndexedRecords, Records

# What a folder's prepare.json tells that is still true when its tables are written again.
_KEPT = ("source", "dropped", "licence", "steps", "explanation_source", "explanations")


def load_records(folder: str | Path) -> Records:
    """Reads a data folder. Raises UserError when it is none, or when its tables are damaged."""
    folder = Path(folder)
    if not (folder / "interactions.parquet").is_file():
        raise UserError(
            f"{folder} is no data folder: interactions.parquet is not there; make one with `p5t5 prepare`."
        )
    info: dict[str, Any] = {}
    try:
        if (folder / "prepare.json").is_file():
            info = json.loads((folder / "prepare.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'prepare.json'} is not valid JSON: {error}") from error
    tables = {name: read_parquet(folder / f"{name}.parquet") for name in TABLES}
    interactions, items = tables["interactions"], tables["items"]
    if interactions is None or items is None:
        raise UserError(f"{folder}: items.parquet is not there; make the folder again with `p5t5 prepare`.")
    records = Records(
        str(info.get("name", folder.name)),
        interactions,
        items,
        tables["users"],
        tables["triples"],
        {key: value for key, value in info.items() if key in _KEPT},
    )
    records.check()
    return records


def load(folder: str | Path) -> IndexedRecords:
    """A data folder, indexed."""
    return load_records(folder).index()
