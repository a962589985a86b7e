"""What the checks of doors.py share: a command run as a person would, and what it left behind."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from unittest import mock

import pandas as pd

SHOWN = 600  # characters of an output that --show prints


@dataclass
class Outcome:
    """Exit code, everything printed (both streams), and the output folder (None where there is none)."""

    code: int
    words: str
    folder: Path | None = None

    def table(self, name: str) -> pd.DataFrame:
        """A Parquet table of the folder, or an empty frame."""
        path = self.folder / f"{name}.parquet" if self.folder else None
        return pd.read_parquet(path) if path and path.is_file() else pd.DataFrame()

    @cached_property
    def interactions(self) -> pd.DataFrame:
        return self.table("interactions")

    @cached_property
    def items(self) -> pd.DataFrame:
        return self.table("items")

    @cached_property
    def lines(self) -> list[str]:
        return [line.casefold().replace("−", "-") for line in self.words.splitlines()]

    @cached_property
    def flat(self) -> str:
        return " ".join(" ".join(self.lines).split())

    def holds(self, *groups: str | tuple[str, ...]) -> bool:
        """Whether of each group (a word, or alternatives) one stands in the words, case aside."""
        return _holds(self.flat, groups)

    def line_holds(self, *groups: str | tuple[str, ...]) -> bool:
        """The same of a single line: a remark on one thing."""
        return any(_holds(line, groups) for line in self.lines)

    def refused(self, *groups: str | tuple[str, ...]) -> bool:
        """Exit code 2, no traceback, no data left, and words that hold each group."""
        clean = "traceback (most recent" not in self.flat
        return self.code == 2 and clean and self.interactions.empty and self.holds(*groups)


@dataclass
class Verdict:
    """Of one case (``id``) of a ``kind``; ``got`` is printed by --show."""

    id: str
    kind: str
    right: bool
    expected: str
    got: str = field(repr=False, default="")


def _holds(text: str, groups: Sequence[str | tuple[str, ...]]) -> bool:
    for group in groups:
        words = (group,) if isinstance(group, str) else group
        if not any(word.casefold() in text for word in words):
            return False
    return True


def command(*arguments: str, folder: Path | None = None) -> Outcome:
    """`p5t5 ARGUMENTS` in this process. Code 1 and the traceback stand for an exception that came through."""
    out = io.StringIO()
    code = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
        mock.patch.object(sys, "argv", ["p5t5", *arguments]),
    ):
        try:
            runpy.run_module("p5t5", run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            traceback.print_exc(file=out)
            code = 1
    return Outcome(code, out.getvalue(), folder)


@contextlib.contextmanager
def prepared(*arguments: str):
    """The Outcome of `p5t5 prepare ARGUMENTS --out TMP`; the folder is gone afterwards.

    The input's path is taken out of the words: its folder is called ``headers`` or ``netflix`` here.
    """
    with scratch() as top:
        out = command("prepare", *arguments, "--out", str(top / "data"), folder=top / "data")
        file = next((Path(word) for word in arguments if Path(word).is_file()), Path("-"))
        out.words = out.words.replace(str(file), "FILE").replace(str(file.parent), "DIR")
        out.words = re.sub(rf"\b{re.escape(file.name.split('.')[0])}: ", "NAME: ", out.words)
        yield out


@contextlib.contextmanager
def scratch():
    top = Path(tempfile.mkdtemp(prefix="doors-"))
    try:
        yield top
    finally:
        shutil.rmtree(top, ignore_errors=True)


def shortened(words: str) -> str:
    return words if len(words) <= SHOWN else words[:SHOWN] + " …"


def is_users(error: BaseException) -> bool:
    """Whether it is a UserError; told by its name, wherever its module lies."""
    return any(kind.__name__ == "UserError" for kind in type(error).__mro__)
