"""The checkpoint folder: a model with all it needs to be asked, and nothing that was said in private.

It holds config.json, model.safetensors, generation_config.json, the tokenizer, the catalogue, the
prompts, the names of users (hashed ids), words.parquet where reviews are rated, phrases.parquet where texts
are chosen by what is said of items, p5t5.json and the model card;
never an interaction.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError

from p5t5._version import __version__
from p5t5.checkpoint.catalogue import Catalogue
from p5t5.checkpoint.hub import load_model, resolve
from p5t5.core.errors import UserError
from p5t5.data.records.tables import IndexedRecords
from p5t5.model.modeling import P5T5ForConditionalGeneration
from p5t5.tasks.base import BuildOptions
from p5t5.text.prompts import Prompt, dump_prompts, load_prompts
from p5t5.text.rendering import Renderer, names_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = 2  # 1: histories did not end in a word of their own

INFO, USERS, PROMPTS = "p5t5.json", "users.parquet", "prompts.yaml"

WORDS, PHRASES = "words.parquet", "phrases.parquet"


@dataclass
class Checkpoint:
    """``users``: hashed user id → identifier spelling, in the order of the user tokens.

    ``info`` is p5t5.json: rating_values, the options examples were built with, tasks, split, data,
    identifiers, versions, and what each stage of training says of itself. ``words``: the bytes of words.parquet,
    by which reviews are rated (`p5t5.baselines.review_regression`); ``phrases``: of phrases.parquet, by which samples of text are chosen
    (`p5t5.inference.item_phrases`); b"" where nothing is.
    """

    model: P5T5ForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    catalogue: Catalogue
    users: Mapping[str, str]
    prompts: list[Prompt]
    info: dict[str, Any]
    words: bytes = b""
    phrases: bytes = b""

    @cached_property
    def renderer(self) -> Renderer:
        """Renders with the checkpoint's own numbering: users in the order of ``users``, items as in the catalogue."""
        return self._renderer(list(self.users.values()))

    def renderer_for(self, data: IndexedRecords) -> Renderer:
        """Renders examples built from ``data``; a user whom training did not see has no name.

        Raises UserError if the data has another catalogue than the checkpoint.
        """
        made = self.__dict__.get("_made_for")  # the last one: making it tokenises all titles
        if made is None or made[0] is not data or made[1].prompts != self.prompts:
            self.check(data)
            made = data, self._renderer([self.users.get(user_key(user), "") for user in data.user_ids])
            self.__dict__["_made_for"] = made
        return made[1]

    def _renderer(self, users: Sequence[str]) -> Renderer:
        names = names_of(
            users, self.catalogue.items["identifier"].tolist(), self.catalogue.titles, self.rating_values
        )
        return Renderer(self.tokenizer, names, self.prompts)

    @property
    def rating_values(self) -> np.ndarray:
        """float32, ascending: the values a rating can take; empty where the data has no ratings."""
        return np.asarray(self.info["rating_values"], np.float32)

    def build_options(self, epoch: int = -1) -> BuildOptions:
        """How examples are built for this model; epoch −1 is evaluation."""
        return BuildOptions(**{**self.info["options"], "epoch": epoch})

    def check(self, data: IndexedRecords) -> None:
        """UserError unless ``data`` has the checkpoint's items, in the checkpoint's order."""
        ours, theirs = self.catalogue.item_ids, data.item_ids.tolist()
        if ours == theirs:
            return
        strange = sorted(set(theirs) - set(ours))[:3]
        reason = f"it does not know {', '.join(strange)}" if strange else "the data lacks some of its items"
        raise UserError(
            f"the model was trained on another catalogue ({len(ours)} items) than {data.name} ({len(theirs)} items): "
            f"{reason}. Use the data folder it was trained on, or train a model on this one."
        )

    def check_same(self, data: IndexedRecords) -> None:
        """UserError unless ``data`` is what the checkpoint was trained on, interaction by interaction.

        With other interactions the split falls elsewhere, and test rows may have been trained on.
        """
        self.check(data)
        if data.hash != self.info["data"]["hash"]:
            raise UserError(
                f"the model was trained on other interactions than those of {data.name}: rows that are test rows here "
                "may have been training rows there. Use the data folder it was trained on, or train a model on this one."
            )

    def save(self, folder: str | Path, card: str = "") -> None:
        """Writes the folder, p5t5.json last; words, phrases, results and fusion of an earlier model in it are removed."""
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
            for name, content in ((WORDS, self.words), (PHRASES, self.phrases)):
                if content:
                    (temporary / name).write_bytes(content)
            (temporary / INFO).write_text(json.dumps({**self.info, "versions": versions()}, indent=1) + "\n")
            if card:
                (temporary / "README.md").write_text(card)
            # A folder without INFO is refused on loading: until all of the new files are there.
            for stale in (INFO, WORDS, PHRASES, "results.json", "fusion.json", "fusion.safetensors"):
                (folder / stale).unlink(missing_ok=True)
            for path in sorted(temporary.iterdir(), key=lambda path: path.name == INFO):
                path.replace(folder / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @staticmethod
    def load(folder_or_id: str | Path) -> Checkpoint:
        """Reads a checkpoint folder, or one on the Hub (or in its cache), in evaluation mode.

        Raises UserError if it is no p5t5 checkpoint.
        """
        folder = resolve(folder_or_id)
        if not (folder / INFO).is_file():
            raise UserError(
                f"{folder_or_id} is no p5t5 checkpoint: it has no {INFO}. "
                "Make one with `p5t5 pretrain` or `p5t5 finetune`."
            )
        try:
            return Checkpoint._read(folder)
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise UserError(
                f"{folder_or_id} is damaged ({type(error).__name__}: {error}). Copy it again, or train it again."
            ) from error

    @staticmethod
    def _read(folder: Path) -> Checkpoint:
        from transformers import PreTrainedTokenizerFast

        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        if info.get("format") != FORMAT:
            raise UserError(
                f"{folder}: {INFO} has format {info.get('format')}, this p5t5 reads {FORMAT}. "
                "Use the p5t5 version that wrote it."
            )
        users = pd.read_parquet(folder / USERS)
        return Checkpoint(
            load_model(folder),
            PreTrainedTokenizerFast.from_pretrained(folder),
            Catalogue.load(folder),
            dict(zip(users["user_key"], users["identifier"], strict=True)),
            load_prompts(folder / PROMPTS),
            info,
            *(
                (folder / name).read_bytes() if (folder / name).is_file() else b""
                for name in (WORDS, PHRASES)
            ),
        )


def about_data(data: IndexedRecords) -> dict[str, Any]:
    """What a checkpoint keeps of its data: name, hash, number of interactions and the time of the last one."""
    last = None if data.timestamp is None or not len(data) else int(data.timestamp.max())
    return {"name": data.name, "hash": data.hash, "interactions": len(data), "until": last}


def user_key(user_id: str) -> str:
    """16 hex digits: what a checkpoint keeps of a user id."""
    return hashlib.blake2b(str(user_id).encode(), digest_size=8).hexdigest()


def versions() -> dict[str, str]:
    """The versions that matter for running a checkpoint again."""
    import torch
    import transformers

    return {
        "p5t5": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
