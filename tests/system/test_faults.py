"""Damaged checkpoints are named and passed over; disks that can't be written give one clear line."""

from __future__ import annotations

import errno
import importlib.util
import os
import resource

import numpy as np
import pytest
import torch
from support.paths import ROOT
from support.tiny_training import run, tiny_model, vector

from p5t5.core.errors import UserError
from p5t5.training import checkpointing
from p5t5.training.checkpointing import damage, find_checkpoints, newest_valid, write_checkpoint

spec = importlib.util.spec_from_file_location(
    "damaged_files", ROOT / "benchmarks" / "common/damaged_files.py"
)
damaged_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(damaged_files)

SETTINGS = {"max_steps": 8, "checkpoint_every": 2, "keep": 3}
FILES = ("model.safetensors", "optimizer.pt", "state.json", "manifest.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with checkpoints at 4, 6 and 8 of an unbroken run, and its weights."""
    folder = tmp_path_factory.mktemp("finished")
    model, _ = run(folder, tiny_model(0.2), **SETTINGS)
    return folder, vector(model)


@pytest.mark.parametrize("fault", damaged_files.FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", FILES)
def test_every_fault_is_named_and_recovered(tmp_path, finished, name, fault, capsys):
    source, weights = finished
    import shutil

    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    fault(tmp_path / "checkpoints" / "step-00000008" / name)
    resumed, result = run(tmp_path, tiny_model(0.2), resume=True, **SETTINGS)
    warning = capsys.readouterr().err
    assert "step-00000008 is damaged" in warning and "step-00000006 is used" in warning
    assert f"damaged: {name}" in warning
    assert torch.equal(vector(resumed), weights) and result.steps == 8


def test_nothing_whole_is_left(tmp_path, finished):
    for _, path in find_checkpoints(finished[0] / "checkpoints"):
        copy = tmp_path / "checkpoints" / path.name
        copy.mkdir(parents=True)
        (copy / "state.json").write_text((path / "state.json").read_text())
    assert newest_valid(tmp_path / "checkpoints")[0] is None
    with pytest.raises(
        UserError, match=r"no checkpoint under .* can be used: step-00000008 is damaged: manifest"
    ):
        run(tmp_path, resume=True, **SETTINGS)


def test_a_kill_inside_a_save_leaves_the_last_one(tmp_path, monkeypatch):
    """Dies before the rename: the half-written folder has no valid name, and is cleared away later."""
    root = tmp_path / "checkpoints"
    write_checkpoint(root, 1, {"a": lambda path: path.write_text("a")}, {"step": 1})

    class Killed(BaseException):
        pass

    def die(folder):
        raise Killed

    monkeypatch.setattr(checkpointing, "_write_manifest", die)
    with pytest.raises(Killed):
        write_checkpoint(root, 2, {"a": lambda path: path.write_text("b")}, {"step": 2})
    assert [step for step, _ in find_checkpoints(root)] == [1] and len(list(root.iterdir())) == 2
    assert newest_valid(root)[0].name == "step-00000001"
    checkpointing.clear_leftovers(root)
    assert [path.name for path in root.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("PytorchStreamWriter: enforce fail: file write"),
    ],
)
def test_a_full_disk_gives_one_line_and_keeps_the_last_checkpoint(tmp_path, monkeypatch, error):
    calls = []
    save = torch.save

    def full(*arguments, **named):
        calls.append(1)
        if len(calls) > 2:
            raise error
        return save(*arguments, **named)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"no checkpoint could be written .* at step 6"):
        run(tmp_path, tiny_model(0.2), **SETTINGS)
    root = tmp_path / "checkpoints"
    assert [step for step, _ in find_checkpoints(root)] == [2, 4] and not list(root.glob(".*"))
    assert damage(root / "step-00000004") is None


@pytest.mark.parametrize(("share", "reason"), [(0.3, "File too large"), (0.95, "written to its end")])
def test_files_that_the_system_cuts_off(tmp_path, share, reason):
    """Real refusals, of safetensors' writer (the smaller file) and of torch's: each has an error type of its own."""
    root = tmp_path / "checkpoints"

    def validate(model):
        largest = max(path.stat().st_size for path in root.glob("step-*/*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * largest), limits[1]))
        return {"ndcg@10": 0.0}

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(UserError, match=rf"no checkpoint could be written .* at step 3 \(.*{reason}"):
            run(tmp_path, tiny_model(0.2), validate=validate, **{**SETTINGS, "eval_every": 3})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [step for step, _ in find_checkpoints(root)] == [2] and not list(root.glob(".*"))
    assert damage(root / "step-00000002") is None


def test_errors_that_are_not_the_disks_are_not_disguised(tmp_path):
    def broken(path):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write_checkpoint(tmp_path, 1, {"a": broken}, {})


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(UserError, match="choose another --out"):
        run(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="choose another --out"):
            run(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_damaged_best_is_forgotten(tmp_path, capsys):
    values = iter([0.9, 0.1, 0.1, 0.1, 0.1])
    changes = {**SETTINGS, "keep": 1, "eval_every": 2}
    run(tmp_path, validate=lambda model: {"ndcg@10": next(values)}, **changes)
    assert [step for step, _ in find_checkpoints(tmp_path / "checkpoints")] == [2, 8]
    damaged_files.bit_flip(tmp_path / "checkpoints" / "step-00000002" / "model.safetensors")
    _, result = run(tmp_path, validate=lambda model: {"ndcg@10": 0.0}, resume=True, **changes)
    assert "step-00000002, the best so far, cannot be used" in capsys.readouterr().err
    assert result.best is None
    assert np.isfinite(result.elapsed)
