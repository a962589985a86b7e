"""Training checkpoints: written completely or not at all, verified before they are used.

A checkpoint is a folder ``step-XXXXXXXX``. Its files are written into a folder of a temporary name, a
manifest with their SHA-256 last, and then the folder is renamed. Reading takes the newest folder whose
files all match its manifest, so that a run never resumes silently from damaged files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from p5t5.core.errors import UserError
from p5t5.core.files import sha256

MANIFEST = "manifest.json"
STATE = "state.json"
_NAME = re.compile(r"step-(\d{8,})")


def write_checkpoint(
    root: Path, step: int, writers: Mapping[str, Callable[[Path], Any]], state: Mapping[str, Any]
) -> Path:
    """Writes ``root/step-XXXXXXXX``: one file per writer, which is given its path, and ``state.json``.

    Raises UserError where the disk is full or the folder cannot be written to; earlier checkpoints are not touched.
    """
    target = root / f"step-{step:08d}"
    temporary = root / f".{target.name}-{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, write in writers.items():
            write(temporary / name)
        (temporary / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        _write_manifest(temporary)
        if target.exists():  # a resumed run reached this step again
            replaced = temporary.with_name(temporary.name + "-replaced")
            target.rename(replaced)
            temporary.rename(target)
            shutil.rmtree(replaced)
        else:
            temporary.rename(target)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk
        if not _is_disk_error(error):
            raise
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"no checkpoint could be written to {root} at step {step} ({_reason(error)}); earlier ones are "
            "intact. Free space or make the folder writable, then continue with --resume."
        ) from error
    return target


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The ``state`` that was passed to ``write_checkpoint``."""
    return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))


def find_checkpoints(root: Path) -> list[tuple[int, Path]]:
    """(step, folder) of all checkpoints under ``root``, oldest first, verified or not."""
    if not root.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in root.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in found if match)


def newest_valid(root: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that matches its manifest, and what is wrong with each newer one."""
    problems: list[str] = []
    for _, path in reversed(find_checkpoints(root)):
        problem = damage(path)
        if problem is None:
            return path, problems
        problems.append(f"{path.name} is damaged: {problem}")
    return None, problems


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None if all match its manifest."""
    try:
        text = (checkpoint / MANIFEST).read_text(encoding="utf-8")
        listed = json.loads(text)["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__})"
    if text != _manifest(listed):
        return f"{MANIFEST} does not match its own SHA-256"
    for name, expected in listed.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256(path) != expected:
            return f"{name} does not match its SHA-256"
    return None


def prune(root: Path, keep: int, protect: int | None = None) -> None:
    """Removes all checkpoints except the newest ``keep`` and that of step ``protect``, and leftovers."""
    found = find_checkpoints(root)
    for step, path in found[: max(len(found) - keep, 0)]:
        if step != protect:
            shutil.rmtree(path, ignore_errors=True)
    clear_leftovers(root)


def clear_leftovers(root: Path) -> None:
    """Removes the unfinished files of a killed process; only the one process that writes may call this."""
    for path in root.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    """Writes the files' hashes, flushed to disk before the folder appears under its final name."""
    digests = {}
    for path in sorted(folder.iterdir()):
        digests[path.name] = sha256(path)
        _flush(path)
    manifest = folder / MANIFEST
    manifest.write_text(_manifest(digests), encoding="utf-8")
    _flush(manifest)


def _manifest(digests: Any) -> str:
    """The manifest's text, with a hash of itself: otherwise its damage would be attributed to another file."""
    own = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    return json.dumps({"sha256": digests, "own": own}, indent=1) + "\n"


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _is_disk_error(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, OSError) or any(
        hint in text
        for hint in ("os error", "write failed", "enforce fail", "iostream", "no space", "read-only")
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    named = re.search(r"I/O error: (.+?) \(os error", str(error))
    return named[1] if named else "a file could not be written to its end"
