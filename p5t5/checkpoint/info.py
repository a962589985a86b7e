"""p5t5.json: the record of a checkpoint, typed, with one reader and one writer."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from p5t5._version import __version__
from p5t5.core.errors import UserError
from p5t5.data.records.tables import IndexedRecords
from p5t5.tasks.base import BuildOptions

FORMAT = 3  # 1: histories did not end in a word of their own; 2: an untyped p5t5.json
INFO = "p5t5.json"


@dataclass(frozen=True)
class DataRecord:
    """What a checkpoint stores of its data: enough to recognize it, nothing of what anybody did.

    ``until``: the time of the last interaction, in seconds. ``moved``: rows that an update trains on although the split of
    the newer data would hold them out.
    """

    name: str
    hash: str
    interactions: int
    until: int | None = None
    moved: tuple[int, ...] = ()

    @staticmethod
    def of(data: IndexedRecords) -> DataRecord:
        """The record of this data."""
        last = None if data.timestamp is None or not len(data) else int(data.timestamp.max())
        return DataRecord(data.name, data.hash, len(data), last)

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> DataRecord:
        """The inverse of `asdict`."""
        return DataRecord(**{**plain, "moved": tuple(plain.get("moved", ()))})


@dataclass
class CheckpointInfo:
    """The record of a checkpoint.

    - ``model``: the preset or T5 it started from; ``split``: the scheme; ``options``: how examples are built.
    - ``rating_values``: ascending; empty where the data has no ratings.
    - ``data``: the data of its identifiers; ``trained``: all data that it was trained on, in order.
    - ``identifiers``: "item" and "user" → the report of the method, None where users have no identifiers.
    - ``identity_dimensions``: the number of last dimensions of item embeddings that distinguish items.
    - ``tasks``: those it was fine-tuned on; ``stages``: one record per stage of training.
    - ``versions``: of the packages that wrote the folder.
    """

    model: str
    split: str
    options: BuildOptions
    data: DataRecord
    identifiers: dict[str, dict[str, Any] | None]
    rating_values: list[float] = field(default_factory=list)
    identity_dimensions: int = 0
    tasks: list[str] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    trained: list[DataRecord] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def copy(self, **changes: Any) -> CheckpointInfo:
        """A copy with its own lists and these changes."""
        lists = {name: list(getattr(self, name)) for name in ("rating_values", "tasks", "stages", "trained")}
        return replace(self, **{**lists, **changes})

    @property
    def trained_data(self) -> list[DataRecord]:
        """The data that the model was trained on, in order; its own where no stage has been recorded."""
        return list(self.trained) or [self.data]

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the current versions of the packages."""
        options = asdict(replace(self.options, epoch=0))
        return {"format": FORMAT, **asdict(self), "options": options, "versions": versions()}

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> CheckpointInfo:
        """The inverse of `as_json`. Raises KeyError or TypeError where a field is missing or unknown."""
        fields = {
            name: value for name, value in plain.items() if name not in ("format", "fitted", "catalogue")
        }
        fields["options"] = BuildOptions(**fields["options"])
        fields["data"] = DataRecord.from_json(fields["data"])
        fields["trained"] = [DataRecord.from_json(record) for record in fields.get("trained", ())]
        return CheckpointInfo(**fields)

    @staticmethod
    def read(folder: str | Path) -> CheckpointInfo:
        """From the p5t5.json of a folder; see `read_json` for errors."""
        return CheckpointInfo.from_json(read_json(folder))


def read_json(folder: str | Path) -> dict[str, Any]:
    """The p5t5.json of a folder. Raises UserError where there is none, or it is damaged or of another format."""
    path = Path(folder) / INFO
    if not path.is_file():
        raise UserError(
            f"{folder} is not a p5t5 checkpoint: {INFO} is missing. Make one with `p5t5 pretrain` or `p5t5 finetune`."
        )
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{folder} is damaged ({INFO}: {error}). Copy it again, or train it again."
        ) from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        found = plain.get("format") if isinstance(plain, dict) else None
        raise UserError(
            f"{folder}: {INFO} has format {found}, this p5t5 reads {FORMAT}. Use the p5t5 version that wrote it, "
            "or train the model again."
        )
    return plain


def versions() -> dict[str, str]:
    """The versions of the packages that matter for using a checkpoint again."""
    import torch
    import transformers

    return {
        "p5t5": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
