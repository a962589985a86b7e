"""A model's folder as a repository of the Hub: what is published, its card, and what runs it there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from p5t5._version import __version__
from p5t5.core.errors import UserError
from p5t5.core.files import finished_work, make_readable
from p5t5.core.options import from_keywords, option, required
from p5t5.workflows.model_setup import LOG, Log

if TYPE_CHECKING:
    from p5t5.checkpoint.info import CheckpointInfo
    from p5t5.data.licences import Licence

# What may leave the machine: never training state, interactions, pickles, or anything that is not named here.
MODEL_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "catalogue.parquet", "trie.safetensors", "users.parquet", "prompts.yaml",
    "p5t5.json", "words.parquet", "item_ngrams.parquet", "fusion.json", "fusion.safetensors", "results.json",
)  # fmt: skip
NEEDED = ("config.json", "model.safetensors", "tokenizer.json", "catalogue.parquet", "trie.safetensors")
DATA_FILES = ("interactions.parquet", "items.parquet", "users.parquet", "triples.parquet")
EVAL_RESULTS = ".eval_results/p5t5.yaml"
HANDLER = '''"""Hugging Face Inference Endpoints: {"inputs": "a question"}, or {"inputs": {"operation": "recommend", …}}."""

from p5t5.workflows.plain_answers import EndpointHandler

__all__ = ["EndpointHandler"]
'''
APP = '''"""The page of {repo}: build a history, see recommendations and reasons, ask in words."""

from p5t5.serving.page import space

space({model!r})
'''


@dataclass
class PushOptions:
    """What is published where."""

    folder: str = required("the folder of a fine-tuned model")
    repo: str = required("the repository on the Hub: OWNER/NAME")
    private: bool = option(False, "only you, or your organization, can see it")
    dry_run: str = option(
        "", "write what would be uploaded to this folder instead (beside it: -space, -data)"
    )
    space: bool = option(False, "publish a Space of the same name too: the page over the model")
    data: str = option("", "publish this data folder too, as a data set of the same name: all interactions")
    dataset: str = option("", "the Hub id of the data, if they are there already: results refer to it")
    license: str = option("", "a licence by the Hub's identifier (default: what is known of the data)")


def push(folder: str | Path, repo: str, *, log: Log = LOG, api: Any = None, **options: Any) -> list[str]:
    """Uploads the model in ``folder`` to the Hub's ``repo``; with ``dry_run``, writes the very files to a folder instead.

    ``options``: those of ``p5t5 push`` (PushOptions); ``api``: a `huggingface_hub.HfApi`, by default with the token of
    this machine. Returns what was made: repositories, or folders. Raises UserError for a folder that is no model, a
    licence that the data forbid, and where the Hub refuses.
    """
    (chosen,) = from_keywords("push", (PushOptions,), {"folder": folder, "repo": repo, **options})
    return push_with(chosen, log=log, api=api)


def push_with(options: PushOptions, *, log: Log = LOG, api: Any = None) -> list[str]:
    """`push` from its options."""
    _check_repo(options.repo, "REPO")
    if options.dataset:
        _check_repo(options.dataset, "--dataset")
    parts: list[tuple[str, Callable[[Path], None]]] = [("model", lambda out: write_model(options, out))]
    if options.data:
        parts.append(("dataset", lambda out: write_data(options, out)))
    if options.space:
        parts.append(("space", lambda out: write_space(options, out)))
    made = []
    with tempfile.TemporaryDirectory(prefix="p5t5-push-") as scratch:
        for kind, write in parts:  # all are written before the first leaves
            if options.dry_run:
                _check_target(_target(kind, options.dry_run))
            (Path(scratch) / kind).mkdir()
            write(Path(scratch) / kind)
        for kind, _ in parts:
            staged = Path(scratch) / kind
            names = sorted(
                path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file()
            )
            size = sum((staged / name).stat().st_size for name in names)
            if options.dry_run:
                target = _target(kind, options.dry_run)
                shutil.copytree(staged, target, dirs_exist_ok=True)
                made.append(str(target))
            else:
                made.append(_upload(staged, names, kind, options, api))
            if kind == "model" and EVAL_RESULTS not in names:
                log(
                    "no .eval_results: they need results.json in the folder, and --dataset, the Hub id of the data"
                )
            log(f"{kind}: {len(names)} files, {size / 1e6:.1f} MB → {made[-1]}")
    return made


def write_model(options: PushOptions, out: Path) -> None:
    """Writes the model's repository into ``out``: the files of the folder that may be published, the card and the handler."""
    from p5t5.checkpoint.info import INFO, CheckpointInfo, read_json
    from p5t5.evaluation.results import read_rows

    folder = Path(options.folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{options.folder} is no folder: name the folder of a fine-tuned model.")
    plain = read_json(folder)
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise UserError(
            f"{options.folder}: {missing[0]} is missing: copy the whole folder again, or train it again."
        )
    if Path(plain["model"]).is_absolute():  # the folder of a person's machine, which tells their name
        plain["model"] = Path(plain["model"]).name
    info = CheckpointInfo.from_json(plain)
    for name in MODEL_FILES:
        if (folder / name).is_file() and name != INFO:
            _copy(folder / name, out / name)
    _write(out / INFO, json.dumps(plain, indent=1) + "\n")
    rows = read_rows(folder / "results.json") if (folder / "results.json").is_file() else []
    _write(out / "README.md", _card(options, info, rows))
    _write(out / "handler.py", HANDLER)
    _write(out / "requirements.txt", f"p5t5=={__version__}\n")
    if dataset := _dataset(options):
        _write_results(out / EVAL_RESULTS, rows, dataset)


def write_space(options: PushOptions, out: Path) -> None:
    """Writes the Space's repository into ``out``: the page over the model of the same name."""
    head = {
        "title": options.repo.split("/")[-1],
        "emoji": "🎬",
        "colorFrom": "indigo",
        "colorTo": "blue",
        "sdk": "gradio",
        "app_file": "app.py",
        "models": [options.repo],
    }
    about = f"The page of the p5t5 model [{options.repo}](https://huggingface.co/{options.repo})."
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    _write(out / "README.md", f"---\n{front}---\n\n{about}\n")
    _write(out / "app.py", APP.format(repo=options.repo, model=options.repo))
    _write(out / "requirements.txt", f"p5t5[ui]=={__version__}\n")


def write_data(options: PushOptions, out: Path) -> None:
    """Writes the data set's repository into ``out``. Raises UserError for data that nobody may pass on."""
    from p5t5.data.records.loading import load_records

    folder = Path(options.data).expanduser()
    records = load_records(folder)
    licence = _licence(options, records.name)
    if licence.research_only and not options.private:
        raise UserError(
            f"--data {options.data}: these data must not be passed on ({licence.name}): leave --data out, or use "
            "--private true."
        )
    for name in DATA_FILES:
        if (folder / name).is_file():
            _copy(folder / name, out / name)
    prepared = _prepared(folder)
    kept = {name: value for name, value in prepared.items() if name not in ("source", "files", "raw")}
    _write(out / "prepare.json", json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    tables = [name.removesuffix(".parquet") for name in DATA_FILES if (folder / name).is_file()]
    head = {
        **licence.front_matter(),
        "pretty_name": records.name,
        "configs": [
            {"config_name": table, "data_files": f"{table}.parquet"}
            | ({"default": True} if not place else {})
            for place, table in enumerate(tables)
        ],
    }
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    counts = ", ".join(
        f"{prepared[name]:,} {name}" for name in ("users", "items", "interactions") if name in prepared
    )
    _write(
        out / "README.md",
        f"---\n{front}---\n\n# {records.name}\n\nA data folder of p5t5: {counts}. The model of these data: "
        f"[{options.repo}](https://huggingface.co/{options.repo}).\n",
    )  # fmt: skip


def _card(options: PushOptions, info: CheckpointInfo, rows: Sequence[Mapping[str, Any]]) -> str:
    from p5t5.checkpoint.catalogue import Catalogue
    from p5t5.reporting.card_metadata import usage
    from p5t5.reporting.model_card import card_template, fill_model_card

    catalogue = Catalogue.load(Path(options.folder).expanduser())
    return fill_model_card(
        card_template(),
        rows,
        info,
        options.repo,
        licence=_licence(options, info.data.name),
        dataset=_dataset(options),
        call=usage(catalogue.titles, catalogue.item_ids),
    )


def _licence(options: PushOptions, name: str) -> Licence:
    """By the data's name and, where --data is given, by what their folder tells."""
    from p5t5.data.licences import licence_of

    prepared = _prepared(Path(options.data).expanduser()) if options.data else {}
    told = [str(prepared[key]) for key in ("source", "licence") if prepared.get(key)]
    return licence_of(name, *told, chosen=options.license)


def _prepared(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "prepare.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no data folder: prepare.json cannot be read ({error}).") from error


def _dataset(options: PushOptions) -> str:
    return options.dataset or (options.repo if options.data else "")


def _write_results(path: Path, rows: Sequence[Mapping[str, Any]], dataset: str) -> None:
    from p5t5.reporting.card_metadata import eval_results

    if entries := eval_results(rows, dataset):
        path.parent.mkdir(exist_ok=True)
        _write(path, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000))


def _target(kind: str, dry_run: str) -> Path:
    target = Path(dry_run).expanduser()
    return (
        target
        if kind == "model"
        else target.with_name(f"{target.name}-{'data' if kind == 'dataset' else kind}")
    )


def _check_target(target: Path) -> None:
    if target.is_file():
        raise UserError(f"--dry_run {target} is a file: name a folder.")
    if target.is_dir() and any(target.iterdir()):
        what = finished_work(target) or "files"
        raise UserError(f"--dry_run {target} holds {what} already: name another folder, or remove it.")


def _upload(staged: Path, names: Sequence[str], kind: str, options: PushOptions, api: Any) -> str:
    """Creates the repository, if there is none, and makes its files those of the folder. Returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = api or HfApi()
    try:
        api.create_repo(
            options.repo,
            repo_type=kind,
            private=options.private or None,  # an existing one stays what it is
            exist_ok=True,
            **({"space_sdk": "gradio"} if kind == "space" else {}),
        )
        api.upload_folder(
            repo_id=options.repo,
            repo_type=kind,
            folder_path=str(staged),
            allow_patterns=list(names),
            # Parts of an earlier model would be read as parts of this one.
            delete_patterns=["*.json", "*.safetensors", "*.parquet", ".eval_results/*"],
            commit_message=f"p5t5 {__version__}",
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise UserError(
            f"{options.repo}: the Hub could not be written to ({type(error).__name__}: {str(error).splitlines()[0]}). "
            "Log in with `hf auth login`, check the name and your rights, or use --dry_run DIR and upload that folder."
        ) from error
    return f"https://huggingface.co/{'' if kind == 'model' else kind + 's/'}{options.repo}"


def _check_repo(repo: str, what: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{what} {repo!r}: give OWNER/NAME ({str(error).splitlines()[0]}).") from error
    if repo.count("/") != 1:
        raise UserError(f"{what} {repo!r}: give OWNER/NAME.")


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    make_readable(target)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
