"""FSDP2 on two processes (gloo): the weights of one process, checkpoints that are whole, an exact resume.

Accelerate offers FSDP for accelerators alone. The tests put its own FSDP2 plugin into a CPU Accelerator,
so that everything behind that switch is Accelerate's and torch's code, and ours.
"""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from support.paths import ROOT
from support.tiny_training import examples, launch, options, rank, run, tiny_model, vector

from p5t5.core.errors import UserError
from p5t5.training.loop import train
from p5t5.training.lora import Adapters

CONFIG = ROOT / "configs" / "accelerate" / "fsdp2.yaml"


def sharded(version: int = 2) -> Accelerator:
    """A CPU Accelerator with the plugin that configs/accelerate/fsdp2.yaml describes."""
    chosen = yaml.safe_load(CONFIG.read_text())["fsdp_config"]
    assert chosen["fsdp_version"] == 2 and chosen["fsdp_auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
    accelerator = Accelerator(cpu=True)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=version,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=[chosen["fsdp_transformer_layer_cls_to_wrap"]],
        reshard_after_forward=chosen["fsdp_reshard_after_forward"] if version == 2 else "FULL_SHARD",
        cpu_ram_efficient_loading=chosen["fsdp_cpu_ram_efficient_loading"],
    )
    accelerator.state.distributed_type = DistributedType.FSDP
    return accelerator


def validate(model) -> dict[str, float]:
    assert not model.training and all(type(value.data) is torch.Tensor for value in model.parameters())
    return {"ndcg@10": float(vector(model).sum().sin())}


CHANGES = {"max_steps": 8, "checkpoint_every": 3, "eval_every": 2, "keep": 9, "accumulation": 2}


def _train(folder, dropout: float, ema: float, untied: bool) -> None:
    model = tiny_model(dropout, untied_head=untied)
    chosen = options(**CHANGES, ema=ema)
    result = train(model, examples, chosen, folder / "run", validate, sharded())
    assert all(type(value.data) is torch.Tensor for value in model.parameters())
    torch.save((vector(model), result.best, result.history), folder / f"{rank()}.pt")


@pytest.mark.parametrize(("ema", "untied"), [(0.0, False), (0.3, True)])
def test_the_weights_are_those_of_one_process(tmp_path, ema, untied):
    launch(_train, tmp_path, 0.0, ema, untied)
    (first, best, history), (second, other_best, _) = (
        torch.load(tmp_path / f"{place}.pt") for place in (0, 1)
    )
    model, result = run(
        tmp_path / "one", tiny_model(untied_head=untied), validate=validate, ema=ema, **CHANGES
    )
    assert torch.equal(first, second) and best == other_best
    torch.testing.assert_close(first, vector(model), rtol=1e-4, atol=1e-5)
    assert best["step"] == result.best["step"] and best["value"] == pytest.approx(
        result.best["value"], abs=1e-3
    )
    names = ("loss", "gradient_norm")
    for ours, theirs in zip(history, result.history, strict=True):
        for name in names if "loss" in ours else ():
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), (ours["step"], name)
    # What is on the disk is whole: the same files as of one process, so either may go on from the other's.
    for name in ["model.safetensors"] + ["averaged.safetensors"] * bool(ema):
        theirs, ours = (
            load_file(tmp_path / where / "checkpoints" / "step-00000006" / name) for where in ("one", "run")
        )
        assert theirs.keys() == ours.keys()
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5)


def _resume(folder, ema: float) -> None:
    changes = {**CHANGES, "max_steps": 9, "eval_every": 0, "checkpoint_every": 3, "ema": ema}
    whole = tiny_model(0.2)
    train(whole, examples, options(**changes), folder / "whole", accelerator=sharded())

    def stops(epoch):
        if epoch:
            raise KeyboardInterrupt
        return examples(epoch)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model(0.2), stops, options(**changes), folder / "halves", accelerator=sharded())
    again = tiny_model(0.2)
    train(again, examples, options(**changes, resume=True), folder / "halves", accelerator=sharded())
    assert torch.equal(vector(whole), vector(again))
    (folder / f"equal-{rank()}").touch()


def test_resume_is_bit_exact_with_dropout(tmp_path):
    ema = 0.3
    launch(_resume, tmp_path, ema)
    assert (tmp_path / "equal-0").exists() and (tmp_path / "equal-1").exists()
    # And one process, without shards, goes on from the checkpoint of two.
    shutil.rmtree(tmp_path / "halves" / "checkpoints" / "step-00000009")
    changes = {**CHANGES, "max_steps": 9, "eval_every": 0, "ema": ema, "resume": True}
    alone, _ = run(tmp_path / "halves", tiny_model(0.0), **changes)
    assert torch.isfinite(vector(alone)).all()


def _refuse(folder) -> None:
    with pytest.raises(UserError, match="fsdp_version: 2"):
        train(tiny_model(), examples, options(), folder, accelerator=sharded(version=1))
    adapted = tiny_model()
    Adapters(adapted, 2, [4])
    with pytest.raises(UserError, match="frozen weights"):
        train(adapted, examples, options(), folder, accelerator=sharded())
    deepspeed = sharded()
    deepspeed.state.distributed_type = DistributedType.DEEPSPEED
    with pytest.raises(UserError, match="DEEPSPEED steps the optimizer by itself"):
        train(tiny_model(), examples, options(), folder, accelerator=deepspeed)
    (folder / f"refused-{rank()}").touch()


def test_what_is_not_supported_is_said(tmp_path):
    launch(_refuse, tmp_path)
    assert (tmp_path / "refused-0").exists() and (tmp_path / "refused-1").exists()
