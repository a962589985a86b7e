"""How fast, and in how little memory, a large CSV becomes a data folder; against pandas doing the same.

python benchmarks/importing.py                    # 20 million rows, about 500 MB in a temporary folder
python benchmarks/importing.py --rows 200000      # a quick look
python benchmarks/importing.py --fuzz 10000       # generated bad files: no traceback, no good row lost

The same: ids read as strings, rows without a value dropped, repeats of user, item and time dropped, rows sorted by
user and time, counted by user, item and rating, written as Parquet. (p5t5 also checks, hashes and reports.) Each
side runs in a process of its own. One JSON line a case: {"case", "value", "detail"}.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

USERS, ITEMS = 138_000, 27_000


def simulate_csv(path: Path, rows: int, seed: int = 0) -> None:
    """user,item,rating,time in no order; items as uneven as in shops."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    rng = np.random.default_rng(seed)
    schema = pa.schema(
        [("user", pa.string()), ("item", pa.string()), ("rating", pa.float64()), ("time", pa.int64())]
    )
    options = pa.csv.WriteOptions(quoting_style="none")
    with pa.csv.CSVWriter(path, schema, write_options=options) as writer:
        for start in range(0, rows, 1_000_000):
            number = min(1_000_000, rows - start)
            users = pa.array(rng.integers(0, USERS, number)).cast(pa.string())
            items = pa.array((ITEMS * rng.random(number) ** 3).astype(np.int64)).cast(pa.string())
            columns = [
                pc.binary_join_element_wise("u", users, ""),
                pc.binary_join_element_wise("i", items, ""),
                pa.array(rng.integers(1, 11, number) / 2),
                pa.array(rng.integers(800_000_000, 1_500_000_000, number)),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def ours(path: Path, out: Path) -> int:
    from p5t5.commands.prepare import main
    from p5t5.records.writing import pq

    assert main(["table", str(path), "--out", str(out)]) == 0
    return pq.read_metadata(out / "interactions.parquet").num_rows


def theirs(path: Path, out: Path) -> int:
    import pandas as pd

    kinds = {"user": str, "item": str, "rating": float, "time": "float64"}
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values={"rating": [""], "time": [""]})
    table = table[(table["user"] != "") & (table["item"] != "")].dropna()
    table["time"] = table["time"].astype("int64")
    table = table.drop_duplicates(["user", "item", "time"]).sort_values(["user", "time"], kind="stable")
    for column in ("user", "item", "rating"):
        table.groupby(column).size()
    out.mkdir()
    table.to_parquet(out / "interactions.parquet", index=False)
    return len(table)


def work(side: str, path: Path, out: Path) -> None:
    """What the process of one side does: prints its figures as JSON, on the last line."""
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    rows = {"p5t5": ours, "pandas": theirs}[side](path, out)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    print(
        json.dumps({"rows": rows, "seconds": seconds, "cpu_seconds": cpu, "peak_mb": after.ru_maxrss / 1024})
    )


def compare(rows: int, folder: Path) -> None:
    """Prints the cases."""
    path = folder / "rows.csv"
    simulate_csv(path, rows)
    size = path.stat().st_size / 2**20
    found = {}
    for side in ("p5t5", "pandas"):
        command = [sys.executable, __file__, "--side", side, "--path", str(path), "--out", str(folder / side)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
        found[side] = json.loads(done.stdout.splitlines()[-1])
        detail = {"rows": rows, "csv_mb": round(size), **found[side]}
        emit(f"import_rows_per_second_{side}", rows / found[side]["seconds"], detail)
        emit(f"import_peak_mb_{side}", found[side]["peak_mb"], {"rows": rows, "csv_mb": round(size)})
    assert found["p5t5"]["rows"] == found["pandas"]["rows"], "the two sides kept different rows"
    for figure in ("seconds", "cpu_seconds", "peak_mb"):
        emit(
            f"import_{figure}_ratio",
            found["pandas"][figure] / found["p5t5"][figure],
            {"pandas over p5t5": figure},
        )


def fuzz(number: int) -> None:
    """Imports generated bad files; stops with the smallest one that breaks a promise."""
    from bad_inputs import check, inputs
    from hypothesis import HealthCheck, given, settings

    seen: Counter = Counter()

    @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs())
    def run(made) -> None:
        seen[check(made)] += 1
        seen["good rows"] += len(made.good)
        seen["bad rows"] += made.bad

    started = time.perf_counter()
    run()
    emit("bad_inputs", number, {**seen, "seconds": time.perf_counter() - started})


def emit(case: str, value: float, detail: dict) -> None:
    print(json.dumps({"case": case, "value": value, "detail": detail}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--fuzz", type=int, metavar="N", help="import N generated bad files instead")
    parser.add_argument("--side", choices=("p5t5", "pandas"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        work(arguments.side, arguments.path, arguments.out)
    elif arguments.fuzz:
        fuzz(arguments.fuzz)
    else:
        with tempfile.TemporaryDirectory(prefix="p5t5-importing-") as folder:
            compare(arguments.rows, Path(folder))


if __name__ == "__main__":
    main()
