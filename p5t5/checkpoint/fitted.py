"""What was fitted to a model's weights, and travels with them: one form, one rule.

The rating calibration, the choice of text decoding and whatever follows them are artefacts: settings (plain values, in
p5t5.json under "fitted") and files beside it. The rule: a stage of training drops them all
(`Checkpoint.add_stage`), since they say nothing of other weights; naming new items or users keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError


@dataclass(frozen=True)
class FittedArtifact:
    """``settings``: plain values; ``files``: name → content."""

    settings: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The settings, and a digest of each file: a folder with another model's file is noticed."""
        return {
            "settings": self.settings,
            "files": {name: _digest(content) for name, content in self.files.items()},
        }


def read_fitted(folder: Path, plain: Mapping[str, Any]) -> dict[str, FittedArtifact]:
    """The artefacts of a folder, by name. UserError where a file is missing or another model's."""
    found = {}
    for name, one in plain.items():
        files = {}
        for file, digest in one["files"].items():
            if Path(file).name != file:
                raise UserError(f"{folder}: {file!r} is not the name of a file of a checkpoint.")
            path = folder / file
            files[file] = path.read_bytes() if path.is_file() else b""
            if _digest(files[file]) != digest:
                raise UserError(
                    f"{folder}: {file} is missing, or another model's: copy the whole folder again, or train it again."
                )
        found[name] = FittedArtifact(dict(one["settings"]), files)
    return found


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()
