"""docs/sharing.md is what happens: its commands and its Python run in order, with a Hub that is a folder."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields

import pytest
from support.paths import ROOT
from support.shared_model import write_folders

from p5t5.cli.main import main
from p5t5.workflows.plain_answers import OPERATIONS, EndpointHandler
from p5t5.workflows.push import PushOptions

PAGE = (ROOT / "docs" / "sharing.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The folder in which everything was run, and what the uploads held."""
    folder, uploads = tmp_path_factory.mktemp("sharing"), []
    model, data = write_folders(folder / "runs")

    class Hub:
        def create_repo(self, repo, **how):
            pass

        def upload_folder(self, **how):
            uploads.append(how)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("huggingface_hub.HfApi", Hub)
        patch.setattr("huggingface_hub.snapshot_download", lambda repo, **how: str(folder / "to-upload"))
        for kind, text in BLOCKS:
            if kind == "bash":
                for line in text.strip().splitlines():
                    words = shlex.split(line)
                    assert words[0] == "p5t5" and main(words[1:]) == 0, line
            elif kind == "python":
                exec(compile(text, "docs/sharing.md", "exec"), {})
    assert model.is_dir() and data.is_dir()
    return folder, uploads


def test_every_block_runs_and_leaves_what_it_says(told):
    folder, uploads = told
    for name in ("to-upload/README.md", "plain-t5/config.json", "compare.json", "compare.html"):
        assert (folder / name).is_file(), name
    (upload,) = uploads
    assert upload["repo_id"] == "me/films" and "model.safetensors" in upload["allow_patterns"]
    assert {kind for kind, _ in BLOCKS} == {"bash", "python", "json"}


def test_the_requests_of_the_page_are_answered(told):
    handler = EndpointHandler(str(told[0] / "to-upload"))
    requests = [json.loads(text) for kind, text in BLOCKS if kind == "json"]
    assert len(requests) == 2
    for request in requests:
        assert handler(request)["items"]


def test_every_option_and_operation_is_on_the_page():
    for field in fields(PushOptions):
        assert field.name in ("folder", "repo") or f"--{field.name}" in PAGE, field.name
    assert all(f"`{operation}`" in PAGE for operation in OPERATIONS)
