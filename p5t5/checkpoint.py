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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from torch import nn

from p5t5 import __version__
from p5t5.catalogue import Catalogue
from p5t5.configuration import PRESETS, preset_config
from p5t5.corpus import answer_words, training_texts
from p5t5.errors import UserError
from p5t5.identifiers import fit_identifiers
from p5t5.initialisation import grow_vocabulary, initialise, read_as_done, set_word_starts, start_identifiers
from p5t5.modeling import P5T5ForConditionalGeneration
from p5t5.prompts import Prompt, dump_prompts, load_prompts, seen_words
from p5t5.records import IndexedRecords
from p5t5.rendering import Renderer, names_of
from p5t5.splits import Split
from p5t5.starting_vectors import item_and_user_vectors, own_dimensions, with_own_part, word_vectors
from p5t5.tasks import BuildOptions
from p5t5.tasks.columns import describe_items
from p5t5.vocabulary import identifier_ids, load_tokenizer, text_tokens, train_tokenizer

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
    by which reviews are rated (`p5t5.reading`); ``phrases``: of phrases.parquet, by which samples of text are chosen
    (`p5t5.phrases`); b"" where nothing is.
    """

    model: P5T5ForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    catalogue: Catalogue
    users: Mapping[str, str]
    prompts: list[Prompt]
    info: dict[str, Any]
    words: bytes = b""
    phrases: bytes = b""

    @staticmethod
    def create(
        split: Split,
        prompts: Sequence[Prompt],
        *,
        model: str = "tiny",
        options: BuildOptions | None = None,
        item_identifiers: str = "atomic",
        user_identifiers: str = "atomic",
        vocabulary_size: int = 4000,
        dropout: float = 0.1,
        whole_word_embeddings: bool = False,
        start_from_factors: bool = True,
        seed: int = 0,
    ) -> Checkpoint:
        """An untrained checkpoint for this data.

        ``model`` is a preset (trained from scratch, with a tokenizer of its own) or a T5 checkpoint's
        folder or Hub id (its tokenizer and weights, the vocabulary grown by the identifiers).
        ``user_identifiers`` may be "none": users are then known by their history alone. From scratch,
        embeddings start at what the training rows say (`starting_vectors`) unless
        ``start_from_factors`` is False.
        """
        data, options = split.data, options or BuildOptions(seed=seed)
        items = fit_identifiers(item_identifiers, split, of="item", seed=seed)
        users = (
            None
            if user_identifiers == "none"
            else fit_identifiers(user_identifiers, split, of="user", seed=seed)
        )
        pieces = items.pieces() + ([] if users is None else users.pieces())
        if model in PRESETS:
            texts = [*training_texts(split, options), *_literals(prompts)]
            whole = [*answer_words(data), *seen_words(prompts)]  # in pieces they are half of a short prompt
            tokenizer = train_tokenizer(texts, pieces, size=vocabulary_size, seed=seed, whole=whole)
            size = -(-len(tokenizer) // 8) * 8
            config = preset_config(model, size, dropout=dropout, whole_word_embeddings=whole_word_embeddings)
            network = initialise(config, seed=seed)
        else:
            tokenizer = load_tokenizer(resolve(model), pieces)
            network = load_model(model)
            if whole_word_embeddings:
                network = P5T5ForConditionalGeneration.from_t5(network, whole_word_embeddings=True)
            grow_vocabulary(network, max(len(tokenizer), network.config.vocab_size), seed=seed)
            set_dropout(network, dropout)
        ids = identifier_ids(tokenizer, pieces)
        if items.words:  # named in plain text: the tokens are the text's own, and start as they are
            tokens = text_tokens(tokenizer, items.spellings())
            check_distinct(tokens, items.spellings(), model)
        else:
            tokens = tokens_of(ids, items.piece_index())
        own = 0
        if start_from_factors and model in PRESETS:
            width = network.config.d_model
            own = own_dimensions(split, width) if tokens.shape[1] == 1 and not items.words else 0
            words, vectors = word_vectors(split, tokenizer, width - own, options, seed)
            start_identifiers(network, words, np.pad(vectors, ((0, 0), (0, own))), seed=seed)
            item_vectors, user_vectors = item_and_user_vectors(split, width - own, seed)
            read_as_done(network, own)
            if not items.words:
                start_identifiers(network, tokens, with_own_part(item_vectors, own, seed), seed=seed)
            if users is not None:
                user_tokens = tokens_of(ids[len(items.pieces()) :], users.piece_index())
                start_identifiers(network, user_tokens, np.pad(user_vectors, ((0, 0), (0, own))), seed=seed)
        if whole_word_embeddings:
            later = tokens[:, 1:] if not items.words else tokens[:0]
            continuing = [int(i) for i in np.unique(later) if i >= 0]
            names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
            set_word_starts(network, names, continuing)
        catalogue = Catalogue.build(
            data.item_ids.tolist(),
            tokens,
            data.titles,
            describe_items(data.items, words=options.max_words),
            items.spellings(),
        )
        spelled = [] if users is None else users.spellings()
        info = {
            "format": FORMAT,
            "model": model,
            "rating_values": [float(value) for value in data.rating_values],
            "options": asdict(replace(options, epoch=0)),
            "split": split.scheme,
            "data": about_data(data),
            "identifiers": {"item": items.report(), "user": None if users is None else users.report()},
            "own_dimensions": own,
            "tasks": [],
            "stages": [],
        }
        keys = [user_key(user) for user in data.user_ids]
        return Checkpoint(
            network, tokenizer, catalogue, dict(zip(keys, spelled, strict=False)), list(prompts), info
        )

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

    def add_items(self, items: pd.DataFrame) -> Checkpoint:
        """A new checkpoint that can also name the ``items`` (item_id, title, attributes) which this one lacks.

        Without training: see `growing.add_items`.
        """
        from p5t5.growing import add_items  # here, for it is above: it makes checkpoints

        return add_items(self, items)

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


def load_model(folder_or_id: str | Path) -> P5T5ForConditionalGeneration:
    """A p5t5 or plain T5 model from a folder or the Hub; UserError where there is none."""
    folder = resolve(folder_or_id)
    try:
        return P5T5ForConditionalGeneration.from_pretrained(folder)
    except (OSError, KeyError) as error:
        raise UserError(f"{folder_or_id}: no T5 model could be read there: {error}") from error


def set_dropout(model: P5T5ForConditionalGeneration, rate: float) -> None:
    """Changes the dropout rate of a model that exists already."""
    model.config.dropout_rate = rate
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout", None), float):  # T5Attention keeps the bare number
            module.dropout = rate  # type: ignore[assignment]


def resolve(folder_or_id: str | Path) -> Path:
    """The folder itself, or the local copy of a Hub repository (only looked up in the cache when offline)."""
    if Path(folder_or_id).is_dir():
        return Path(folder_or_id)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(folder_or_id)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"there is no folder {folder_or_id}, and the Hub gives no repository of that name "
            f"({type(error).__name__}). Check the path; without a network, put the model in a folder."
        ) from error


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


def _literals(prompts: Iterable[Prompt]) -> list[str]:
    """The fixed text of all wordings, for the tokenizer."""
    return [
        text
        for prompt in prompts
        for template in (prompt.input, prompt.target)
        for kind, text in Prompt.pieces(template)
        if kind == "text"
    ]


def tokens_of(ids: np.ndarray, piece_index: np.ndarray) -> np.ndarray:
    """int32 [n, levels]: token ids of identifiers, −1 padded."""
    return np.where(piece_index < 0, -1, ids[piece_index]).astype(np.int32)


def check_distinct(tokens: np.ndarray, names: Sequence[str], model: str) -> None:
    """UserError where a tokenizer that lacks a title's letters makes two names one."""
    _, first, number = np.unique(tokens, axis=0, return_index=True, return_inverse=True)
    same = np.flatnonzero(first[number.reshape(-1)] != np.arange(len(tokens)))
    if len(same):
        one, two = names[first[number.reshape(-1)[same[0]]]], names[same[0]]
        raise UserError(
            f"--item_identifiers title: the tokenizer of {model} spells {one!r} and {two!r} alike. "
            "Choose other identifiers, or a model that is trained from scratch."
        )
