"""The tokenizer: trained here or a T5 checkpoint's, with sentinels and identifier tokens.

The order of ids is: text pieces (pad 0, </s> 1, <unk> 2, bytes, words), the 100 sentinels, then the
identifier tokens, so that a growing catalogue moves no id. Identifiers are Unigram pieces ``▁<…>``
of score 0, not added tokens: added tokens glue words together on decoding and load slowly.

The tokenizer is *trusted*: whoever writes ``<item_3>`` or ``</s>`` into a text gets that token.
Free text must have passed ``records.clean_text`` first.
"""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import generator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
WORD_START = "▁"
UNKNOWN_SCORE = -20.0  # about what a character outside the vocabulary costs a split
MOST_TEXTS = 500_000  # more text than this does not change 4,000 pieces; it only takes longer


def train_tokenizer(
    texts: Iterable[str],
    identifier_pieces: Sequence[str],
    size: int = 4000,
    seed: int = 0,
    whole: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """Train a SentencePiece unigram with byte fallback on ``texts`` and append the reserved tokens.

    ``size`` is the number of text pieces; a small corpus may give fewer. Each word of ``whole`` (the
    tasks' answers, the ratings) becomes one piece whatever the corpus thinks: answers of different
    lengths would be learned and scored unevenly. A pure function of its arguments. ``texts`` must come from the training part only. Raises UserError if there is no text,
    or if ``size`` cannot even hold the characters that occur.
    """
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    pieces = _unigram_pieces(texts, size, seed, whole)
    # T5's order: <extra_id_0> has the highest id. Nothing may count on it; sentinel_ids looks names up.
    pieces += [(name, 0.0) for name in reversed(SENTINELS)]
    backend = Tokenizer(Unigram(_with_identifiers(pieces, identifier_pieces), unk_id=2, byte_fallback=True))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")]
    )
    backend.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, 1)])
    return _wrapped(backend)


def load_tokenizer(folder_or_id: str | Path, identifier_pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer of a T5 checkpoint (folder or Hub id) with identifier tokens behind its last piece.

    Reads tokenizer.json itself: ``T5Tokenizer`` rebuilds its backend on load and so loses a byte
    fallback or a normaliser. The checkpoint's embedding may have more rows than this tokenizer has
    tokens (t5-small: 32,128 and 32,100); identifiers take the next ids and so some of those rows.
    Raises UserError if there is no such file or the tokenizer is of another kind.
    """
    from tokenizers import Tokenizer

    content = json.loads(_tokenizer_json(folder_or_id))
    if content["model"].get("type") != "Unigram":
        raise UserError(
            f"{folder_or_id}: its tokenizer is {content['model'].get('type')}, not a T5's Unigram; "
            "choose a T5, T5 v1.1, Flan-T5 or mT5 checkpoint."
        )
    pieces = [(piece, score) for piece, score in content["model"]["vocab"]]
    for token in sorted(content["added_tokens"], key=lambda token: token["id"]):
        if token["id"] > len(pieces):
            raise UserError(f"{folder_or_id}: its tokenizer leaves ids unused before {token['content']!r}.")
        if token["id"] == len(pieces):  # a token outside the vocabulary: keep its id, make it a piece
            pieces.append((token["content"], 0.0))
    known = {piece for piece, _ in pieces}
    if missing := [name for name in (PAD, EOS, UNK, *SENTINELS) if name not in known]:
        raise UserError(f"{folder_or_id}: its tokenizer lacks {missing[0]}; choose a T5 checkpoint.")
    content["model"]["vocab"] = _with_identifiers(pieces, identifier_pieces)
    tokenizer = _wrapped(Tokenizer.from_str(json.dumps(content)))
    _check_identifiers(tokenizer, identifier_pieces, str(folder_or_id))
    return tokenizer


def grow_tokenizer(tokenizer: PreTrainedTokenizerFast, pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer with more identifier tokens, which get the next ids; all others keep theirs.

    ValueError if one of the ``pieces`` is known already.
    """
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    known = [(piece, score) for piece, score in content["model"]["vocab"]]
    content["model"]["vocab"] = _with_identifiers(known, pieces)
    grown = _wrapped(Tokenizer.from_str(json.dumps(content)))
    _check_identifiers(grown, pieces, "the model")
    return grown


def text_tokens(tokenizer: PreTrainedTokenizerFast, names: Sequence[str]) -> np.ndarray:
    """int32 [n, longest]: the tokens of names in plain text, −1 padded."""
    encoded = tokenizer.backend_tokenizer.encode_batch(list(names), add_special_tokens=False)
    return Ragged.from_lists([one.ids for one in encoded]).padded(-1)


def identifier_ids(tokenizer: PreTrainedTokenizerFast, pieces: Sequence[str]) -> np.ndarray:
    """int32 [pieces]: the token id of each identifier token; ValueError if one is unknown."""
    return _ids(tokenizer, [WORD_START + piece for piece in pieces])


def sentinel_ids(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """int32 [100]: the ids of <extra_id_0>, <extra_id_1>, …, by name: they are not the last ids."""
    return _ids(tokenizer, list(SENTINELS))


def _ids(tokenizer: PreTrainedTokenizerFast, tokens: Sequence[str]) -> np.ndarray:
    ids = [tokenizer.backend_tokenizer.token_to_id(token) for token in tokens]
    if None in ids:
        raise ValueError(f"the tokenizer has no token {tokens[ids.index(None)]!r}")
    return np.asarray(ids, np.int32)


def _unigram_pieces(
    texts: Iterable[str], size: int, seed: int, whole: Sequence[str]
) -> list[tuple[str, float]]:
    import sentencepiece

    # SentencePiece sees what the tokenizer's normaliser will make of the text; one line a text.
    lines = [" ".join(unicodedata.normalize("NFKC", text).split()) for text in texts]
    lines = [line for line in lines if line]
    if not lines:
        raise UserError("The vocabulary cannot be trained: the training part holds no text at all.")
    if len(lines) > MOST_TEXTS:  # own choice: SentencePiece's sampling is not reproducible in a process
        keep = generator(seed, len(lines)).choice(len(lines), MOST_TEXTS, replace=False)
        lines = [lines[place] for place in np.sort(keep)]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="identity",
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            max_sentence_length=1_000_000,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"The vocabulary of {size} pieces could not be trained ({str(error).strip().splitlines()[-1]}); "
            "try a larger size."
        ) from error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]
    known = {piece for piece, _ in pieces}
    for word in dict.fromkeys(whole):
        if WORD_START + word not in known:
            # Just above the best split into pieces, so that words which begin with it change little.
            parts = processor.encode(word)
            score = sum(
                UNKNOWN_SCORE if processor.is_byte(part) else processor.get_score(part) for part in parts
            )
            pieces.append((WORD_START + word, score + 0.1))
    return pieces


def _with_identifiers(pieces: list[tuple[str, float]], identifiers: Sequence[str]) -> list[tuple[str, float]]:
    """The vocabulary with the identifier pieces last; score 0 beats every split of the same letters."""
    added = [WORD_START + piece for piece in identifiers]
    clash = {piece for piece, _ in pieces} & set(added)
    if clash or len(set(added)) < len(added):
        raise ValueError(f"identifier tokens must be new and different: {sorted(clash or added)[:3]}")
    return pieces + [(piece, 0.0) for piece in added]


def _wrapped(backend: Any) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        extra_special_tokens=list(SENTINELS),
        model_max_length=1024,
    )


def _tokenizer_json(folder_or_id: str | Path) -> str:
    """The text of tokenizer.json in a folder, or of a Hub id through the cache."""
    if Path(folder_or_id).is_dir():
        path = Path(folder_or_id) / "tokenizer.json"
        if not path.is_file():
            raise UserError(
                f"{folder_or_id} has no tokenizer.json; load and save its tokenizer once with "
                "transformers (AutoTokenizer) to make one."
            )
        return path.read_text(encoding="utf-8")
    from transformers.utils import cached_file

    try:
        found = cached_file(str(folder_or_id), "tokenizer.json")
    except OSError as error:
        raise UserError(
            f"{folder_or_id} is neither a folder nor a checkpoint with a tokenizer.json that can be had "
            f"here ({str(error).strip().splitlines()[0]})."
        ) from error
    return Path(str(found)).read_text(encoding="utf-8")


def _check_identifiers(tokenizer: PreTrainedTokenizerFast, pieces: Sequence[str], where: str) -> None:
    """A foreign normaliser or pre-tokenizer might cut an identifier up: the first and the last are tried."""
    for piece in {pieces[0], pieces[-1]} if pieces else set():
        wanted = [int(identifier_ids(tokenizer, [piece])[0]), tokenizer.convert_tokens_to_ids(EOS)]
        if tokenizer.encode(f"{piece} {piece}") != [wanted[0], *wanted]:
            raise UserError(f"{where}: its tokenizer does not keep {piece} whole; choose a T5 checkpoint.")
