"""Adds new items and users to a checkpoint: they get identifiers, and embeddings from what is known of them.

Nothing is trained here. Token ids that the model knows stay; items are renumbered in the order of a data
folder with all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from p5t5.checkpoint.catalogue import ITEM_BIAS, ITEM_COUNT, Catalogue
from p5t5.checkpoint.checkpoint import Checkpoint, user_key
from p5t5.checkpoint.creation import check_distinct, tokens_of
from p5t5.checkpoint.info import CheckpointInfo
from p5t5.core.errors import UserError
from p5t5.core.randomness import generator
from p5t5.data.cooccurrence import unit_rows
from p5t5.data.records.cleaning import clean_column, clean_id, clean_text
from p5t5.data.records.tables import item_order
from p5t5.data.splits import Split
from p5t5.data.text_features import catalogue_texts, weighted, word_features
from p5t5.identifiers.base import Identifiers
from p5t5.identifiers.methods import name_new
from p5t5.model.initialization import grow_vocabulary
from p5t5.model.modeling import P5T5Encoder, P5T5ForConditionalGeneration
from p5t5.tasks.columns import describe_items
from p5t5.text.tokenizer import WORD_START, grow_tokenizer, identifier_ids, text_tokens
from p5t5.updating.embedding_transfer import carried_over
from p5t5.updating.new_item_prior import cap_new_item_probability

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def add_items(checkpoint: Checkpoint, items: pd.DataFrame) -> Checkpoint:
    """The checkpoint with those of ``items`` (item_id, title?, attributes?; strings) that it does not know.

    They get identifiers by the method of the catalogue. The embedding of a new token starts among those of the items with
    the most similar descriptions (`embedding_transfer.carried_over`), and the total probability of new items is capped at
    their share of the catalogue (`new_item_prior.cap_new_item_probability`). Returns the same checkpoint if nothing is new.
    Ids, texts and column names are cleaned as `p5t5 prepare` cleans them.
    Raises UserError for items without an id or given twice, and for columns of the same name.
    """
    new = _unknown(checkpoint, items)
    if not len(new):
        return checkpoint
    known = checkpoint.catalogue.items
    described_by = known.drop(columns=["identifier", ITEM_BIAS, ITEM_COUNT], errors="ignore")
    table = pd.concat([described_by, new], ignore_index=True).fillna("")
    texts = catalogue_texts(table)
    seed = int(checkpoint.info.options.seed)
    report = checkpoint.info.identifiers["item"]
    assert report is not None  # items always have identifiers
    old = Identifiers.read(report, known["identifier"].tolist())
    named = name_new(old, texts[: len(known)], texts[len(known) :].reset_index(drop=True), seed)
    tokenizer = _with_pieces(checkpoint.tokenizer, named)
    if named.words:
        tokens = text_tokens(tokenizer, named.spellings())
        check_distinct(tokens, named.spellings(), str(checkpoint.info.model))
    else:
        tokens = tokens_of(identifier_ids(tokenizer, named.pieces()), named.piece_index())
    model = checkpoint.model
    if not named.words:  # words already have embeddings
        model = _with_vocabulary(model, tokenizer)
        old_tokens, new_tokens = np.split(tokens, [len(known)])
        identity = checkpoint.info.identity_dimensions
        _set_embeddings(model, old_tokens, old_tokens, new_tokens, word_features(texts), identity, seed)
    order = item_order(table["item_id"].tolist())
    table = table.iloc[order].reset_index(drop=True)
    spellings = np.array(named.spellings(), object)[order].tolist()
    attributes = table["attributes"].tolist() if "attributes" in table else None
    catalogue = Catalogue.build(
        table["item_id"].tolist(), tokens[order], table["title"].tolist(), attributes, spellings
    )
    if (count := checkpoint.catalogue.item_count) is not None:
        catalogue.set_item_count(np.append(count, np.zeros(len(new), np.int64))[order])
    if (bias := checkpoint.catalogue.item_bias) is not None:
        catalogue.set_item_bias(np.append(bias, np.full(len(new), np.nan, np.float32))[order])
    info = _with_names(checkpoint.info, "item", named, {"stage": "add_items", "items": len(new)})
    updated = replace(
        checkpoint,
        fitted=dict(checkpoint.fitted),
        model=model,
        tokenizer=tokenizer,
        catalogue=catalogue,
        info=info,
    )
    if not named.words:  # ordinary words occur in other texts too
        cap_new_item_probability(updated, order >= len(known), seed)
    return updated


def add_users(checkpoint: Checkpoint, split: Split) -> Checkpoint:
    """The checkpoint with the users of the split's training rows that it does not know.

    Their tokens start among those of the users who visited the same items. Where users have no identifiers, or are
    named by a method that needs more than an id (collaborative, semantic, hybrid), new users are represented by
    their history alone, and the checkpoint is returned unchanged.
    """
    report = checkpoint.info.identifiers["user"]
    keys = [user_key(user) for user in split.data.user_ids]
    trained = np.bincount(split.data.user[split.rows("train")], minlength=len(keys)) > 0
    new = trained & np.array([key not in checkpoint.users for key in keys], bool)
    if report is None or report["method"] not in ("atomic", "random", "sequential") or not new.any():
        return checkpoint
    old = Identifiers.read(report, list(checkpoint.users.values()))
    new_keys = [keys[row] for row in np.flatnonzero(new)]
    known_ids, new_ids = (pd.DataFrame({"item_id": ids}) for ids in (list(checkpoint.users), new_keys))
    named = name_new(old, known_ids, new_ids, int(checkpoint.info.options.seed))
    tokenizer = _with_pieces(checkpoint.tokenizer, named)
    tokens = tokens_of(identifier_ids(tokenizer, named.pieces()), named.piece_index())
    row_of_key = {key: row for row, key in enumerate(checkpoint.users)}
    known = np.array([row_of_key.get(key, -1) for key in keys])
    rows = np.concatenate([np.flatnonzero(known >= 0), np.flatnonzero(new)])
    model = _with_vocabulary(checkpoint.model, tokenizer)
    _set_embeddings(
        model,
        tokens[: len(old)],
        tokens[known[known >= 0]],
        tokens[len(old) :],
        _history_features(split)[rows],
    )
    users = dict(zip([*checkpoint.users, *new_keys], named.spellings(), strict=True))
    info = _with_names(checkpoint.info, "user", named, {"stage": "add_users", "users": int(new.sum())})
    return replace(
        checkpoint, fitted=dict(checkpoint.fitted), model=model, tokenizer=tokenizer, users=users, info=info
    )


def _unknown(checkpoint: Checkpoint, items: pd.DataFrame) -> pd.DataFrame:
    """The items that the catalogue lacks, cleaned, with the catalogue's columns. Raises UserError as `add_items`."""
    if "item_id" not in items:
        raise UserError(
            f"new items need a column item_id; the table has {', '.join(map(str, items.columns))}."
        )
    items = _cleaned(items)
    items = items[~items["item_id"].isin(set(checkpoint.catalogue.item_ids))]
    order = item_order(items["item_id"].tolist())  # the order of the table must not matter
    items = items.iloc[order].reset_index(drop=True)
    for item_id in items["item_id"][items["item_id"].duplicated()].head(1):
        raise UserError(f"new items: item_id {item_id!r} occurs twice; give every new item its own id.")
    ids = items["item_id"].tolist()
    titles = items["title"].tolist() if "title" in items else [""] * len(ids)
    new = pd.DataFrame(
        {
            "item_id": ids,
            "title": [title or clean_text(item_id) for title, item_id in zip(titles, ids, strict=True)],
        }
    )
    if "attributes" in checkpoint.catalogue.items:
        new["attributes"] = describe_items(items, words=int(checkpoint.info.options.max_words))
    return new


def _cleaned(items: pd.DataFrame) -> pd.DataFrame:
    """The table with clean ids, texts and column names; all columns are read as text that must not hold tokens."""
    names = [clean_text(str(column)) for column in items.columns]
    for name, column in zip(names, items.columns, strict=True):
        if not name or names.count(name) > 1:
            raise UserError(
                f"new items: the column name {str(column)!r} is empty or occurs twice; rename it."
            )
    ids = [clean_id(value) for value in items["item_id"].tolist()]
    for row, (value, item_id) in enumerate(zip(items["item_id"].tolist(), ids, strict=True)):
        if not item_id:
            reason = "holds control characters or is not a string" if item_id is None else "is empty"
            raise UserError(f"new items, row {row}: item_id {value!r} {reason}; give every new item an id.")
    texts = {
        name: ids if name == "item_id" else clean_column(items.iloc[:, index].tolist())
        for index, name in enumerate(names)
    }
    return pd.DataFrame(texts, dtype=object)


def _with_pieces(tokenizer: PreTrainedTokenizerFast, named: Identifiers) -> PreTrainedTokenizerFast:
    """The tokenizer extended by the tokens of ``named``."""
    vocabulary = tokenizer.get_vocab()
    pieces = [piece for piece in named.pieces() if WORD_START + piece not in vocabulary]
    return grow_tokenizer(tokenizer, pieces) if pieces else tokenizer


def _with_vocabulary(
    model: P5T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> P5T5ForConditionalGeneration:
    """A copy of the model with an embedding for each token."""
    model = copy.deepcopy(model)
    grow_vocabulary(model, max(model.config.vocab_size, -(-len(tokenizer) // 8) * 8))
    return model


@torch.no_grad()
def _set_embeddings(
    model: P5T5ForConditionalGeneration,
    used: np.ndarray,
    known: np.ndarray,
    new: np.ndarray,
    features: sparse.csr_array,
    identity: int = 0,
    seed: int = 0,
) -> None:
    """Sets the embeddings of those tokens of the new things that are not ``used``, level by level.

    ``known`` int [n, levels] and ``new`` int [m, levels]: token ids, padded with −1; ``features`` [n + m, f].
    The last ``identity`` dimensions, which distinguish a thing from all others, are drawn by the seed, as long as the
    others' are. A token that several new things share gets the mean of theirs. Tokens after the first continue a
    word, for models that count words.
    """
    tables = [model.shared.weight]
    if model.lm_head.weight is not model.shared.weight:
        tables.append(model.lm_head.weight)
    for level in range(min(known.shape[1], new.shape[1])):
        unset = np.flatnonzero((new[:, level] >= 0) & ~np.isin(new[:, level], used))
        known_rows = np.flatnonzero(known[:, level] >= 0)
        if not len(unset) or not len(known_rows):
            continue
        ids, token_index = np.unique(new[unset, level], return_inverse=True)
        if level and isinstance(model.encoder, P5T5Encoder) and model.encoder.whole_words is not None:
            model.encoder.word_start[torch.from_numpy(ids.astype(np.int64))] = False
        for table in tables:
            rows = table.detach().float().cpu().numpy()
            vectors = carried_over(
                features[known_rows], rows[known[known_rows, level]], features[len(known) + unset]
            )
            if identity:
                identity_rows = rows[known[known_rows, level], -identity:]
                random_vectors = generator(seed, 37).standard_normal((len(vectors), identity))
                vectors[:, -identity:] = (
                    unit_rows(random_vectors, seed) * np.linalg.norm(identity_rows, axis=1).mean()
                )
            sums = np.zeros((len(ids), vectors.shape[1]), np.float32)
            np.add.at(sums, token_index, vectors)
            sums /= np.bincount(token_index)[:, None]
            table[torch.from_numpy(ids.astype(np.int64))] = torch.from_numpy(sums).to(table)


def _history_features(split: Split) -> sparse.csr_array:
    """float32 [users, items]: the training items of each user, weighted like the words of a text."""
    train = split.rows("train")
    shape = (split.data.number_of_users, split.data.number_of_items)
    pairs = (split.data.user[train], split.data.item[train])
    counts = sparse.coo_array((np.ones(len(train), np.float32), pairs), shape=shape).tocsr()
    return weighted(counts)


def _with_names(
    info: CheckpointInfo, of: str, named: Identifiers, stage: Mapping[str, Any]
) -> CheckpointInfo:
    """The updated record. Artifacts fitted to the weights still hold, since nothing was trained."""
    return info.copy(identifiers={**info.identifiers, of: named.report()}, stages=[*info.stages, dict(stage)])
