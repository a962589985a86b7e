"""The README.md of a data folder: a dataset card that ``datasets`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd


def dataset_card(name: str, tables: Mapping[str, pd.DataFrame], info: Mapping[str, Any], summary: str) -> str:
    """README.md: the ``configs`` that ``datasets.load_dataset(folder, "interactions")`` reads, and a summary."""
    lines = ["---", f"pretty_name: {json.dumps(name, ensure_ascii=False)}", "configs:"]
    for table in tables:
        lines += [f"- config_name: {table}", f"  data_files: {table}.parquet"]
        lines += ["  default: true"] if table == "interactions" else []
    lines += ["---", "", f"# {name}", ""]
    lines += ["Prepared by `p5t5 prepare`; load a table with `datasets.load_dataset(FOLDER, TABLE)`.", ""]
    lines += ["| table | rows | columns |", "|---|---|---|"]
    for table, frame in tables.items():
        lines.append(f"| {table} | {len(frame)} | {', '.join(frame.columns)} |")
    lines += ["", summary]
    for reason, number in info.get("dropped", {}).items():
        lines.append(f"Dropped: {number} rows ({reason}).")
    for key in ("source", "licence"):
        if key in info:
            lines += ["", f"{key.capitalize()}: {info[key]}"]
    return "\n".join(lines) + "\n"
