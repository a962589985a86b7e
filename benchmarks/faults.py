"""What a run survives: stops, kills, damaged checkpoints, full and read-only folders. Both stages, dropout on.

nice python benchmarks/faults.py                    every case; some minutes on one core
python benchmarks/faults.py --case kills --quick    one case, a few trials of it

Prints a JSON line for each case: the share of trials that ended as they must, with the counts in "detail".
Each trial is a process of its own on a tiny model and simulated data; weights are compared to the bit with
those of a run that nothing happened to.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import torch
from accelerate import debug_launcher
from accelerate.state import AcceleratorState
from common.damaged_files import FAULTS

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.model.configuration import P5T5Config
from p5t5.model.initialization import initialize
from p5t5.text.mixture import make_mixture
from p5t5.text.prompts import load_prompts
from p5t5.text.rendering import render_mixture
from p5t5.training.checkpointing import damage, find_checkpoints
from p5t5.training.loop import train
from p5t5.training.options import TrainOptions
from p5t5.workflows.pretrain import PretrainOptions, denoising_source

STAGES = ("finetune", "pretrain")
STEPS = 30
DROPOUT = 0.1
NOBODY = 65534


class Stop(Exception):
    """An end between two steps."""


# What is trained


@cache
def problem():
    """The untrained model and, for each stage, what makes an epoch's examples."""
    split = leave_one_out(simulate(users=60, items=160, seed=1).data)
    checkpoint = create_checkpoint(split, load_prompts(), vocabulary_size=500)
    mixture, _ = make_mixture(split, checkpoint.prompts, None, checkpoint.build_options(), 0, 150)
    renderer = checkpoint.renderer_for(split.data)
    sources = {
        "finetune": cache(lambda epoch: render_mixture(renderer, mixture, epoch)),
        "pretrain": cache(denoising_source(checkpoint, split, PretrainOptions(), 0)),
    }
    size = checkpoint.model.config.vocab_size
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4}
    return initialize(P5T5Config(vocab_size=size, dropout_rate=DROPOUT, **shape), seed=1), sources


def options(stage: str, **changes) -> TrainOptions:
    """The average of the weights is on in one stage, for it is a file more."""
    fields = {
        "max_steps": STEPS,
        "token_budget": 512,
        "checkpoint_every": 4,
        "eval_every": 7,
        "accumulation": 2,
        "ema": 0.2 if stage == "finetune" else 0.0,
        "precision": "no",
        "log_every": 1,
    }
    return TrainOptions(**{**fields, **changes})


class Validation:
    """A figure that moves with the weights; on several processes each is asked, as in the real one."""

    def __init__(self, stop_at: int = 0):
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, model) -> dict[str, float]:
        return self.combine([self.part(model, 0, 1)])

    def part(self, model, rank: int, world: int) -> float:
        self.calls += 1
        if self.calls == self.stop_at:
            raise Stop
        return float(vector(model).sum().sin())

    def combine(self, parts: list[float]) -> dict[str, float]:
        return {"ndcg@10": parts[0]}


def vector(model) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def trained(stage: str, out: Path, validate: Validation | None = None, **changes) -> torch.Tensor:
    """The final weights of a run; cast ends as train() ends it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    model, sources = problem()
    model = deepcopy(model).train()
    train(model, sources[stage], options(stage, **changes), out, validate or Validation(), notes=())
    return vector(model)


@cache
def unbroken(stage: str, **changes) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as folder:
        return trained(stage, Path(folder), **changes)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def in_child(work: Callable[[], None], errors: Path) -> int:
    """Starts a process that does ``work``; its id. What goes wrong in it is written to ``errors``."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        work()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        errors.write_text(traceback.format_exc())
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Waits for a child; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Cases


def resume(stage: str, processes: int, folder: Path, trials: int) -> tuple[float, dict]:
    """Stopped after some step, then resumed: the same final weights."""
    steps = random.Random(f"{stage}{processes}").choices(range(1, STEPS), k=trials)
    if processes == 1:
        exact = _resume_all(stage, folder, steps)
    else:
        debug_launcher(_resume_in_two, (stage, folder, steps), num_processes=processes)
        exact = json.loads((folder / "exact.json").read_text())
    return sum(exact) / len(exact), {"stops": steps, "exact": sum(exact), "dropout": DROPOUT}


def _resume_all(stage: str, folder: Path, steps: list[int]) -> list[bool]:
    whole = trained(stage, folder / "whole", eval_every=1)
    exact = []
    for number, step in enumerate(steps):
        out = folder / str(number)
        try:
            trained(stage, out, Validation(stop_at=step), eval_every=1)
            exact.append(False)  # it was not stopped
        except Stop:
            exact.append(torch.equal(trained(stage, out, eval_every=1, resume=True), whole))
    return exact


def _resume_in_two(stage: str, folder: Path, steps: list[int]) -> None:
    torch.set_num_threads(1)
    exact = _resume_all(stage, folder, steps)
    ranks = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(ranks, exact)
    assert len(ranks) == 2
    (folder / "exact.json").write_text(json.dumps([all(both) for both in zip(*ranks, strict=True)]))


def kills(folder: Path, trials: int) -> tuple[float, dict]:
    """SIGKILL at random moments, every other one while a checkpoint is being written; started again each time."""
    draw = random.Random(7)
    done = inside = runs = equal = 0
    failures: list[str] = []
    stage = STAGES[0]
    out = folder / "0"
    while True:
        weights, errors = out / "weights.pt", folder / "error.txt"

        def work(stage=stage, out=out, weights=weights):
            found = trained(stage, out, max_steps=60, checkpoint_every=2, eval_every=10, resume=True)
            torch.save(found, weights)

        child = in_child(work, errors)
        code = _killed(child, out, draw) if done < trials else ended(child)
        done += code == -signal.SIGKILL
        if code == -signal.SIGKILL:
            inside += bool(list((out / "checkpoints").glob(".step-*")))
            continue
        if code or not weights.exists():
            failures.append(errors.read_text().splitlines()[-1] if errors.exists() else f"exit code {code}")
        else:
            whole = unbroken(stage, max_steps=60, checkpoint_every=2, eval_every=10)
            equal += torch.equal(torch.load(weights), whole)
        runs += 1
        if done >= trials or len(failures) > 3:
            break
        stage, out = STAGES[runs % 2], folder / str(runs)
    detail = {"kills": done, "inside_a_save": inside, "runs": runs, "equal": equal, "failed_starts": failures}
    return equal / runs if not failures else 0.0, detail


def _killed(child: int, out: Path, draw: random.Random) -> int:
    """Kills the child after a moment, or at the next save after it; its exit code if it was faster."""
    moment = time.monotonic() + draw.uniform(0.05, 1.2)
    saving = draw.random() < 0.5
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > moment and (not saving or list((out / "checkpoints").glob(".step-*"))):
            os.kill(child, signal.SIGKILL)
            return ended(child)
        time.sleep(0.0005)


def damages(folder: Path, trials: int) -> tuple[float, dict]:
    """Each file of the newest checkpoint × each fault: named, and recovered to the same final weights."""
    named = recovered = count = 0
    failed = []
    for stage in STAGES:
        trained(stage, folder / stage, max_steps=STEPS)
        newest = find_checkpoints(folder / stage / "checkpoints")[-1][1].name
        for file in sorted(path.name for path in (folder / stage / "checkpoints" / newest).iterdir()):
            for fault in FAULTS[: max(trials // 8, 1)]:
                out = folder / f"{stage}-{file}-{fault.__name__}"
                shutil.copytree(folder / stage, out)
                fault(out / "checkpoints" / newest / file)
                problem = damage(out / "checkpoints" / newest) or ""
                is_named = file in problem
                is_exact = torch.equal(trained(stage, out, resume=True), unbroken(stage))
                named, recovered, count = named + is_named, recovered + is_exact, count + 1
                failed += [] if is_named and is_exact else [out.name]
                shutil.rmtree(out)
    detail = {"faults": count, "named": named, "recovered": recovered, "failed": failed}
    return min(named, recovered) / count, detail


def full_disk(folder: Path, trials: int) -> tuple[float, dict]:
    """Files can't grow beyond a limit, as on a full disk: one line, earlier checkpoints whole, then resumed.

    The limit is the operating system's own (RLIMIT_FSIZE), reached within each of the files in turn.
    """
    return _refused_writes(folder, trials, _with_little_room)


def read_only(folder: Path, trials: int) -> tuple[float, dict]:
    """The folder of the checkpoints loses its write permission during the run: the same is asked."""
    return _refused_writes(folder, trials, _without_permission)


def _refused_writes(folder: Path, trials: int, spoil: Callable) -> tuple[float, dict]:
    passed, count, messages = 0, max(trials // 8, 1), set()
    for number in range(count):
        stage = STAGES[number % 2]
        out = folder / str(number)
        out.mkdir(parents=True)
        for path in (folder, *folder.parents[:1], out):
            path.chmod(0o777)
        child = in_child(lambda out=out, stage=stage, n=number: spoil(stage, out, n), folder / "error.txt")
        code = ended(child)
        message = (out / "told.txt").read_text() if (out / "told.txt").exists() else ""
        (out / "checkpoints").chmod(0o777)
        left = find_checkpoints(out / "checkpoints")
        whole = bool(left) and all(damage(path) is None for _, path in left)
        exact = torch.equal(trained(stage, out, resume=True), unbroken(stage))
        messages.add(message.split("(")[-1].split(")")[0])
        passed += code == 0 and "no checkpoint could be written" in message and whole and exact
    return passed / count, {"trials": count, "passed": passed, "reasons": sorted(messages)}


def _with_little_room(stage: str, out: Path, number: int) -> None:
    """Room for less than the model's file, or for less than the optimiser's, after the first checkpoint."""

    class Filling(Validation):
        def part(self, model, rank, world):
            sizes = sorted(path.stat().st_size for path in (out / "checkpoints").glob("step-*/*.[sp]*"))
            room = sizes[-1] // 3 if number % 4 < 2 else sizes[-1] - 100_000
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            return super().part(model, rank, world)

    _expect_refusal(stage, out, Filling())


def _without_permission(stage: str, out: Path, number: int) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)  # root may write everywhere

    class Locking(Validation):
        def part(self, model, rank, world):
            (out / "checkpoints").chmod(0o500)
            return super().part(model, rank, world)

    _expect_refusal(stage, out, Locking())


def _expect_refusal(stage: str, out: Path, validate: Validation) -> None:
    try:
        trained(stage, out, validate)
    except UserError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (out / "told.txt").write_text(str(error))


CASES: dict[str, Callable[[Path, int], tuple[float, dict]]] = {
    **{
        f"resume_{stage}_{processes}": lambda folder, trials, stage=stage, processes=processes: resume(
            stage, processes, folder, max(trials // 5, 1)
        )
        for processes in (1, 2)
        for stage in STAGES
    },
    "kills": kills,
    "damages": damages,
    "full_disk": full_disk,
    "read_only": read_only,
}


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=list(CASES), help="one case; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a few trials of each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a forked child must not use its parent's OpenMP threads
    sys.stderr.flush()
    passed = True
    for name in arguments.case or CASES:
        began, used = time.monotonic(), cpu_seconds()
        with tempfile.TemporaryDirectory(prefix="p5t5-faults-") as folder:
            value, detail = CASES[name](made(Path(folder) / "runs"), 8 if arguments.quick else 100)
        detail["seconds"] = round(time.monotonic() - began, 1)
        detail["cpu_seconds"] = round(cpu_seconds() - used, 1)
        print(json.dumps({"case": name, "value": value, "detail": detail}), flush=True)
        passed &= value == 1
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
