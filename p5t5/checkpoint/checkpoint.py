"""The checkpoint folder: a model with everything needed to query it, and no interactions.

It holds config.json, model.safetensors, generation_config.json, the tokenizer, the catalogue, the prompts, the identifiers of
users (by hashed id), the files of fitted artifacts, p5t5.json and the model card.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError

from p5t5.checkpoint.catalogue import Catalogue
from p5t5.checkpoint.fitted import FittedArtifact, read_fitted
from p5t5.checkpoint.hub import load_model, resolve
from p5t5.checkpoint.info import INFO, CheckpointInfo, read_json
from p5t5.core.errors import UserError
from p5t5.core.files import make_readable
from p5t5.data.records.tables import IndexedRecords
from p5t5.model.modeling import P5T5ForConditionalGeneration
from p5t5.tasks.base import BuildOptions
from p5t5.text.prompts import Prompt, dump_prompts, load_prompts
from p5t5.text.rendering import Renderer, names_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FITTED_FILES = ("words.parquet", "item_ngrams.parquet")
USERS, PROMPTS = "users.parquet", "prompts.yaml"
# Files that later steps add for this model; they are wrong for another model saved into the folder.
LATER = ("results.json", "fusion.json", "fusion.safetensors")


@dataclass
class Checkpoint:
    """``users``: hashed user id → identifier spelling, in the order of the user tokens.

    ``info`` is p5t5.json; ``fitted``: artifacts fitted to these weights, by name (`checkpoint.fitted`).
    """

    model: P5T5ForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    catalogue: Catalogue
    users: Mapping[str, str]
    prompts: list[Prompt]
    info: CheckpointInfo
    fitted: dict[str, FittedArtifact] = field(default_factory=dict)

    @cached_property
    def renderer(self) -> Renderer:
        """A renderer with the checkpoint's own numbering: users in the order of ``users``, items as in the catalogue."""
        return self._renderer(list(self.users.values()))

    def renderer_for(self, data: IndexedRecords) -> Renderer:
        """A renderer for examples built from ``data``; users that training did not see have no identifier.

        Raises UserError if the data has another catalogue than the checkpoint.
        """
        cached = self.__dict__.get("_made_for")  # the last one: making it tokenizes all titles
        if cached is None or cached[0] is not data or cached[1].prompts != self.prompts:
            self.check(data)
            cached = data, self._renderer([self.users.get(user_key(user), "") for user in data.user_ids])
            self.__dict__["_made_for"] = cached
        return cached[1]

    def _renderer(self, users: Sequence[str]) -> Renderer:
        names = names_of(
            users, self.catalogue.items["identifier"].tolist(), self.catalogue.titles, self.rating_values
        )
        return Renderer(self.tokenizer, names, self.prompts)

    @property
    def rating_values(self) -> np.ndarray:
        """float32, ascending: the values a rating can take; empty where the data has no ratings."""
        return np.asarray(self.info.rating_values, np.float32)

    def build_options(self, epoch: int = -1) -> BuildOptions:
        """How examples are built for this model; epoch −1 is evaluation."""
        return replace(self.info.options, epoch=epoch)

    def check(self, data: IndexedRecords) -> None:
        """Raises UserError unless ``data`` has the checkpoint's items, in the checkpoint's order."""
        ours, theirs = self.catalogue.item_ids, data.item_ids.tolist()
        if ours == theirs:
            return
        unknown_items = sorted(set(theirs) - set(ours))[:3]
        reason = (
            f"it lacks the items {', '.join(unknown_items)}"
            if unknown_items
            else "the data lacks some of its items"
        )
        raise UserError(
            f"the model was trained on another catalogue ({len(ours)} items) than {data.name} ({len(theirs)} items): "
            f"{reason}. Use the data folder it was trained on, or train a model on this one."
        )

    def check_same(self, data: IndexedRecords) -> None:
        """Raises UserError unless ``data`` is what the checkpoint was trained on, interaction by interaction.

        With other interactions the split differs, and rows that were trained on may be test rows.
        """
        self.check(data)
        if data.hash != self.info.data.hash:
            raise UserError(
                f"the model was trained on other interactions than those of {data.name}: rows that are test rows here "
                "may have been training rows there. Use the data folder it was trained on, or train a model on this one."
            )

    def add_stage(self, stage: Mapping[str, Any]) -> None:
        """Records a stage of training on the checkpoint's data, and drops what was fitted to the earlier weights."""
        self.info.stages.append(dict(stage))
        if self.info.trained[-1:] != [self.info.data]:
            self.info.trained.append(self.info.data)
        self.fitted.clear()

    def save(self, folder: str | Path, card: str = "") -> None:
        """Writes the folder, p5t5.json last; fitted artifacts, results and fusion of an earlier model in it are removed."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
        try:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            self.catalogue.save(temporary)
            users = {"user_key": list(self.users), "identifier": list(self.users.values())}
            pd.DataFrame(users, dtype=str).to_parquet(temporary / USERS, index=False)
            dump_prompts(self.prompts, temporary / PROMPTS)
            for name, content in self._fitted_files().items():
                (temporary / name).write_bytes(content)
            (temporary / INFO).write_text(self._json())
            if card:
                (temporary / "README.md").write_text(card)
            # A folder without INFO is refused on loading, so it is missing until all new files are in place.
            for stale in (INFO, *FITTED_FILES, *LATER):
                (folder / stale).unlink(missing_ok=True)
            for path in sorted(temporary.iterdir(), key=lambda path: path.name == INFO):
                make_readable(path)
                path.replace(folder / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def save_fitted(self, folder: str | Path) -> None:
        """Writes the fitted artifacts into the checkpoint's own folder, p5t5.json last. Raises OSError."""
        folder = Path(folder)
        for name, content in self._fitted_files().items():
            _replace_file(folder / name, content, like=folder / INFO)
        _replace_file(folder / INFO, self._json().encode("utf-8"), like=folder / INFO)

    def _fitted_files(self) -> dict[str, bytes]:
        return {
            name: content for artifact in self.fitted.values() for name, content in artifact.files.items()
        }

    def _json(self) -> str:
        fitted = {name: artifact.as_json() for name, artifact in self.fitted.items()}
        plain = {**self.info.as_json(), "catalogue": self.catalogue.digest(), "fitted": fitted}
        return json.dumps(plain, indent=1) + "\n"

    @staticmethod
    def load(folder_or_id: str | Path, model: P5T5ForConditionalGeneration | None = None) -> Checkpoint:
        """Reads a checkpoint from a folder or from the Hub (or its cache), in evaluation mode.

        ``model``: the folder's model where it has been read already. Raises UserError if it is not a p5t5 checkpoint, is damaged or incomplete.
        """
        folder = resolve(folder_or_id)
        plain = read_json(folder)
        for name in ("config.json", "model.safetensors", "tokenizer.json", USERS, PROMPTS):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder_or_id}: {name} is missing: copy the whole folder again, or train it again."
                )
        try:
            return Checkpoint._read(folder, plain, model)
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise UserError(
                f"{folder_or_id} is damaged ({type(error).__name__}: {error}). Copy it again, or train it again."
            ) from error

    @staticmethod
    def _read(folder: Path, plain: dict[str, Any], model: P5T5ForConditionalGeneration | None) -> Checkpoint:
        from transformers import PreTrainedTokenizerFast

        catalogue = Catalogue.load(folder)
        if catalogue.digest() != plain["catalogue"]:
            raise UserError(f"{folder}: the catalogue belongs to another model: copy the whole folder again.")
        users = pd.read_parquet(folder / USERS)
        return Checkpoint(
            load_model(folder) if model is None else model,
            PreTrainedTokenizerFast.from_pretrained(folder),
            catalogue,
            dict(zip(users["user_key"], users["identifier"], strict=True)),
            load_prompts(folder / PROMPTS),
            CheckpointInfo.from_json(plain),
            read_fitted(folder, plain["fitted"]),
        )


def user_key(user_id: str) -> str:
    """16 hex digits that stand for a user id in a checkpoint."""
    return hashlib.blake2b(str(user_id).encode(), digest_size=8).hexdigest()


def _replace_file(path: Path, content: bytes, like: Path) -> None:
    """Replaces the file atomically, with the permissions of ``like``; safe against another process doing the same."""
    descriptor, name = tempfile.mkstemp(".tmp", path.name, path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        shutil.copymode(like, name)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
