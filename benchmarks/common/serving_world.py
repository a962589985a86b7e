"""What is served in `benchmarks/serving.py`: a model made by itself, processes that serve it, and requests to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.serving_load import post

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"tiny": "tiny", "t5-small": "small"}
ITEMS, USERS = 1500, 600


@dataclass
class World:
    """Folders of a model and its data, and what a checker must know of the items."""

    model: Path
    data: Path
    shape: str

    def __post_init__(self) -> None:
        items = pd.read_parquet(self.data / "items.parquet")
        self.ids = items["item_id"].astype(str).tolist()
        self.titles = items["title"].astype(str).tolist()
        # the last words of a catalogue's attributes as `conditions` writes them are left to the service to name
        self.users = (
            pd.read_parquet(self.data / "interactions.parquet", columns=["user_id"])["user_id"]
            .astype(str)
            .unique()
            .tolist()
        )


def made(folder: Path, shape: str, seed: int = 0) -> World:
    """A simulated shop and an untrained model of the shape; made once."""
    if not (folder / "model" / "p5t5.json").is_file():
        from p5t5.checkpoint.creation import create_checkpoint
        from p5t5.data.sources.simulated import simulate
        from p5t5.data.splits import leave_one_out
        from p5t5.tasks.registry import TASKS
        from p5t5.text.prompts import load_prompts

        records = simulate(users=USERS, items=ITEMS, seed=0).records
        records.write(folder / "data")
        split = leave_one_out(records.index())
        checkpoint = create_checkpoint(split, load_prompts(), model=SHAPES[shape], seed=seed)
        checkpoint.info.tasks = list(TASKS)
        checkpoint.save(folder / "model")
    return World(folder / "model", folder / "data", shape)


class Server:
    """A process of `p5t5 serve`. ``seconds``: from its start to where it listens."""

    def __init__(self, world: World, *options: str, port: int = 0) -> None:
        line = [sys.executable, "-m", "p5t5", "serve", "--model", str(world.model), "--data", str(world.data), "--port", str(port), *options]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        environment.pop("P5T5_API_KEY", None)
        start = time.perf_counter()
        self.process = subprocess.Popen(
            line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        for said in self.process.stdout:
            found = re.search(r"^serving (\w+) at http://[^:]+:(\d+)", said)
            if found:
                self.digest, self.port = found[1], int(found[2])
                break
        else:
            raise SystemExit("serving: the service did not start")
        self.seconds = time.perf_counter() - start

    def ask(self, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers), timeout=60
        ) as response:
            return json.loads(response.read())

    def rss(self) -> int:
        """Bytes of memory that the process holds."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def recommendations(
    world: World, count: int, seed: int = 0, longest: int = 20
) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Requests for ten items with histories of 1 to ``longest``, as bytes and as bodies."""
    rng = np.random.default_rng(seed)
    bodies = [
        {"history": rng.choice(world.ids, rng.integers(1, longest + 1), replace=False).tolist(), "k": 10}
        for _ in range(count)
    ]
    return [post("/recommend", body) for body in bodies], bodies


def mixed(
    world: World, described: dict[str, Any], count: int, seed: int = 1
) -> list[tuple[str, dict[str, Any]]]:
    """(path, body) of requests of all kinds, with conditions, exclusions and users."""
    rng = np.random.default_rng(seed)
    values = {name: said["values"] for name, said in described["attributes"].items() if said.get("values")}
    name = min(values, key=lambda name: len(values[name])) if values else None

    def some(most: int, least: int = 1) -> list[str]:
        return rng.choice(world.ids, rng.integers(least, most + 1), replace=False).tolist()

    made = []
    for _ in range(count):
        kind = rng.random()
        where = {} if name is None or rng.random() < 0.5 else {"where": {name: str(rng.choice(values[name]))}}
        if kind < 0.45:
            who = {"user": str(rng.choice(world.users))} if rng.random() < 0.3 else {"history": some(20)}
            extra = {"exclude": some(5)} if rng.random() < 0.3 else {}
            mixed_up = {"diversity": 0.3} if rng.random() < 0.1 else {}
            made.append(("/recommend", {**who, "k": int(rng.integers(1, 21)), **where, **extra, **mixed_up}))
        elif kind < 0.6:
            made.append(("/rank", {"candidates": some(30), "history": some(20)}))
        elif kind < 0.7:
            made.append(("/similar", {"item": some(1)[0], "k": 10, **where}))
        elif kind < 0.85:
            made.append(
                ("/rate", {"item": some(1)[0], "history": [{"item": item, "rating": 4} for item in some(10)]})
            )
        elif kind < 0.98:
            titles = rng.choice(world.titles, 2)
            made.append(
                ("/query", {"text": f"I loved {titles[0]} and {titles[1]}. What should I try next?", "k": 5})
            )
        else:
            made.append(("/explain", {"item": some(1)[0], "user": str(rng.choice(world.users))}))
    return made


def wrong_items(
    world: World, path: str, body: dict[str, Any], answer: dict[str, Any], seen: dict[str, set[str]]
) -> int:
    """How many items of an answer are not of the catalogue, there twice, seen, excluded, or against a condition."""
    if "items" not in answer:
        return 0
    found = [item["item_id"] for item in answer["items"]]
    wrong = len(found) - len(set(found)) + sum(item not in seen["catalogue"] for item in found)
    forbidden = set(body.get("exclude", ()))
    if path == "/recommend":
        forbidden |= set(body.get("history", ())) | seen.get(body.get("user", ""), set())
    if path == "/similar":
        forbidden.add(body["item"])
    if path == "/rank":
        wrong += sorted(found) != sorted(body["candidates"])
    if path == "/query":
        linked = set(answer["linked"])
        wrong += sum(item["title"] in linked for item in answer["items"])
    wrong += len(forbidden & set(found))
    for name, value in body.get("where", {}).items():
        wrong += sum(value not in item["attributes"].get(name, ()) for item in answer["items"])
    if path in ("/recommend", "/similar") and not body.get("where") and len(found) != body["k"]:
        wrong += 1
    return wrong


def histories(world: World) -> dict[str, set[str]]:
    """User → items met, and "catalogue" → all items."""
    table = pd.read_parquet(world.data / "interactions.parquet", columns=["user_id", "item_id"]).astype(str)
    return {"catalogue": set(world.ids), **{u: set(rows) for u, rows in table.groupby("user_id")["item_id"]}}


def shape_of(world: World, described: dict[str, Any]) -> dict[str, Any]:
    """What a line of results says of the model."""
    size = (world.model / "model.safetensors").stat().st_size
    return {"shape": world.shape, "items": described["items"], "parameters": round(size / 4)}


def bodies(pairs: Sequence[tuple[str, dict[str, Any]]]) -> list[bytes]:
    return [post(path, body) for path, body in pairs]
