"""docs/api.md and docs/checkpoint.md: their Python runs in order, and the folder's files and fields are those of the code."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from support.paths import ROOT

from p5t5.checkpoint.info import CheckpointInfo, DataRecord
from p5t5.tasks.base import BuildOptions

API, CHECKPOINT = ((ROOT / "docs" / name).read_text() for name in ("api.md", "checkpoint.md"))


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A folder where everything that both pages show was run, and the names that it left."""
    folder = tmp_path_factory.mktemp("api")
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in [*blocks(API), *blocks(CHECKPOINT)]:
            exec(compile(code, "docs/api.md", "exec"), names)
    return folder, names


def test_what_the_api_page_shows_is_what_comes_back(road):
    _, names = road
    assert {"metric", "value"} <= set(names["result"].rows[0])
    assert names["table"].columns.tolist() == ["user_id", "rank", "item_id", "title", "score"]
    assert names["answer"].kind == "items" and len(names["answer"].items) == 5
    assert set(names["found"].counts) == {"new_items", "new_users", "new_interactions"}


def test_every_file_of_the_folder_is_explained(road):
    folder, _ = road
    table = CHECKPOINT.split("## p5t5.json")[0]
    for path in (folder / "runs" / "model").iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in table, path.name


def test_every_field_of_the_info_is_explained(road):
    folder, _ = road
    page = CHECKPOINT.split("## p5t5.json")[1]
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
