"""`p5t5 serve` under load, on this machine alone: what it holds of its promises.

python benchmarks/serving.py                                # all cases → results/serving.jsonl
python benchmarks/serving.py --case qps_ratio --shape t5-small
python benchmarks/serving.py --model runs/quickstart/model --data runs/quickstart/data

Without --model an untrained model of a simulated shop is made in runs/serving. Clients are asyncio connections in a
process of their own, the service is another. One JSON line a case: {"case", "value", "detail"}; a case that is
measured again takes the place of its line.

- qps_ratio: requests/s with micro-batches over one at a time, 32 clients, in turns; p99 of both is in the detail.
- qps, p99_ms: by number of clients. invalid_items, server_errors: of 10,000 mixed requests.
- overload_p99_ratio: p99 of accepted requests at 4 times the capacity over that at capacity.
- memory_growth: of 100,000 requests. restart_seconds: from kill -9 under load to the next answer.
- dropped_on_reload: requests lost or answered by a mixture while checkpoints change under load.
- slow_clients: requests of others lost while 1,000 connections are slow or broken. full_disk: wrong statuses.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common.serving_load import Load, drive, hold, in_background, post
from common.serving_world import (
    ROOT,
    SHAPES,
    Server,
    World,
    bodies,
    histories,
    made,
    mixed,
    recommendations,
    shape_of,
    wrong_items,
)

CLIENTS = (1, 8, 32, 64)
ROUNDS, SECONDS = 4, 5.0  # of each side, in turns
MIXED, MANY = 10_000, 100_000
CONNECTIONS = 1000
Line = tuple[float, dict[str, Any]]


def qps_ratio(world: World) -> Line:
    requests, _ = recommendations(world, 500)
    with Server(world) as batched, Server(world, "--batch", "1") as single:
        shape = shape_of(world, batched.ask("/describe"))
        loads: dict[str, list[Load]] = {"ours": [], "theirs": []}
        for server in (batched, single):
            drive(server.port, requests, 32, seconds=2)
        for _ in range(ROUNDS):
            for name, server in (("ours", batched), ("theirs", single)):
                loads[name].append(in_background(server.port, requests, 32, seconds=SECONDS).result())
    said = {name: _together(several).summary() for name, several in loads.items()}
    rounds = [
        a.summary()["qps"] / b.summary()["qps"] for a, b in zip(loads["ours"], loads["theirs"], strict=True)
    ]
    ratio = said["ours"]["qps"] / said["theirs"]["qps"]
    detail = {
        **shape,
        "clients": 32,
        "rounds": [round(one, 2) for one in rounds],
        "batched": said["ours"],
        "one_at_a_time": said["theirs"],
    }
    return round(ratio, 2), {**detail, "ours": said["ours"]["qps"], "theirs": said["theirs"]["qps"]}


def by_clients(world: World) -> tuple[Line, Line]:
    """Requests/s and p99, by number of clients."""
    requests, _ = recommendations(world, 500)
    with Server(world) as server:
        shape = shape_of(world, server.ask("/describe"))
        drive(server.port, requests, 8, seconds=2)
        table = {
            str(clients): in_background(server.port, requests, clients, seconds=8).result().summary()
            for clients in CLIENTS
        }
    detail = {**shape, "clients": table}
    return (table["32"]["qps"], detail), (table["32"]["p99_ms"], detail)


def validity(world: World) -> tuple[Line, Line]:
    """Items that must not be in answers, and answers of the 500s, of many mixed requests."""
    with Server(world) as server:
        described = server.ask("/describe")
        pairs = mixed(world, described, MIXED)
        load = in_background(server.port, bodies(pairs), 16, count=MIXED, keep=True).result()
        shape = shape_of(world, described)
    seen, wrong, items, statuses = histories(world), 0, 0, {}
    for number, code, body in load.answers:
        statuses[str(code)] = statuses.get(str(code), 0) + 1
        if code == 200:
            answer = json.loads(body)
            wrong += wrong_items(world, *pairs[number], answer, seen)
            items += len(answer.get("items", ()))
    errors = sum(count for code, count in statuses.items() if code[0] in "05")
    detail = {**shape, "clients": 16, "requests": MIXED, "items": items, "statuses": statuses, **_times(load)}
    return (wrong, detail), (errors, detail)


def overload(world: World) -> Line:
    """At capacity as many are served as may wait and be computed without a refusal."""
    requests, _ = recommendations(world, 500)
    with Server(world) as server:
        shape = shape_of(world, server.ask("/describe"))
        drive(server.port, requests, 64, seconds=2)
        usual: list[Load] = []
        over: list[Load] = []
        for _ in range(4):
            usual.append(in_background(server.port, requests, 64, seconds=6).result())
            rate = 4 * usual[-1].summary()["qps"]
            over.append(in_background(server.port, requests, 400, seconds=8, rate=rate).result())
    pairs = list(zip(usual, over, strict=True))
    ratios = [b.summary()["p99_ms"] / a.summary()["p99_ms"] for a, b in pairs]
    offered = [len(b.status) / b.seconds / a.summary()["qps"] for a, b in pairs]
    detail = {
        **shape,
        "clients": 400,
        "rounds": [round(ratio, 2) for ratio in ratios],
        "offered": [round(one, 2) for one in offered],
        "at_capacity": _together(usual).summary(),
        "overload": _together(over).summary(),
    }
    return round(float(np.median(ratios)), 2), detail


def memory(world: World) -> Line:
    requests, _ = recommendations(world, 2000, longest=3)
    with Server(world) as server:
        shape = shape_of(world, server.ask("/describe"))
        in_background(server.port, requests, 64, count=MANY // 10).result()
        before = server.rss()
        load = in_background(server.port, requests, 64, count=MANY).result()
        after = server.rss()
    detail = {
        **shape,
        "clients": 64,
        "requests": MANY,
        "before_mb": before >> 20,
        "after_mb": after >> 20,
        **_times(load),
    }
    return round(after / before - 1, 4), detail


def restart(world: World) -> Line:
    requests, _ = recommendations(world, 200)
    server = Server(world)
    shape = shape_of(world, server.ask("/describe"))
    load = in_background(server.port, requests, 32, seconds=60)
    time.sleep(4)
    start = time.perf_counter()
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    with Server(world, port=server.port) as again:
        again.ask("/recommend", {"history": world.ids[:3], "k": 10})
        seconds = time.perf_counter() - start
        summary = load.result().summary()
    return round(seconds, 1), {**shape, "clients": 32, "after": summary}


def reload(world: World) -> Line:
    """Checkpoints change under load; every answer must be that of the checkpoint which it names."""
    requests, asked = recommendations(world, 60)
    with tempfile.TemporaryDirectory() as folder:
        served = World(Path(folder) / "model", world.data, world.shape)
        shutil.copytree(world.model, served.model)
        other = Path(folder) / "other"
        shutil.copytree(world.model, other)
        _change(other)
        with Server(served) as server:
            shape = shape_of(world, server.ask("/describe"))
            wanted: dict[str, list[list[str]]] = {}
            for source in (other, world.model):
                _put(source, served.model)
                digest = _renew(server)
                wanted[digest] = [_ids(server.ask("/recommend", body)) for body in asked]
            load = in_background(server.port, requests, 32, seconds=24, keep=True)
            time.sleep(3)
            reloads = refused = 0
            for turn in range(6):
                _put((other, world.model)[turn % 2], served.model)
                _renew(server)
                reloads += 1
                if turn == 2:  # half copied: refused, and the old one goes on
                    weights = (world.model / "model.safetensors").read_bytes()
                    (served.model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
                    before = server.ask("/health/live")["checkpoint"]
                    os.kill(server.process.pid, signal.SIGHUP)
                    time.sleep(1.5)
                    refused += server.ask("/health/live")["checkpoint"] == before
            done = load.result()
    dropped = sum(code != 200 for _, code, _ in done.answers)
    answers = [(number, json.loads(body)) for number, code, body in done.answers if code == 200]
    several = sum(_ids(answer) != wanted[answer["checkpoint"]][number] for number, answer in answers)
    named = {digest: sum(answer["checkpoint"] == digest for _, answer in answers) for digest in wanted}
    detail = {
        **shape,
        "clients": 32,
        "reloads": reloads,
        "damaged_refused": refused,
        "mixed": several,
        "answers": named,
        **_times(done),
    }
    return dropped + several, detail


def slow_clients(world: World) -> Line:
    requests, _ = recommendations(world, 300)
    with Server(world) as server:
        shape = shape_of(world, server.ask("/describe"))
        drive(server.port, requests, 8, seconds=2)
        before = in_background(server.port, requests, 8, seconds=8).result()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            held = pool.submit(hold, server.port, CONNECTIONS, 25.0)
            time.sleep(4)
            during = in_background(server.port, requests, 8, seconds=12).result()
            closed = held.result()
        after = in_background(server.port, requests, 8, seconds=4).result()
    lost = sum(code != 200 for load in (during, after) for code in load.status)
    detail = {
        **shape,
        "clients": 8,
        "connections": CONNECTIONS,
        "closed_on_them": closed,
        "before": before.summary(),
        "during": during.summary(),
    }
    return lost, detail


def full_disk(world: World) -> Line:
    """/feedback where a file may grow no more: 507, and all else goes on; no line is torn."""
    with tempfile.TemporaryDirectory() as folder, Server(world, "--feedback", folder) as server:
        shape = shape_of(world, server.ask("/describe"))
        feedback = [
            post("/feedback", {"user": f"u{number}", "item": world.ids[number]}) for number in range(200)
        ]
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (5000, -1))
        full = drive(server.port, feedback, 4, count=200)
        others = drive(server.port, recommendations(world, 50)[0], 4, count=50)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
        again = drive(server.port, feedback, 4, count=20)
        lines = [line for path in sorted(Path(folder).iterdir()) for line in path.read_text().splitlines()]
        whole = sum("item_id" in json.loads(line) for line in lines)
    taken = full.status.count(200)
    wrong = sum(code not in (200, 507) for code in full.status) + sum(
        code != 200 for code in others.status + again.status
    )
    wrong += abs(whole - taken - 20)
    return wrong, {**shape, "taken": taken, "refused_507": full.status.count(507), "lines": whole}


CASES: dict[tuple[str, ...], Callable[[World], Any]] = {
    ("qps_ratio",): qps_ratio,
    ("qps", "p99_ms"): by_clients,
    ("invalid_items", "server_errors"): validity,
    ("overload_p99_ratio",): overload,
    ("memory_growth",): memory,
    ("restart_seconds",): restart,
    ("dropped_on_reload",): reload,
    ("slow_clients",): slow_clients,
    ("full_disk",): full_disk,
}


def _together(loads: list[Load]) -> Load:
    return Load(
        sum(load.seconds for load in loads),
        [one for load in loads for one in load.latency],
        [one for load in loads for one in load.status],
    )


def _times(load: Load) -> dict[str, Any]:
    said = load.summary()
    return {name: said[name] for name in ("qps", "p50_ms", "p95_ms", "p99_ms")}


def _ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def _change(model: Path) -> None:
    """Other weights of the same shape: the rows of the items' tokens in another order."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if "shared" in name)
    weights[name] = np.ascontiguousarray(np.roll(weights[name], 7, axis=0))
    save_file(weights, model / "model.safetensors", {"format": "pt"})


def _put(source: Path, target: Path) -> None:
    """The weights of another checkpoint in the served folder, written over in place, as `cp` does."""
    for name in ("model.safetensors", "p5t5.json"):
        (target / name).write_bytes((source / name).read_bytes())


def _renew(server: Server) -> str:
    """Sends SIGHUP and waits for another checkpoint; returns its digest."""
    before = server.ask("/health/live")["checkpoint"]
    os.kill(server.process.pid, signal.SIGHUP)
    for _ in range(600):
        if (digest := server.ask("/health/live")["checkpoint"]) != before:
            return digest
        time.sleep(0.05)
    raise SystemExit("serving: the checkpoint was not reloaded")


def _keep(path: Path, lines: list[dict[str, Any]]) -> None:
    """Writes lines in the place of those of the same case and shape."""
    old = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    new = {(line["case"], line["detail"]["shape"]) for line in lines}
    kept = [line for line in old if (line["case"], line["detail"]["shape"]) not in new]
    order = [name for names in CASES for name in names]
    rows = sorted(kept + lines, key=lambda line: (line["detail"]["shape"], order.index(line["case"])))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=[name for names in CASES for name in names])
    parser.add_argument("--shape", choices=[*SHAPES], default="tiny", help="of the model that is made")
    parser.add_argument("--model", help="a model's folder; none: an untrained one is made")
    parser.add_argument("--data", help="its data folder")
    parser.add_argument("--out", default=str(ROOT / "results" / "serving.jsonl"), help="- to write no file")
    options = parser.parse_args()
    if bool(options.model) != bool(options.data):
        sys.exit("serving: --model and --data belong together")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if options.model:
        world = World(Path(options.model), Path(options.data), Path(options.model).resolve().parent.name)
    else:
        world = made(ROOT / "runs" / "serving" / options.shape, options.shape)
    for names, case in CASES.items():
        if options.case and options.case not in names:
            continue
        found = case(world)
        lines = [
            {"case": name, "value": value, "detail": detail}
            for name, (value, detail) in zip(names, [found] if len(names) == 1 else found, strict=True)
        ]
        for line in lines:
            print(json.dumps(line), flush=True)
        if options.out != "-":
            _keep(Path(options.out), lines)


if __name__ == "__main__":
    main()
