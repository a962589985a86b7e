"""docs/serving.md is what happens: its commands, requests and Python run, in order, on a small model."""

from __future__ import annotations

import json
import re
import shlex
import threading
import time
import urllib.request

import pytest
from support.paths import ROOT
from support.served import save_films

pytest.importorskip("fastapi")
import uvicorn

from p5t5.cli.options import parse
from p5t5.serving.app import app
from p5t5.serving.settings import Settings

PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SHORT = "max_steps=2, checkpoint_every=0, token_budget=1024"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("serving")
    save_films(root / "runs/quickstart")
    return root


@pytest.fixture(scope="module")
def port(folder):
    settings = Settings(
        model=str(folder / "runs/quickstart/model"),
        data=str(folder / "runs/quickstart/data"),
        feedback=str(folder / "runs/feedback"),
    )
    server = uvicorn.Server(uvicorn.Config(app(settings, ""), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def curl(words: list[str]) -> dict:
    """What `curl -s URL [--json BODY]` does."""
    assert words[:2] == ["curl", "-s"] and (len(words) == 3 or words[3] == "--json")
    body = words[4].encode() if len(words) > 3 else None
    request = urllib.request.Request(f"http://{words[2]}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def test_every_block_runs(folder, port, monkeypatch):
    monkeypatch.chdir(folder)
    asked = set()
    for kind, text in BLOCKS:
        text = text.replace("localhost:8000", f"localhost:{port}").replace("max_steps=200", SHORT)
        if kind == "python":
            exec(compile(text, "docs/serving.md", "exec"), {})
            continue
        assert kind == "bash"
        for line in text.strip().splitlines():
            words = shlex.split(line)
            if words[:2] == ["p5t5", "serve"]:
                parse((Settings,), words[2:], name="serve", about="", example="")
                continue
            said = curl(words)
            assert re.fullmatch("[0-9a-f]{12}", said["checkpoint"]), line
            asked.add(words[2].partition("/")[2].partition("?")[0])
    assert asked == {
        "recommend",
        "similar",
        "rank",
        "rate",
        "explain",
        "summarize",
        "query",
        "feedback",
        "items",
    }
    assert (folder / "runs/updated/p5t5.json").is_file()


def test_the_page_names_options_that_exist():
    named = set(re.findall(r"--(\w+)", re.sub(r"```.*?```|pip install[^\n]*", "", PAGE, flags=re.DOTALL)))
    fields = {field.replace("-", "_") for field in Settings.__dataclass_fields__}
    assert named - {"batch", "help"} <= fields


def test_the_page_describes_every_path(folder):
    made = app(Settings(model=str(folder / "runs/quickstart/model")), "")
    for path in made.openapi()["paths"]:
        assert path in PAGE, path
