"""``p5t5 serve`` as a process: it starts, answers, takes a new model, gives slow clients up, and ends cleanly."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from support.paths import ROOT
from support.served import save_films

from p5t5.cli.main import main

pytest.importorskip("fastapi")


def call(port: int, path: str, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.loads(response.read())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(folder, port, process)"""
    root = tmp_path_factory.mktemp("served")
    save_films(root)
    save_films(root / "other", seed=1)
    line = [
        sys.executable,
        "-m",
        "p5t5",
        "serve",
        "--model",
        "model",
        "--data",
        "data",
        "--port",
        "0",
        "--body_seconds",
        "0.5",
        "--feedback",
        "kept",
    ]
    process = subprocess.Popen(
        line, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"serving [0-9a-f]{12} at http://127\.0\.0\.1:(\d+)$", said.strip())
    assert found, (said, process.stderr.read() if process.stderr else "")
    yield root, int(found[1]), process
    process.kill()


def test_it_answers_reloads_and_ends(served):
    root, port, process = served
    first = call(port, "/recommend", {"history": ["Heat (1995)"], "k": 3})
    assert len(first["items"]) == 3 and call(port, "/health/ready")["status"] == "ready"
    assert call(port, "/feedback", {"user": 99, "item": "Heat (1995)", "rating": 4})["remembered"] == 1
    assert [path.name for path in (root / "kept").iterdir()] == ["feedback-000001.jsonl"]
    for stuck in (
        b"POST /recommend HTTP/1.1\r\nHost: x\r\n",
        b"",
        b"POST /query HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ):
        with socket.create_connection(("127.0.0.1", port), 10) as slow:
            slow.sendall(stuck)
            start = time.monotonic()
            answer = b""
            while part := slow.recv(1000):
                answer += part
            assert time.monotonic() - start < 5 and (not answer or b" 408 " in answer or b" 422 " in answer)
    shutil.copytree(root / "other/model", root / "model", dirs_exist_ok=True)
    process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while call(port, "/health/live")["checkpoint"] == first["checkpoint"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert call(port, "/recommend", {"history": ["Heat (1995)"], "k": 3})["items"] != first["items"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    log = process.stderr.read()
    assert "Traceback" not in log and '"reload": "done"' in log and "Heat" not in log


@pytest.mark.parametrize(
    "line, says",
    [
        ("--model {root}/none", "no folder"),
        ("--model {root}/model --host 0.0.0.0", "without a key"),
        ("--model {root}/model --dtype int3", "bfloat16"),
        ("--model {root}/model --api_key_file {root}/none", "api_key_file"),
        ("--model {root}/model --port {port}", "taken"),
    ],
)
def test_mistakes_get_one_line(served, line, says, capsys, monkeypatch):
    monkeypatch.delenv("P5T5_API_KEY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = line.format(root=served[0], port=taken.getsockname()[1]).split()
        assert main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
