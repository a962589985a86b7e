"""Makes an untrained checkpoint from data: identifiers, tokenizer, network, embeddings, catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from p5t5.baselines.base import item_counts
from p5t5.checkpoint.catalogue import Catalogue
from p5t5.checkpoint.checkpoint import Checkpoint, user_key
from p5t5.checkpoint.embedding_init import (
    identity_dimensions,
    item_and_user_vectors,
    with_identity_part,
    word_vectors,
)
from p5t5.checkpoint.hub import load_model, resolve, set_dropout
from p5t5.checkpoint.info import CheckpointInfo, DataRecord
from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.identifiers.base import Identifiers
from p5t5.identifiers.methods import fit_identifiers
from p5t5.model.configuration import PRESETS, preset_config
from p5t5.model.initialization import (
    grow_vocabulary,
    initialize,
    set_word_starts,
    start_identifiers,
    suppress_seen_items,
)
from p5t5.model.modeling import P5T5ForConditionalGeneration
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.columns import describe_items
from p5t5.text.pretraining_corpus import answer_words, training_texts
from p5t5.text.prompts import Prompt, seen_words
from p5t5.text.tokenizer import identifier_ids, load_tokenizer, text_tokens, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def create_checkpoint(
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

    ``model`` is a preset (trained from scratch, with its own tokenizer) or the folder or Hub id of a T5 checkpoint
    (its tokenizer and weights, the vocabulary grown by the identifiers).
    ``user_identifiers`` may be "none": users are then represented by their history alone. From scratch,
    embeddings are initialized from the training rows (`embedding_init`) unless ``start_from_factors`` is
    False. Raises UserError for an unknown preset or method, and where the tokenizer spells two names alike.
    """
    data, options = split.data, options or BuildOptions(seed=seed)
    items = fit_identifiers(item_identifiers, split, of="item", seed=seed)
    users = None
    if user_identifiers != "none":
        users = fit_identifiers(user_identifiers, split, of="user", seed=seed)
    pieces = items.pieces() + ([] if users is None else users.pieces())
    if model in PRESETS:
        tokenizer = _new_tokenizer(split, prompts, options, pieces, vocabulary_size, seed)
        size = -(-len(tokenizer) // 8) * 8
        config = preset_config(model, size, dropout=dropout, whole_word_embeddings=whole_word_embeddings)
        network = initialize(config, seed=seed)
    else:
        tokenizer = load_tokenizer(resolve(model), pieces)
        network = load_model(model)
        if whole_word_embeddings:
            network = P5T5ForConditionalGeneration.from_t5(network, whole_word_embeddings=True)
        grow_vocabulary(network, max(len(tokenizer), network.config.vocab_size), seed=seed)
        set_dropout(network, dropout)
    ids = identifier_ids(tokenizer, pieces)
    if items.words:  # named in plain text: the tokens and their embeddings are those of ordinary text
        tokens = text_tokens(tokenizer, items.spellings())
        check_distinct(tokens, items.spellings(), model)
    else:
        tokens = tokens_of(ids, items.piece_index())
    identity = 0
    if start_from_factors and model in PRESETS:
        user_tokens = None if users is None else tokens_of(ids[len(items.pieces()) :], users.piece_index())
        identity = _start_embeddings(network, tokenizer, split, items, tokens, user_tokens, options, seed)
    if whole_word_embeddings:
        later_tokens = tokens[:, 1:] if not items.words else tokens[:0]
        continuing = [int(i) for i in np.unique(later_tokens) if i >= 0]
        set_word_starts(network, tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))), continuing)
    catalogue = Catalogue.build(
        data.item_ids.tolist(),
        tokens,
        data.titles,
        describe_items(data.items, words=options.max_words),
        items.spellings(),
    )
    catalogue.set_item_count(item_counts(split))
    spelled = [] if users is None else users.spellings()
    keys = [user_key(user) for user in data.user_ids]
    info = _info(split, model, options, items, users, identity)
    return Checkpoint(
        network, tokenizer, catalogue, dict(zip(keys, spelled, strict=False)), list(prompts), info
    )


def _new_tokenizer(
    split: Split, prompts: Sequence[Prompt], options: BuildOptions, pieces: list[str], size: int, seed: int
) -> PreTrainedTokenizerFast:
    texts = [*training_texts(split, options), *_literals(prompts)]
    whole = [
        *answer_words(split.data),
        *seen_words(prompts),
    ]  # split into pieces, they would fill half of a short prompt
    return train_tokenizer(texts, pieces, size=size, seed=seed, whole=whole)


def _start_embeddings(
    network: P5T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    split: Split,
    items: Identifiers,
    tokens: np.ndarray,
    user_tokens: np.ndarray | None,
    options: BuildOptions,
    seed: int,
) -> int:
    """Initializes words, items and users from the training rows; returns the number of identity dimensions.

    ``tokens``, ``user_tokens``: int32 [items, levels] and [users, levels].
    """
    width = network.config.d_model
    identity = identity_dimensions(split, width) if tokens.shape[1] == 1 and not items.words else 0
    words, vectors = word_vectors(split, tokenizer, width - identity, options, seed)
    start_identifiers(network, words, np.pad(vectors, ((0, 0), (0, identity))), seed=seed)
    item_vectors, user_vectors = item_and_user_vectors(split, width - identity, seed)
    suppress_seen_items(network, identity)
    if not items.words:
        start_identifiers(network, tokens, with_identity_part(item_vectors, identity, seed), seed=seed)
    if user_tokens is not None:
        start_identifiers(network, user_tokens, np.pad(user_vectors, ((0, 0), (0, identity))), seed=seed)
    return identity


def _info(
    split: Split,
    model: str,
    options: BuildOptions,
    items: Identifiers,
    users: Identifiers | None,
    identity: int,
) -> CheckpointInfo:
    return CheckpointInfo(
        model=model,
        split=split.scheme,
        options=replace(options, epoch=0),
        data=DataRecord.of(split.data),
        identifiers={"item": items.report(), "user": None if users is None else users.report()},
        rating_values=[float(value) for value in split.data.rating_values],
        identity_dimensions=identity,
    )


def _literals(prompts: Iterable[Prompt]) -> list[str]:
    """The fixed text of all prompts, for the tokenizer."""
    return [
        text
        for prompt in prompts
        for template in (prompt.input, prompt.target)
        for kind, text in Prompt.pieces(template)
        if kind == "text"
    ]


def tokens_of(ids: np.ndarray, piece_index: np.ndarray) -> np.ndarray:
    """int32 [n, levels]: token ids of identifiers, padded with −1."""
    return np.where(piece_index < 0, -1, ids[piece_index]).astype(np.int32)


def check_distinct(tokens: np.ndarray, names: Sequence[str], model: str) -> None:
    """Raises UserError where a tokenizer that lacks letters of a title gives two names the same tokens."""
    _, first, group = np.unique(tokens, axis=0, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[group.reshape(-1)] != np.arange(len(tokens)))
    if len(repeated):
        first_name, second_name = names[first[group.reshape(-1)[repeated[0]]]], names[repeated[0]]
        raise UserError(
            f"--item_identifiers title: the tokenizer of {model} spells {first_name!r} and {second_name!r} alike. "
            "Choose other identifiers, or a model that is trained from scratch."
        )
