"""How fast, and in how little memory, a large CSV becomes a data folder; against pandas doing the same.

python benchmarks/importing.py                    # 20 million rows, about 500 MB in a temporary folder
python benchmarks/importing.py --rows 200000      # a quick look
python benchmarks/importing.py --busy             # on a busy machine: processor seconds, no clock
python benchmarks/importing.py --fuzz 10000       # generated bad files: no traceback, no good row lost
    --keep FILE                                    # write the lines there; a fuzz that is run again goes on

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
SHARD = 500  # bad files of one seed


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
    from p5t5.cli.prepare import main
    from p5t5.data.records.parquet import pq

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
    import pyarrow as pa

    figures = {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": after.ru_maxrss / 1024}
    print(json.dumps({"rows_kept": rows, **figures, "arrow_threads": pa.cpu_count()}))


def compare(rows: int, folder: Path, wall: bool) -> list[dict]:
    """Prints the cases, and returns them."""
    path = folder / "rows.csv"
    simulate_csv(path, rows)
    found = {}
    for side in ("p5t5", "pandas"):
        command = [sys.executable, __file__, "--side", side, "--path", str(path), "--out", str(folder / side)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
        found[side] = json.loads(done.stdout.splitlines()[-1])
    return cases(rows, round(path.stat().st_size / 2**20), found, wall)


def cases(rows: int, csv_mb: int, found: dict[str, dict], wall: bool) -> list[dict]:
    """Prints the lines of what `work` found of both sides, and returns them; ``wall``: those of the clock too."""
    assert found["p5t5"]["rows_kept"] == found["pandas"]["rows_kept"], "the two sides kept different rows"
    shared = {"rows": rows, "csv_mb": csv_mb}
    clocks = ("seconds", "cpu_seconds") if wall else ("cpu_seconds",)
    lines = []
    for side, one in found.items():
        lines += [
            emit(f"import_rows_per_{clock.removesuffix('s')}_{side}", rows / one[clock], {**shared, **one})
            for clock in clocks
        ]
        lines.append(emit(f"import_peak_mb_{side}", one["peak_mb"], shared))
    for figure in (*clocks, "peak_mb"):
        ratio = found["pandas"][figure] / found["p5t5"][figure]
        lines.append(emit(f"import_{figure}_ratio", ratio, {**shared, "pandas over p5t5": figure}))
    return lines


def fuzz(number: int, keep: Path | None) -> list[dict]:
    """Imports generated bad files, SHARD at a time, a seed each; stops with the smallest that breaks a promise.

    So the zeros that it ends with are counted: whatever else than a refusal came out, or a good row that was lost,
    would have ended it. Finished shards are kept beside ``keep`` until all are done, and not run again.
    """
    kept = None if keep is None else keep.with_suffix(".shards")
    done = (
        [json.loads(line) for line in kept.read_text().splitlines()]
        if kept is not None and kept.is_file()
        else []
    )
    seen: Counter = Counter()
    for seed, start in enumerate(range(0, number, SHARD)):
        files = min(SHARD, number - start)
        counted = next((one["counts"] for one in done if one["shard"] == [seed, files]), None)
        if counted is None:
            counted = fuzz_shard(files, seed)
            if kept is not None:
                with kept.open("a") as lines:
                    lines.write(json.dumps({"shard": [seed, files], "counts": counted}) + "\n")
        seen.update(counted)
    found = [emit("bad_inputs", number, {"tracebacks": 0, "good_rows_lost": 0})]
    names = [f"bad_inputs_{name}" for name in ("imported", "refused", "good rows", "bad rows")]
    found += [emit(name.replace(" ", "_"), seen[name.removeprefix("bad_inputs_")], {}) for name in names]
    found += [emit(name, seen[name], {}) for name in sorted(seen) if name.startswith("fault: ")]
    found.append(emit("bad_inputs_seconds", seen["seconds"], {}))
    if kept is not None:
        kept.unlink(missing_ok=True)
    return found


def fuzz_shard(files: int, seed: int) -> dict[str, float]:
    """What happened to so many files: counts by name, and the seconds it took."""
    from bad_inputs import check, inputs
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded

    seen: Counter = Counter()

    @seeded(seed)
    @settings(max_examples=files, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs())
    def run(made) -> None:
        seen[check(made)] += 1
        seen["good rows"] += len(made.good)
        seen["bad rows"] += made.bad
        for fault in made.faults:
            seen[f"fault: {fault}"] += 1
        if made.whole:
            seen[f"fault: whole file, {made.whole}"] += 1

    started = time.perf_counter()
    run()
    return {**seen, "seconds": time.perf_counter() - started}


def emit(case: str, value: float, detail: dict) -> dict:
    line = {"case": case, "value": float(value), "detail": detail}
    print(json.dumps(line), flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--fuzz", type=int, metavar="N", help="import N generated bad files instead")
    parser.add_argument("--busy", action="store_true", help="the clock means nothing: processor seconds only")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the lines there, too")
    parser.add_argument("--side", choices=("p5t5", "pandas"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        work(arguments.side, arguments.path, arguments.out)
        return
    if arguments.fuzz:
        lines = fuzz(arguments.fuzz, arguments.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="p5t5-importing-") as folder:
            lines = compare(arguments.rows, Path(folder), not arguments.busy)
    if arguments.keep:
        arguments.keep.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
