"""Per-example values of the results in a Parquet file, as needed for paired comparisons."""

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
METADATA_KEY, TOTALS_KEY = b"p5t5", b"p5t5.totals"


def write_example_values(path: str | Path, measured: Sequence[Measured], metadata: Mapping[str, Any]) -> None:
    """One line per (model, task, prompt, protocol, metric, example): model … metric, row, user, value.

    Metrics with several numbers per row (BLEU's counts, AUC's pairs) are left out; totals go into the file's metadata. ``metadata`` (plain
    values: which data, which part) does too. Written under a temporary name first.
    """
    parts = [
        pd.DataFrame(
            {
                **{key: getattr(measurement, key) for key in KEYS},
                "metric": metric,
                "row": np.asarray(measurement.rows, np.int64),
                "user": np.asarray(measurement.users, np.int32),
                "value": np.asarray(values, np.float64),
            }
        )
        for measurement in measured
        for metric, values in measurement.values.items()
        if np.ndim(values) == 1
    ]
    names = [*KEYS, "metric"]
    columns = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=[*names, "row", "user", "value"])
    )
    table = pa.Table.from_pandas(columns.astype(dict.fromkeys(names, "category")), preserve_index=False)
    totals = [[*(getattr(one, key) for key in KEYS), dict(one.totals)] for one in measured if one.totals]
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    parquet.write_table(
        table.replace_schema_metadata(
            {METADATA_KEY: json.dumps(dict(metadata)), TOTALS_KEY: json.dumps(totals)}
        ),
        temporary,
        compression="zstd",
    )
    temporary.replace(path)


def read_example_values(path: str | Path) -> tuple[list[Measured], dict[str, Any]]:
    """What `write_example_values` was given: the measurements and their metadata. Raises UserError for any other file."""
    try:
        table = parquet.read_table(path)
        metadata = json.loads((table.schema.metadata or {})[METADATA_KEY])
        stored = json.loads(table.schema.metadata.get(TOTALS_KEY, b"[]"))
        totals = {tuple(names): found for *names, found in stored}
        columns = table.to_pandas()
        measured: dict[tuple, Measured] = {}
        values: dict[tuple, dict[str, np.ndarray]] = {}
        for (*names, metric), part in columns.groupby([*KEYS, "metric"], observed=True, sort=False):
            key = tuple(names)
            values.setdefault(key, {})[metric] = part["value"].to_numpy()
            rows, users = part["row"].to_numpy(), part["user"].to_numpy()
            measured[key] = Measured(
                **dict(zip(KEYS, names, strict=True)),
                rows=rows,
                users=users,
                values=values[key],
                totals=totals.get(key, {}),
            )
    except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path}: cannot be read as per-example values ({error}); make them with p5t5 evaluate --values true"
        ) from error
    return list(measured.values()), metadata
