"""Well-known files without a header, by name and shape: what their columns are."""

from __future__ import annotations

import re
from pathlib import Path

# (name, separator, number of columns) → the columns' names
_LAYOUTS = (
    (r"ratings\.\w+|ml-1m\.ratings.*|ml-10m\.ratings.*", "::", 4, "user_id item_id rating timestamp"),
    (r"movies\.\w+", "::", 3, "item_id title genres"),
    (r"users\.\w+", "::", 5, "user_id gender age occupation zip"),
    (r"tags\.dat", "::", 4, "user_id item_id tag timestamp"),
    (r"u\.data|u[1-5ab]\.(?:base|test)", "\t", 4, "user_id item_id rating timestamp"),
    (r"u\.user", "|", 5, "user_id age gender occupation zip"),
    (r"userid-timestamp-artid-artname-traid-traname\.tsv", "\t", 6, "user_id timestamp artist_id artist track_id track"),
    (r"usersha1-artmbid-artname-plays\.tsv", "\t", 4, "user_id artist_id artist plays"),
    (r"usersha1-profile\.tsv", "\t", 5, "user_id gender age country signup"),
    (r"dataset_tsmc2014_(?:nyc|tky)\.txt", "\t", 8, "user_id venue_id category_id category latitude longitude offset time"),
    (r"yoochoose-clicks\.dat", ",", 4, "session_id timestamp item_id category"),
)  # fmt: skip


def known_names(path: Path, separator: str, width: int) -> list[str] | None:
    """The columns of a file that is known by its name, None for any other."""
    name = path.name.lower()
    for suffix in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(suffix)
    for pattern, its_separator, columns, names in _LAYOUTS:
        if separator == its_separator and width == columns and re.fullmatch(pattern, name):
            return names.split()
    return None
