"""Columns of an item table that name other items (also bought, also viewed): they tell of everybody's interactions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

_MOSTLY = 0.5  # of the elements that are ids of the table


def item_links(table: pd.DataFrame, key: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` whose cells hold ids of the table's own items. Ids that look like small numbers are not told
    from counts and years, and so never found."""
    ids = {str(value) for value in table[key] if re.search(r"[^\W\d_]", str(value)) or len(str(value)) > 6}
    links = []
    for name in names:
        parts = [part for value in table[name] for part in re.split(r"[\s,;|'\"\[\]]+", str(value)) if part]
        if parts and sum(part in ids for part in parts) > _MOSTLY * len(parts):
            links.append(name)
    return links
