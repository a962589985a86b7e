"""Interaction sequences, a line a user: the format of the P5 and S3-Rec papers' Amazon files.

``sequences.txt``: ``user item item …``, oldest first, no ratings, no times. ``items.tsv``: item_id,
title and attributes. ``kg/`` (optional): a knowledge graph keyed by ``product.txt.gz``.
"""

from __future__ import annotations

import ast
import gzip
from pathlib import Path

import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.records.cleaning import unescape_html
from p5t5.data.records.tables import Records
from p5t5.data.sources.files import read_table
from p5t5.data.sources.id_spelling import cause_of_misses
from p5t5.data.sources.options import SequencesOptions, one_path

# Site-wide aggregates (also_bought, sales_rank, …) may contain test purchases: never read (benchmarks.md).
RELATIONS = {"brand": ("brand", "brand_p_b"), "category": ("category", "category_p_c")}
LEAKY_COLUMNS = ("sales_rank", "also_bought", "also_viewed", "bought_together", "related")
UNKNOWN = ("", "Unknown", "unknown", "nan", "None")


def read(
    raw: str | Path,
    name: str | None = None,
    all_items: bool = False,
    triples: bool = True,
    items: str | Path | None = None,
) -> Records:
    """A file of sequences, or a folder with sequences.txt; beside it, where there are, items.tsv and kg/.

    ``items``: a table with item_id, title and attributes, where it is not items.tsv. UserError where a file is missing.
    """
    path = Path(raw) / "sequences.txt" if Path(raw).is_dir() else Path(raw)
    folder = path.parent
    if not path.is_file():
        raise UserError(
            f"--raw: {raw} is not a file, or has no sequences.txt (a line per user: user item item …)."
        )
    name = name or (Path(raw).name if Path(raw).is_dir() else path.name.split(".")[0])
    interactions = _sequences(path)
    if items is not None and not Path(items).is_file():
        raise UserError(f"--items: there is no file {items}.")
    table = _table(folder / "items.tsv" if items is None else Path(items))
    asin = (
        dict(zip(table["asin"], table["item_id"], strict=True))
        if table is not None and "asin" in table
        else {}
    )
    graph = _graph(folder / "kg", asin) if triples and asin and (folder / "kg").is_dir() else None
    known = None if table is None else _items(table)
    if known is not None and not set(known["item_id"]).intersection(interactions["item_id"]):
        raise UserError(
            f"{path.name}: none of its items is in the item table (there {interactions['item_id'].iloc[0]!r}, here "
            f"{known['item_id'].iloc[0]!r}): {cause_of_misses(interactions['item_id'].unique().tolist(), known['item_id'])}"
            " write the ids alike in both files."
        )
    source = f"{path.name} of {name}, oldest first, no ratings, no times"
    return make_records(
        name, interactions, known, triples=graph, info={"source": source}, all_items=all_items
    )


def _sequences(path: Path) -> pd.DataFrame:
    users, items = [], []
    seen: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        user, *sequence = line.split() or [""]
        if not user:
            continue
        if user in seen:
            raise UserError(
                f"{path.name}, line {number}: user {user} has a line already ({seen[user]}); join them."
            )
        seen[user] = number
        users += [user] * len(sequence)
        items += sequence
    return pd.DataFrame({"user_id": users, "item_id": items})


def _table(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    table = read_table(path)
    if "item_id" not in table:
        raise UserError(f"{path.name}: no column item_id; there are {', '.join(table.columns)}.")
    return table


def _items(table: pd.DataFrame) -> pd.DataFrame:
    out = {"item_id": table["item_id"].tolist()}
    for column in table.columns:
        if column not in ("item_id", "asin", *LEAKY_COLUMNS):
            values = ["" if value in UNKNOWN else unescape_html(value) for value in table[column]]
            out[column] = [_listed(value) for value in values] if column == "categories" else values
    if "price" in out:
        out["price"] = [_price(value) for value in out["price"]]
    return pd.DataFrame(out)


def _listed(value: str) -> str:
    """``'Beauty', 'Makeup'`` (Python strings with commas between) → ``Beauty, Makeup``."""
    try:
        return ", ".join(str(part) for part in ast.literal_eval(f"[{value}]"))
    except (ValueError, SyntaxError):
        return value


def _price(value: str) -> str:
    try:
        return f"{float(value):g}" if value else ""
    except ValueError:
        return value


def _graph(folder: Path, asin: dict[str, str]) -> pd.DataFrame:
    """head (item_id), relation, tail (a brand's or category's name), of items in the table."""
    products = _lines(folder / "product.txt.gz")
    heads, relations, tails = [], [], []
    for relation, (names, links) in RELATIONS.items():
        if not (folder / f"{names}.txt.gz").is_file() or not (folder / f"{links}.txt.gz").is_file():
            continue
        things = _lines(folder / f"{names}.txt.gz")
        for product, line in zip(products, _lines(folder / f"{links}.txt.gz"), strict=False):
            if product not in asin:
                continue
            for place in line.split():
                tail = unescape_html(things[int(place)])
                if tail not in UNKNOWN:
                    heads.append(asin[product])
                    relations.append(relation)
                    tails.append(tail)
    return pd.DataFrame({"head": heads, "relation": relations, "tail": tails})


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().split("\n")


def read_source(options: SequencesOptions) -> Records:
    """``read`` with the options of `p5t5 prepare sequences`."""
    return read(one_path(options.raw), options.name, options.all_items, items=options.items)
