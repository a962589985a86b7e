"""The folder of a training run, metrics.jsonl and checkpoints/, and resuming from it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import save_file
from tqdm.auto import tqdm

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_write
from p5t5.training.checkpointing import (
    clear_leftovers,
    damage,
    find_checkpoints,
    newest_valid,
    prune,
    read_state,
    write_checkpoint,
)
from p5t5.training.options import TrainOptions
from p5t5.training.weights import Weights

WEIGHTS, OPTIMIZER, METRICS, CHECKPOINTS = "model.safetensors", "optimizer.pt", "metrics.jsonl", "checkpoints"
AVERAGED = "averaged.safetensors"  # the average of the weights, where there is one


class RunFolder:
    """The files of a run. The main process writes; the others learn the outcome.

    ``history``: the lines of metrics.jsonl so far, as dictionaries.
    """

    def __init__(self, out: Path, is_main: bool, world: int):
        self.out, self.is_main, self.world = out, is_main, world
        self.history: list[dict[str, Any]] = []

    def open(self, options: TrainOptions) -> Path | None:
        """Makes the folder; with ``resume``, returns the newest intact checkpoint to continue from, if there is any.

        Raises UserError on all processes where the folder cannot be written to, or holds an unfinished run
        and neither ``resume`` nor ``restart`` is set.
        """

        def work() -> str | None:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                chosen = self._choose(options)
                clear_leftovers(self.out / CHECKPOINTS)
                self._rewind(None if chosen is None else read_state(chosen)["step"])
            except OSError as error:
                reason = error.strerror or str(error)
                raise UserError(
                    f"{self.out} cannot be written to ({reason}); choose another --out."
                ) from error
            return None if chosen is None else str(chosen)

        chosen = self._on_main(work)
        return None if chosen is None else Path(chosen)

    def read(self, checkpoint: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
        """A checkpoint's state, and the path of the best weights so far if they are intact.

        Raises UserError where the checkpoint belongs to a run with another ``identity``.
        """
        state = read_state(checkpoint)
        saved = state.get("identity", {})
        changed = [
            _describe_change(name, saved.get(name), identity.get(name))
            for name in [*identity, *(set(saved) - set(identity))]
            if saved.get(name) != identity.get(name)
        ]
        if changed:
            raise UserError(
                f"--resume: {checkpoint} was trained with {', '.join(changed)}; use the same, or --restart."
            )
        if state["best"] is None:
            return state, None
        best = checkpoint.parent / f"step-{state['best']['step']:08d}"
        problem = None if best == checkpoint else damage(best)
        if problem is not None:
            self._warn(f"{best.name}, the best so far, cannot be used: {problem}.")
        averaged = (best / AVERAGED).exists()
        return state, None if problem is not None else best / (AVERAGED if averaged else WEIGHTS)

    def load(self, weights: Weights, checkpoint: Path, state: Mapping[str, Any]) -> None:
        """Restores a checkpoint's weights, their average and the optimizer."""
        averaged = checkpoint / AVERAGED
        weights.load(
            checkpoint / WEIGHTS,
            checkpoint / OPTIMIZER,
            averaged if averaged.exists() else None,
            state["average"],
        )

    def save(self, weights: Weights, state: dict[str, Any], keep: int) -> None:
        """Writes a checkpoint and removes old ones, except the best. Raises UserError where it cannot be written."""
        trained, averaged, optimizer = (
            weights.tensors(),
            weights.averaged_tensors(),
            weights.optimizer_state(),
        )

        def work() -> None:
            root = self.out / CHECKPOINTS
            writers: dict[str, Callable[[Path], Any]] = {
                WEIGHTS: lambda path: save_file(trained, path),
                OPTIMIZER: lambda path: torch.save(optimizer, path),
            }
            if averaged is not None:
                writers[AVERAGED] = lambda path: save_file(averaged, path)
            write_checkpoint(root, state["step"], writers, state)
            prune(root, keep, protect=None if state["best"] is None else state["best"]["step"])

        self._on_main(work)

    def append(self, record: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        self.history.append(record)
        if self.is_main:
            with open(self.out / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def _choose(self, options: TrainOptions) -> Path | None:
        root = self.out / CHECKPOINTS
        checkpoints = find_checkpoints(root)
        if not checkpoints:
            return None
        newest, problems = newest_valid(root)
        if options.resume:
            if newest is None:
                raise UserError(
                    f"no checkpoint under {root} can be used: {'; '.join(problems)}. Use --restart."
                )
            for problem in problems:
                self._warn(f"{problem}; {newest.name} is used.")
            for _, path in checkpoints[checkpoints.index((int(newest.name.split("-")[1]), newest)) + 1 :]:
                shutil.rmtree(path)
            return newest
        finished = newest is not None and not problems and read_state(newest)["stopped"]
        if finished or options.restart:
            shutil.rmtree(root)
            return None
        raise UserError(
            f"{root} holds checkpoints of an unfinished run, up to step {checkpoints[-1][0]}: continue it with --resume, or "
            "start over with --restart."
        )

    def _rewind(self, step: int | None) -> None:
        """Empties metrics.jsonl, or drops the lines that a killed run wrote after its last checkpoint."""
        path = self.out / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if step is not None and path.is_file() else []
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line may be truncated
                record = json.loads(line)
                if record["step"] <= step:
                    self.history.append(record)
        atomic_write(path, "".join(json.dumps(record) + "\n" for record in self.history))

    def _on_main(self, work) -> Any:
        """Runs ``work`` on the main process; all processes get its result, or raise its UserError together."""
        answer: list[Any] = [None, None]
        if self.is_main:
            try:
                answer[0] = work()
            except UserError as error:
                answer[1] = str(error)
        if self.world > 1:
            broadcast_object_list(answer)
        if answer[1] is not None:
            raise UserError(answer[1])
        return answer[0]

    def _warn(self, text: str) -> None:
        if self.is_main:
            tqdm.write(f"warning: {text}", file=sys.stderr)


def _describe_change(name: str, saved: Any, current: Any) -> str:
    """How a difference is described: an option's value, or that a thing is another one."""
    if not name.startswith("--"):
        short = isinstance(saved, str) and saved.isalpha()
        return f"the {name} {saved}, not {current}" if short else f"another {name}"
    return f"{name} {saved if saved != '' else repr(saved)}"


class Window:
    """Sums since the last line of metrics.jsonl."""

    def __init__(self):
        self.loss: Any = 0.0
        self.steps = self.tokens = 0
        self.rate = 0.0
        self.norm: Any = None
        self.paused = 0.0
        self.began = time.monotonic()

    def add(self, loss: torch.Tensor, rate: float, norm: Any) -> None:
        self.loss = self.loss + loss
        self.steps += 1
        self.rate, self.norm = rate, norm

    def summary(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self.began - self.paused, 1e-9)
        return {
            "learning_rate": self.rate,
            "gradient_norm": float("nan") if self.norm is None else float(self.norm),
            "tokens_per_second": round(self.tokens / seconds, 1),  # real ones, of inputs and targets
        }
