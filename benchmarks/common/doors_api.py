"""The cases of doors.py that need a model: calls from Python, and commands on finished work."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import pickle
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import p5t5
from common.doors_questions import World
from common.doors_run import command, is_users, prepared, scratch, shortened

LENGTHS = (2_000, 8_000, 32_000)  # characters of a question
ITEM = "50"


class Calls:
    """One check a case; each returns ("", got) where it is right, or (what is wrong, got)."""

    def __init__(self, world: World, model: Path, cases: Path) -> None:
        self.world, self.model, self.cases = world, model, cases
        self.rec, self.data = world.recommender, str(world.data)

    def same(self, call: Callable, plain: Callable, *words: str) -> tuple[str, str]:
        """Right: the plain call's answer, or a UserError that holds one of the words."""
        try:
            got = call()
        except Exception as error:
            fine = is_users(error) and any(word in str(error) for word in words)
            return ("" if fine else "an error without cause or remedy"), described(error)
        return ("" if repr(got) == repr(plain()) else "another answer"), repr(got)

    def refused(self, call: Callable, *words: str) -> tuple[str, str]:
        """Right: a UserError that holds every word."""
        try:
            return "no error", repr(call())
        except Exception as error:
            fine = is_users(error) and all(word in str(error) for word in words)
            return ("" if fine else "an error without cause or remedy"), described(error)

    def works(self, call: Callable) -> tuple[str, str]:
        try:
            return "", repr(call())
        except Exception as error:
            return "fails", described(error)

    def A01(self):
        plain = lambda: self.rec.recommend(["1", ITEM], k=2)  # noqa: E731
        for history in ([1, 50], np.array([1, 50])):
            yield self.same(lambda h=history: self.rec.recommend(h, k=2), plain, "string", "text", "str")

    def A02(self):
        alien = "Alien (1979)"
        yield self.same(
            lambda: self.rec.recommend(alien, k=2), lambda: self.rec.recommend([alien], k=2), "list"
        )
        yield self.same(lambda: self.rec.rank(["1"], alien), lambda: self.rec.rank(["1"], [alien]), "list")

    def A03(self):
        many, rec = self.rec.recommend_many, self.rec.recommend
        yield self.same(lambda: many("42", self.data, k=2), lambda: many(["42"], self.data, k=2), "list")
        yield self.same(lambda: rec(["1"], allow=ITEM, k=1), lambda: rec(["1"], allow=[ITEM], k=1), "list")

    def A07(self):
        for value in (99, 7, math.nan):
            yield self.refused(lambda v=value: self.rec.rate(ITEM, history={"1": v}), "1", "5")

    def A09(self):
        self.rec("I loved Alien (1979). What next?")
        back = lambda: pickle.loads(pickle.dumps(self.rec)).recommend([ITEM], k=1)  # noqa: E731
        yield self.same(back, lambda: self.rec.recommend([ITEM], k=1))

    def A17(self):
        with self.copy() as folder:
            (folder / "config.json").unlink()
            out = io.StringIO()
            with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
                wrong, got = self.refused(lambda: p5t5.Recommender.from_pretrained(folder), "config.json")
            yield (wrong or ("lines before it" if len(out.getvalue().splitlines()) > 3 else "")), got

    def A21(self):
        yield ("" if callable(getattr(self.rec, "push_to_hub", None)) else "no push_to_hub"), ""
        load = lambda **named: p5t5.Recommender.from_pretrained(self.model, **named).recommend([ITEM], k=1)  # noqa: E731
        yield self.works(lambda: load(dtype=torch.bfloat16))
        yield self.works(lambda: load(dtype="float32"))
        wrong, got = self.works(lambda: load(revision="main"))
        yield ("" if "UserError" in got else wrong), got
        yield self.refused(lambda: load(device="nonsense"), "nonsense")

    def A22(self):
        words = sorted({word.casefold() for title in self.world.items.index for word in str(title).split()})
        draw = random.Random(0)
        for length in LENGTHS:
            text = ""
            while len(text) < length - 12:
                text += draw.choice(words) + " "
            began = time.process_time()
            try:
                self.rec(text + "What next?", 1)
                got = "answered"
            except Exception as error:
                got = described(error)
            took = time.process_time() - began
            told = got == "answered" or (got.startswith("UserError") and "character" in got)
            yield (
                ("" if took < 1 and told else f"{took:.1f} processor seconds"),
                f"{length} characters: {got}",
            )

    def D78(self):
        """Another data set, and another model's catalogue."""
        table, items = (str(self.cases / "ml25m" / name) for name in ("ratings.csv", "movies.csv"))
        made_for = ("made for", "other data", "another data", "made from", "trained on", "not the data")
        with prepared("table", table, "--items", items) as out:
            for words in (
                ["recommend", "--out", f"{out.folder}/out.csv"],
                ["query", "What next for user 1?"],
            ):
                told = command(*words, "--model", str(self.model), "--data", str(out.folder))
                fine = (
                    told.code == 2 and told.holds("data", made_for) and not (out.folder / "out.csv").exists()
                )
                yield ("" if fine else f"{words[0]}: exit code {told.code}"), told.words
        with self.copy() as folder:
            path = folder / "catalogue.parquet"
            pd.read_parquet(path).iloc[::-1].reset_index(drop=True).to_parquet(path)
            yield self.refused(lambda: p5t5.Recommender.from_pretrained(folder), "catalogue")

    def D80(self):
        """Finished work stays: finetune and prepare onto it are refused, save_pretrained keeps what is there."""
        extra = ("results.json", "fusion.json")
        with self.copy() as folder:
            for name in extra:
                (folder / name).write_text("{}")
            before = digests(folder)
            out = command(
                "finetune", "--data", self.data, "--model", "tiny", "--out", str(folder), "--max_steps", "1"
            )
            fine = out.code == 2 and out.holds(("--overwrite", "--restart")) and digests(folder) == before
            yield ("" if fine else f"finetune: exit code {out.code}"), out.words
        with self.copy() as folder:
            for name in extra:
                (folder / name).write_text("{}")
            with contextlib.suppress(Exception):
                self.rec.save_pretrained(folder)
            lost = [name for name in extra if not (folder / name).is_file()]
            yield (f"save_pretrained: {lost} lost" if lost else ""), ""
        source = str(self.cases / "archives/ratings.txt")
        with scratch() as top:
            for name in ("a", "b"):
                shutil.copy(source, top / f"{name}.csv")
            first = command("prepare", "table", str(top / "a.csv"), "--out", str(top / "data"))
            before = digests(top / "data")
            out = command("prepare", "table", str(top / "b.csv"), "--out", str(top / "data"))
            fine = (
                first.code == 0
                and out.code == 2
                and out.holds("--overwrite")
                and digests(top / "data") == before
            )
            yield ("" if fine else f"prepare: exit code {out.code}"), out.words

    @contextlib.contextmanager
    def copy(self):
        with scratch() as top:
            yield Path(shutil.copytree(self.model, top / "model"))


def described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(calls: Calls, name: str) -> tuple[bool, str]:
    """Whether every call of a case is right, and the first that is not."""
    for number, (wrong, got) in enumerate(getattr(calls, name)(), 1):
        if wrong:
            return False, f"call {number}: {wrong}\n{shortened(got)}"
    return True, ""
