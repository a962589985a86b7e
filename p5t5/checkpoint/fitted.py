"""Artifacts fitted to a model's weights, which travel with them in the checkpoint.

The rating calibration, the choice of text decoding and any later ones have one form: settings (plain values, in
p5t5.json under "fitted") and files beside it. One rule holds for all: a stage of training drops them
(`Checkpoint.add_stage`), since they do not apply to other weights; adding items or users keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError
from p5t5.core.files import digest


@dataclass(frozen=True)
class FittedArtifact:
    """``settings``: plain values; ``files``: name → content."""

    settings: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The settings and a digest of each file, so that a file of another model is noticed."""
        return {
            "settings": self.settings,
            "files": {name: digest(content) for name, content in self.files.items()},
        }


def read_fitted(folder: Path, plain: Mapping[str, Any]) -> dict[str, FittedArtifact]:
    """The artifacts of a folder, by name. Raises UserError where a file is missing or belongs to another model."""
    artifacts = {}
    for name, saved in plain.items():
        files = {}
        for file, expected in saved["files"].items():
            if Path(file).name != file:
                raise UserError(
                    f"{folder}: p5t5.json names the file {file!r}, which is not a plain file name."
                )
            path = folder / file
            files[file] = path.read_bytes() if path.is_file() else b""
            if digest(files[file]) != expected:
                raise UserError(
                    f"{folder}: {file} is missing or belongs to another model: copy the whole folder again, or train it again."
                )
        artifacts[name] = FittedArtifact(dict(saved["settings"]), files)
    return artifacts
