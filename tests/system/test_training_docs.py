"""docs/training.md: its options exist, its Python runs, the files that it names are there and say the same."""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml
from support.paths import ROOT

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.cli.main import main
from p5t5.training.options import TrainOptions
from p5t5.workflows.finetune import FinetuneOptions
from p5t5.workflows.model_setup import StartOptions

PAGE = (ROOT / "docs" / "training.md").read_text()
ACCELERATE = ("config_file", "num_processes", "num_machines", "machine_rank", "main_process_ip")
ACCELERATE += ("main_process_port", "nproc_per_node")
BENCHMARKS = ("case",)


def test_options_that_are_named_exist():
    ours = {
        field.name
        for kind in (StartOptions, FinetuneOptions, TrainOptions)
        for field in dataclasses.fields(kind)
    }
    for name in re.findall(r"--(\w+)", PAGE):
        assert name in ours or name in ACCELERATE + BENCHMARKS, name


def test_files_that_are_named_exist():
    for path in re.findall(r"(?:scripts|configs|tests|benchmarks)/[\w/]+\.\w+", PAGE):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "accelerate").glob("*.yaml")), ids=lambda p: p.stem
)
def test_accelerate_reads_its_configurations(path):
    """Unknown keys are refused by accelerate itself."""
    from accelerate.commands.config import load_config_from_file

    config = load_config_from_file(str(path))
    assert (
        config.num_machines == 1
        and str(config.distributed_type.value) == yaml.safe_load(path.read_text())["distributed_type"]
    )


def test_the_trainer_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "simulated", "--users", "60", "--items", "160", "--out", "runs/shop"]) == 0
    few = "--max_steps 1 --checkpoint_every 0 --token_budget 1024"
    assert main(f"pretrain --data runs/shop --out runs/pretrained {few}".split()) == 0
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 10
    quick = '"max_steps": 2, "use_cpu": True, "report_to": [], "disable_tqdm": True'
    assert '"max_steps": 1000' in code
    code = code.replace('"max_steps": 1000', quick)
    names: dict = {}
    exec(compile(code, "docs/training.md", "exec"), names)
    assert (
        names["trainer"].state.global_step == 2 and names["trainer"].state.log_history[-1]["train_loss"] > 0
    )
    assert Checkpoint.load("runs/model").info.data == Checkpoint.load("runs/pretrained").info.data
