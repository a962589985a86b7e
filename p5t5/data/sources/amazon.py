"""Amazon reviews: JSON lines of reviews, and a table of items.

Reads the layouts of 2014 and 2018 (reviewerID, asin, overall, reviewText, summary, unixReviewTime) and
of 2023 (user_id, parent_asin, rating, text, title, timestamp in milliseconds). The item table may be
CSV or JSON lines; ``also_bought`` and its kin and ``sales_rank`` are never read (benchmarks.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import Records
from p5t5.data.sources.files import read_table
from p5t5.data.sources.options import AmazonOptions, one_path

# our column → the names it has in the layouts, the first that is there counts
REVIEW_COLUMNS = {
    "user_id": ("reviewerID", "user_id"),
    "item_id": ("parent_asin", "asin"),
    "rating": ("overall", "rating"),
    "timestamp": ("unixReviewTime", "timestamp"),
    "review": ("reviewText", "text"),
    "summary": ("summary", "title"),
}
ITEM_COLUMNS = {
    "item_id": ("Product ID", "parent_asin", "asin"),
    "title": ("Description", "title"),
    "brand": ("brand", "store"),
    "category": ("Category", "categories", "category", "main_category"),
    "price": ("price",),
}


def read(
    raw: str | Path, items: str | Path | None = None, name: str | None = None, all_items: bool = False
) -> Records:
    """``raw``: the reviews' file, or a folder with one file of reviews and perhaps one of items."""
    raw = Path(raw)
    reviews = raw
    if raw.is_dir():
        found = _only(raw, ("reviews",)) or _other(raw)
        if found is None:
            raise UserError(f"--raw: {raw} has no file named reviews…; name the file itself.")
        reviews, items = found, items or _only(raw, ("items", "meta"))
    interactions = _columns(read_table(reviews), REVIEW_COLUMNS, reviews, ("user_id", "item_id"))
    if "timestamp" in interactions:
        interactions["timestamp"] = seconds(interactions["timestamp"])
    table = None
    if items is not None:
        table = _columns(read_table(items), ITEM_COLUMNS, Path(items), ("item_id",))
    name = name or (raw.name if raw.is_dir() else raw.name.split(".")[0])
    source = f"Amazon reviews, {reviews.name}" + (f" and {Path(items).name}" if items is not None else "")
    return make_records(name, interactions, table, info={"source": source}, all_items=all_items)


def seconds(times: pd.Series) -> np.ndarray:
    """float64: times in seconds; all of them in milliseconds where they would else lie after the year 5000."""
    numbers = pd.to_numeric(times, errors="coerce").to_numpy(np.float64)
    known = numbers[np.isfinite(numbers)]
    return np.floor(numbers / 1000) if len(known) and np.median(known) > 1e11 else np.floor(numbers)


def _only(folder: Path, words: tuple[str, ...]) -> Path | None:
    """The file of the folder whose name starts with one of ``words``, or None; two are a UserError."""
    found = [
        path for path in sorted(folder.iterdir()) if path.is_file() and path.name.lower().startswith(words)
    ]
    if len(found) > 1:
        raise UserError(
            f"--raw: {folder} has {len(found)} files named {' or '.join(words)}…; name the file itself."
        )
    return found[0] if found else None


def _other(folder: Path) -> Path | None:
    """The one file beside meta_… (Gift_Cards_5.json.gz, Gift_Cards.jsonl.gz), as Amazon's of 2018 and 2023 are called."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if re.search(r"\.(?:json|jsonl|csv)(?:\.gz)?$", path.name.lower())
    ]
    found = [path for path in found if not path.name.lower().startswith(("meta", "items"))]
    return found[0] if len(found) == 1 and _only(folder, ("meta",)) is not None else None


def _columns(
    table: pd.DataFrame, names: Mapping[str, tuple[str, ...]], path: Path, needed: tuple[str, ...]
) -> pd.DataFrame:
    out = {}
    for ours, theirs in names.items():
        found = [column for column in theirs if column in table]
        if found:
            out[ours] = table[found[0]]
        elif ours in needed:
            raise UserError(
                f"{path.name}: no column {' or '.join(theirs)}; there are {', '.join(map(str, table.columns))}."
            )
    return pd.DataFrame(out)


def read_source(options: AmazonOptions) -> Records:
    """``read`` with the options of `p5t5 prepare amazon`."""
    return read(one_path(options.raw), options.items, options.name, options.all_items)
