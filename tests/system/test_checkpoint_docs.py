"""docs/checkpoint.md: its Python runs, and the folder's files and fields are those of the code."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from support.paths import ROOT

from p5t5.checkpoint.info import CheckpointInfo, DataRecord
from p5t5.cli.main import main
from p5t5.tasks.base import BuildOptions

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "checkpoint.md").read_text()
ROAD = (
    "prepare simulated --users 60 --items 160 --out runs/shop",
    "finetune --data runs/shop --model tiny --out runs/model --max_steps 2 --checkpoint_every 0",
    "evaluate --data runs/shop --model runs/model --out runs/results.json --limit 20 --fusion true --tasks sequential/next_item,review/headline",
)


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A folder with a model that was evaluated, in which the page's Python was run, and the names that it left."""
    folder = tmp_path_factory.mktemp("road")
    names: dict = {}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in ROAD:
            assert main(command.split()) == 0
        exec(compile(code, "docs/checkpoint.md", "exec"), names)
    return folder, names


def test_every_file_of_the_folder_is_explained(road):
    folder, _ = road
    table = PAGE.split("## p5t5.json")[0]
    for path in (folder / "runs" / "model").iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in table, path.name


def test_every_field_of_the_info_is_explained(road):
    folder, _ = road
    page = PAGE.split("## p5t5.json")[1]
    found = json.loads((folder / "runs" / "model" / "p5t5.json").read_text())
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(found)
    assert {field.name for field in dataclasses.fields(CheckpointInfo)} <= set(found)
    for kind in (DataRecord, BuildOptions):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in page, field.name
    assert all(f"`{name}`" in page for name in found["fitted"])


def test_the_exported_model_loads_as_a_plain_t5(road):
    from transformers import T5ForConditionalGeneration

    folder, names = road
    plain = T5ForConditionalGeneration.from_pretrained(folder / "runs" / "plain-t5")
    assert plain.num_parameters() == names["checkpoint"].model.num_parameters()
