"""The value of every single row behind the results, in a Parquet file: what paired comparisons need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from p5t5.core.errors import UserError
from p5t5.evaluation.results import Measured

KEYS = ["model", "task", "prompt", "protocol"]
ABOUT = b"p5t5"


def write_example_values(path: str | Path, measured: Sequence[Measured], about: Mapping[str, Any]) -> None:
    """A line a model, task, wording, protocol, metric and row: model … metric, row, user, value.

    Metrics whose rows have several numbers (BLEU's counts, AUC's pairs) are left out. ``about`` (plain
    values: what data, which part) goes into the file's metadata. Under a temporary name first.
    """
    parts = [
        pd.DataFrame(
            {
                **{key: getattr(one, key) for key in KEYS},
                "metric": metric,
                "row": np.asarray(one.rows, np.int64),
                "user": np.asarray(one.users, np.int32),
                "value": np.asarray(values, np.float64),
            }
        )
        for one in measured
        for metric, values in one.values.items()
        if np.ndim(values) == 1
    ]
    names = [*KEYS, "metric"]
    columns = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=[*names, "row", "user", "value"])
    )
    table = pa.Table.from_pandas(columns.astype(dict.fromkeys(names, "category")), preserve_index=False)
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    parquet.write_table(
        table.replace_schema_metadata({ABOUT: json.dumps(dict(about))}), temporary, compression="zstd"
    )
    temporary.replace(path)


def read_example_values(path: str | Path) -> tuple[list[Measured], dict[str, Any]]:
    """What `write_example_values` was given: what was measured, and about what. UserError if it is no such file."""
    try:
        table = parquet.read_table(path)
        about = json.loads((table.schema.metadata or {})[ABOUT])
        columns = table.to_pandas()
        found: dict[tuple, Measured] = {}
        values: dict[tuple, dict[str, np.ndarray]] = {}
        for (*names, metric), part in columns.groupby([*KEYS, "metric"], observed=True, sort=False):
            key = tuple(names)
            values.setdefault(key, {})[metric] = part["value"].to_numpy()
            rows, users = part["row"].to_numpy(), part["user"].to_numpy()
            found[key] = Measured(
                **dict(zip(KEYS, names, strict=True)), rows=rows, users=users, values=values[key]
            )
    except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path}: no values could be read ({error}); make them with p5t5 evaluate --values true"
        ) from error
    return list(found.values()), about
