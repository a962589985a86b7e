"""What is pushed is what may be shared, says what it is, and answers alike where it arrives."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT
from support.shared_model import write_folders

import p5t5
from p5t5.checkpoint.hub import READ, resolve
from p5t5.cli.main import main
from p5t5.core.errors import UserError
from p5t5.recommender import Recommender
from p5t5.workflows.push import MODEL_FILES

QUESTION = "I loved Alien (1979) and Fargo (1996). What should I watch next?"


class FakeApi:
    """Takes down what the Hub would be told, and what the uploaded folder held."""

    def __init__(self) -> None:
        self.created: list = []
        self.uploads: list = []

    def create_repo(self, repo, **how):
        self.created.append((repo, how))

    def upload_folder(self, folder_path, **how):
        root = Path(folder_path)
        held = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        self.uploads.append((how, held))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("push"))


@pytest.fixture(scope="module")
def pushed(folders):
    """The folder of a dry run."""
    out = folders[0].parent / "out"
    command = [
        "push",
        str(folders[0]),
        "me/films",
        "--dry_run",
        str(out),
        "--space",
        "--data",
        str(folders[1]),
    ]
    assert main(command) == 0
    return out


def test_only_what_may_be_shared_leaves(folders, pushed):
    names = {path.relative_to(pushed).as_posix() for path in pushed.rglob("*") if path.is_file()}
    made = {"README.md", "handler.py", "requirements.txt", ".eval_results/p5t5.yaml"}
    assert names <= {*MODEL_FILES, *made} and names >= {"model.safetensors", "p5t5.json", *made}
    assert not [
        name for name in names if name.endswith((".bin", ".jsonl", ".pkl", ".pt")) or "interactions" in name
    ]
    assert {path.stat().st_mode & 0o777 for path in pushed.rglob("*") if path.is_file()} == {0o644}
    everything = b"".join(path.read_bytes() for path in pushed.rglob("*") if path.is_file())
    assert b"/home/somebody" not in everything and str(folders[0]).encode() not in everything


def test_the_card_says_what_the_hub_reads(pushed):
    from huggingface_hub import ModelCard, parse_eval_result_entries

    card = ModelCard.load(str(pushed / "README.md")).data
    assert (card.license, card.license_name, card.library_name) == ("other", "unknown", "p5t5")
    assert card.language == ["en"] and card.datasets == ["me/films"] and "recommendation" in card.tags
    assert {(r.dataset_type, r.metric_type, r.metric_value) for r in card.eval_results} == {
        ("me/films", "ndcg@10", 0.25),
        ("me/films", "ndcg@10", 0.125),
    }
    (entry,) = parse_eval_result_entries(yaml.safe_load((pushed / ".eval_results/p5t5.yaml").read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == (
        "me/films",
        "sequential_next_item_ndcg@10",
        0.25,
    )


def test_the_card_tells_how_to_use_it_and_that_runs(pushed):
    (code,) = re.findall(r"```python\n(.*?)```", (pushed / "README.md").read_text(), re.DOTALL)
    assert 'from_pretrained("me/films")' in code
    exec(code.replace('"me/films"', repr(str(pushed))), {})


def test_another_process_without_extras_answers_alike(pushed, folders):
    """A stranger's two lines, offline, with nothing installed but what p5t5 needs."""
    program = f"""
import sys
for name in ("sklearn", "implicit", "surprise", "peft", "fastapi", "gradio", "uvicorn", "textblob", "pydantic", "sacrebleu"):
    sys.modules[name] = None
import json, p5t5
rec = p5t5.Recommender.from_pretrained({str(pushed)!r})
sys.path.insert(0, {str(pushed)!r})
from handler import EndpointHandler
handler = EndpointHandler({str(pushed)!r})
print(json.dumps([
    [[one.item_id, one.score] for one in rec({QUESTION!r}, k=5).items],
    handler({{"inputs": {QUESTION!r}, "parameters": {{"k": 5}}}}),
]))
"""
    # Not the tests' process: its environment is a stranger's, but for the code.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs, endpoint = json.loads(done.stdout.splitlines()[-1])
    ours = Recommender.from_pretrained(folders[0])(QUESTION, k=5).items
    assert theirs == [[one.item_id, one.score] for one in ours]
    assert [[one["item_id"], one["score"]] for one in endpoint["items"]] == theirs


@pytest.fixture(scope="module")
def handler(pushed):
    spec = importlib.util.spec_from_file_location("handler", pushed / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(pushed))


def test_an_endpoint_answers_in_plain_values(handler):
    history = ["Alien (1979)", {"item": "Heat (1995)", "rating": 5}, ["101", 2]]
    listed = handler({"inputs": {"history": history, "k": 2}})
    rated = handler({"inputs": {"operation": "rate", "item": "Fargo (1996)", "history": history}})
    ranked = handler({"inputs": {"operation": "rank", "candidates": ["Fargo (1996)", "Babe (1995)"]}})
    assert len(listed["items"]) == 2 and 1 <= rated["value"] <= 5 and len(ranked["items"]) == 2
    assert sum(rated["distribution"].values()) == pytest.approx(1)
    json.dumps([listed, rated, ranked], allow_nan=False)


@pytest.mark.parametrize(
    "data",
    [
        None, {}, [], {"inputs": None}, {"inputs": 3}, {"inputs": ""}, {"inputs": "x", "parameters": 3}, {"inputs": {"k": True}},
        {"inputs": {"operation": "__init__"}}, {"inputs": {"operation": ["rate"]}}, {"inputs": {"operation": "rate"}},
        {"inputs": {"history": [["Alien (1979)", "5; rm"]]}}, {"inputs": {"history": [{"a": []}]}}, {"inputs": {"history": [[[], {}]]}},
        {"inputs": {"history": [None]}}, {"inputs": {"k": 10**9}}, {"inputs": {"where": {"genres": {"a": 1}}}}, {"inputs": {"k": -1}},
        {"inputs": "x" * 20_000}, {"inputs": {"history": ["Alien (1979)"], "data": "/etc"}},
        {"inputs": "What next?", "parameters": {"data": "/etc/passwd"}}, {"inputs": {"history": ["Alien (1979)"] * 2000}},
    ],
)  # fmt: skip
def test_an_endpoint_says_what_is_wrong_and_opens_nothing(handler, data, monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail(f"opened {a}"))
    assert set(handler(data)) == {"error"}


def test_the_hub_is_told_the_same(folders, pushed):
    api = FakeApi()
    made = p5t5.push(folders[0], "me/films", private=True, space=True, data=str(folders[1]), api=api)
    assert made == [f"https://huggingface.co/{kind}me/films" for kind in ("", "datasets/", "spaces/")]
    assert [(repo, how["repo_type"], how["private"]) for repo, how in api.created] == [
        ("me/films", kind, True) for kind in ("model", "dataset", "space")
    ]
    for (how, held), folder in zip(api.uploads, (pushed, Path(f"{pushed}-data"), Path(f"{pushed}-space")), strict=True):  # fmt: skip
        written = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert held == written and set(how["allow_patterns"]) == set(held)


def test_the_space_is_a_page_over_the_model(pushed):
    space = Path(f"{pushed}-space")
    head = yaml.safe_load((space / "README.md").read_text().split("---")[1])
    assert head["sdk"] == "gradio" and head["app_file"] == "app.py" and head["models"] == ["me/films"]
    assert (space / "requirements.txt").read_text() == f"p5t5[ui]=={p5t5.__version__}\n"


def test_the_spaces_app_starts(pushed, monkeypatch):
    gradio = pytest.importorskip("gradio")
    started, fetched = [], []
    monkeypatch.setattr(gradio.Blocks, "launch", lambda page, **how: started.append(page))
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda repo, **how: fetched.append(repo) or str(pushed)
    )
    app = Path(f"{pushed}-space") / "app.py"
    assert len(app.read_text().splitlines()) <= 15
    exec(compile(app.read_text(), "app.py", "exec"), {"__name__": "__main__"})
    assert len(started) == 1 and set(fetched) == {"me/films"}


def test_the_data_are_a_data_folder_again(pushed, folders):
    from p5t5.data.records.loading import load

    assert load(f"{pushed}-data").hash == load(folders[1]).hash


def test_finished_work_and_wrong_names_are_refused(folders, pushed, tmp_path, capsys):
    before = (pushed / "README.md").read_bytes()
    for words, why in (
        ([str(folders[0]), "me/films", "--dry_run", str(pushed)], "holds a p5t5 model"),
        ([str(folders[0]), "films", "--dry_run", str(tmp_path / "a")], "OWNER/NAME"),
        ([str(folders[0]), "me/fi lms", "--dry_run", str(tmp_path / "a")], "OWNER/NAME"),
        ([str(folders[1]), "me/films", "--dry_run", str(tmp_path / "a")], "not a p5t5 checkpoint"),
        ([str(tmp_path / "none"), "me/films", "--dry_run", str(tmp_path / "a")], "is no folder"),
        (
            [str(folders[0]), "me/films", "--license", "mine!", "--dry_run", str(tmp_path / "a")],
            "identifiers",
        ),
        ([str(folders[0]), "me/films"], "could not be written to"),
    ):
        assert main(["push", *words]) == 2
        assert why in capsys.readouterr().err
    assert (pushed / "README.md").read_bytes() == before and not (tmp_path / "a").exists()


def test_only_files_that_are_read_come_from_the_hub(monkeypatch, tmp_path):
    asked: dict = {}
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda repo, **how: asked.update(how, repo=repo) or str(tmp_path)
    )
    assert resolve("me/films", "v1") == tmp_path
    assert asked == {"repo": "me/films", "revision": "v1", "allow_patterns": list(READ)}
    assert not {"*.py", "*.bin", "*.pkl", "*.pt", "*"} & set(READ)
    with pytest.raises(UserError, match="only Hub ids have revisions"):
        resolve(tmp_path, "v1")
