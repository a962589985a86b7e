"""Prompts: YAML files of templates with named slots, and their lint."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_write, parse_yaml
from p5t5.tasks.registry import TASKS

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
ALONE = re.compile(r"(?<!\S)\{[a-z_]+\}(?!\S)")  # a slot between whitespace or ends
KEYS = ("id", "task", "held_out", "rate", "input", "target")


@dataclass(frozen=True)
class Prompt:
    """One wording of a task. ``{slot}`` placeholders only; no logic, no format specs.

    ``rate``: how often training draws it beside the other wordings of its task (1 where not said; a
    wording that lists titles is many times as long as the others), and evaluation of seen wordings too.
    ``source`` is the file's name, for errors; two prompts that differ in it alone are equal.
    """

    id: str
    task: str
    input: str
    target: str
    held_out: bool = False
    rate: float = 1.0
    source: str = field(default="", compare=False, repr=False)

    @property
    def family(self) -> str:
        return self.task.split("/")[0]

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """Slot names in the order of their first use, input before target."""
        return tuple(dict.fromkeys(PLACEHOLDER.findall(self.input + " " + self.target)))

    @staticmethod
    def pieces(template: str) -> list[tuple[str, str]]:
        """("text", literal) and ("slot", name) in order; literals are stripped and space-collapsed."""
        out = []
        for place, piece in enumerate(PLACEHOLDER.split(template)):
            if place % 2:
                out.append(("slot", piece))
            elif piece.strip():
                out.append(("text", " ".join(piece.split())))
        return out


def packaged_folder() -> Path:
    """The folder of the prompts that come with p5t5: inside the wheel, or at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"


def load_prompts(paths: str | os.PathLike | Iterable[str | os.PathLike] | None = None) -> list[Prompt]:
    """The prompts of YAML files or folders of such (by default ours), in the order of the files.

    Raises UserError for a missing or unreadable file, a wrong key or type, or an id used twice. Whether
    the prompts fit the tasks is for ``lint`` to say.
    """
    if paths is None:
        paths = [packaged_folder()]
    elif isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    prompts = [prompt for path in paths for file in _files(Path(path)) for prompt in _read(file)]
    _unique(prompts)
    return prompts


def seen_words(prompts: Iterable[Prompt]) -> list[str]:
    """The words that training's wordings are made of, each once, in the order of their first use."""
    templates = (side for prompt in prompts if not prompt.held_out for side in (prompt.input, prompt.target))
    pieces = (piece for template in templates for piece in Prompt.pieces(template))
    return list(dict.fromkeys(word for kind, text in pieces if kind == "text" for word in text.split()))


def dump_prompts(prompts: Sequence[Prompt], path: str | os.PathLike) -> None:
    """Writes YAML that ``load_prompts`` reads back to equal prompts."""
    rows: list[dict[str, Any]] = []
    for prompt in prompts:
        row = {key: getattr(prompt, key) for key in KEYS}
        if not prompt.held_out:
            del row["held_out"]
        if prompt.rate == 1:
            del row["rate"]
        rows.append(row)
    atomic_write(Path(path), yaml.safe_dump(rows, sort_keys=False, allow_unicode=True, width=1_000))


def lint(prompts: Sequence[Prompt]) -> None:
    """Raises UserError, naming file and id, for the first prompt that does not fit its task."""
    _unique(prompts)
    for prompt in prompts:
        problem = _problem(prompt)
        if problem:
            raise UserError(f"{_place(prompt)}: {problem}")
    for family in dict.fromkeys(prompt.family for prompt in prompts):
        if not any(prompt.held_out for prompt in prompts if prompt.family == family):
            raise UserError(
                f"no prompt of the family {family} is held out; "
                "mark one with `held_out: true`, or nothing shows how the model takes new wordings"
            )


def _problem(prompt: Prompt) -> str | None:
    if prompt.task not in TASKS:
        return f"unknown task {prompt.task!r}; the tasks are {', '.join(TASKS)}"
    slots = TASKS[prompt.task].slots
    for name, template in (("input", prompt.input), ("target", prompt.target)):
        problem = _template_problem(template)
        if problem:
            return f"{name} {problem}"
    unknown = [slot for slot in prompt.slots if slot not in slots]
    if unknown:
        return f"{prompt.task} has no slot {{{unknown[0]}}}; it has {', '.join(slots)}"
    asked, answered = PLACEHOLDER.findall(prompt.input), PLACEHOLDER.findall(prompt.target)
    for slot in asked:
        if slots[slot].target:
            return f"input holds {{{slot}}}, which is the answer; it belongs to the target"
    for slot in answered:
        if not slots[slot].target:
            return f"target holds {{{slot}}}, which is part of the question; it belongs to the input"
    if not asked:
        return "input holds no slot, so it asks the same of everybody"
    # Decoding starts with the answer and reads the slots off in this order.
    expected = " ".join(f"{{{slot}}}" for slot in slots if slots[slot].target)
    if " ".join(prompt.target.split()) != expected:
        return f"target must be exactly {expected!r}"
    return None


def _template_problem(template: str) -> str | None:
    rest = ALONE.sub(" ", template)
    touching = PLACEHOLDER.search(rest)
    if touching:
        return f"needs a space on both sides of {touching.group()}"
    if "{" in rest or "}" in rest:
        return "holds a brace that is not a {slot}; slot names are lower-case letters and _"
    if "<" in rest or "▁" in rest:
        return "holds '<' or '▁', which could spell a control token; leave it out"
    if unicodedata.normalize("NFKC", rest) != rest or not "".join(rest.split()).isprintable():
        return "holds characters that are unprintable or change under NFKC; write them plainly"
    return None


def _unique(prompts: Sequence[Prompt]) -> None:
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        other = first.setdefault(prompt.id, prompt)
        if other is not prompt:
            where = f" (first in {other.source})" if other.source else ""
            raise UserError(f"{_place(prompt)}: the id is used twice{where}; give each prompt its own")


def _place(prompt: Prompt) -> str:
    return f"{prompt.source or 'prompts'}, prompt {prompt.id!r}"


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
        if not files:
            raise UserError(f"{path}: no prompt files (*.yaml) in this folder")
        return files
    if not path.is_file():
        raise UserError(f"{path}: no such prompt file or folder")
    return [path]


def _read(path: Path) -> list[Prompt]:
    try:
        rows = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not readable as YAML: {reason}; quote templates or use `|-`") from None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: must be a list of prompts, each starting with `- id:`")
    return [_prompt(row, number, path) for number, row in enumerate(rows, 1)]


def _prompt(row: Any, number: int, path: Path) -> Prompt:
    if not isinstance(row, dict):
        raise UserError(f"{path}, entry {number}: must be a mapping with the keys {', '.join(KEYS)}")
    place = f"{path}, prompt {row.get('id', number)!r}"
    unknown = [key for key in row if key not in KEYS]
    if unknown:
        raise UserError(f"{place}: unknown key {unknown[0]!r}; the keys are {', '.join(KEYS)}")
    for key in ("id", "task", "input", "target"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UserError(
                f"{place}: {key} must be text; quote it, or use `|-` (a bare {{slot}} is a mapping)"
            )
    if not isinstance(row.get("held_out", False), bool):
        raise UserError(f"{place}: held_out must be true or false")
    rate = row.get("rate", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
        raise UserError(f"{place}: rate must be a number above 0")
    return Prompt(**{**row, "rate": float(rate)}, source=path.name)
