"""A source: a file of lines ``user|item|title|rating``, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from p5t5.core.options import option
from p5t5.data.build import Source
from p5t5.data.records.building import make_records
from p5t5.data.records.tables import Records
from p5t5.data.sources.options import NamedOptions, one_path


@dataclass(kw_only=True)
class PipesOptions(NamedOptions):
    """A line per interaction, fields separated by bars."""

    raw: list[str] = option([], "the file of lines", metavar="FILE")


def read(options: PipesOptions) -> Records:
    """Records of the file. Raises UserError where it is not named."""
    path = Path(one_path(options.raw))
    rows = [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "title", "rating"])
    items = table[["item_id", "title"]].drop_duplicates("item_id")
    interactions = table[["user_id", "item_id", "rating"]].assign(timestamp=range(len(table)))
    return make_records(options.name or path.stem, interactions, items)


SOURCE = Source("lines of user|item|title|rating", "p5t5 prepare pipes FILE --out DIR", PipesOptions, read)
