"""Prompt + slot values → text for people, token ids for the model; both from one list of elements.

Every example is first laid out as a row of **elements**: a template's literals are elements of a pool
of their own, the slots bring theirs, ``</s>`` is one too. The text is the elements' strings joined by
spaces, the ids are the elements' tokens one behind the other. Each string is tokenised once. That the
two agree, ``encode_text(text) == ids``, rests on the tokenizer treating each word by itself, and on
slots that stand alone between spaces (the prompts' lint).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from p5t5.core.encoded import Encoded, SoftTargets, on_disk
from p5t5.core.ragged import Ragged, positions
from p5t5.tasks.base import ITEM, POOLS, RATING, TEXT, TITLE, USER, WORD, WORDS, Column, Examples
from p5t5.text.augmentation import VARIANTS, augment, draw_augmentations
from p5t5.text.prompts import Prompt, seen_words
from p5t5.text.tokenizer import EOS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from p5t5.text.mixture import Mixture

LITERAL, ALTERED = len(POOLS), len(POOLS) + 1  # the templates' literals and their variants; known here only
END, GAP = 0, 1  # literals: </s>, and nothing, where an input is silent around its slots; a variant may speak
IDENTIFIER_POOLS = (USER, ITEM)  # identifiers: masked whole by the denoising
RENDERED = 1 << 19  # examples at a time
MOST_TEXTS = 1_000_000  # free texts kept tokenised before the store starts again


@dataclass(frozen=True)
class DistilledRow:
    """The soft targets of a mixture: task → int32 [interactions], the soft target on each, −1 where there is none."""

    soft_targets: SoftTargets
    numbers: Mapping[str, np.ndarray]


class Renderer:
    """Renders examples of all tasks for one tokenizer, one catalogue and one list of prompts.

    ``names`` gives the strings of the pools USER, ITEM (identifier spellings), TITLE and RATING; pools
    that are not needed may be missing. ``prompts`` is the list that ``prompt_index`` counts.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        names: Mapping[int, Sequence[str]],
        prompts: Sequence[Prompt],
    ) -> None:
        self.tokenizer = tokenizer
        self.prompts = list(prompts)
        self._literals = {EOS: END, "": GAP}
        for prompt in self.prompts:  # first those that have variants
            if not prompt.held_out:
                self._layout(prompt.input, GAP)
        self._alterable = len(self._literals)
        self._layouts = [(self._layout(p.input, GAP), self._layout(p.target)) for p in self.prompts]
        fixed = {WORD: WORDS, LITERAL: list(self._literals), **names}
        self._strings: list[str] = []
        self._base = np.full(ALTERED + 1, -1, np.int64)
        self._tokens = Ragged.from_lists([])
        for pool in sorted(fixed):
            self._base[pool] = len(self._strings)
            self._add(fixed[pool])
        self.eos: int = tokenizer.backend_tokenizer.encode(EOS, add_special_tokens=False).ids[0]
        self._fixed = len(self._strings)
        self._place_of_text: dict[str, int] = {}

    def encode(
        self,
        examples: Examples,
        prompt_index: np.ndarray,
        weight: float | np.ndarray = 1.0,
        distilled: DistilledRow | None = None,
        variant: np.ndarray | None = None,
    ) -> Encoded:
        """Token ids, loss weights and units of all examples; example i is worded by prompt_index[i].

        Every element of a target slot is an answer unit; literals and ``</s>`` join the unit before
        them (the first, if none is). A unit's tokens weigh ``weight`` / (their number); ``weight`` may
        be one number or one an example. Units without tokens (an empty text) do not count. ``distilled``: soft
        targets for the units of one token. ``variant``: see `encode_inputs`.
        """
        prompt_index = np.asarray(prompt_index, np.int64)
        inputs = self.encode_inputs(examples, prompt_index, variant)
        places, is_answer = self._lay_out(examples, prompt_index, 1)
        targets = self._gather(places)
        lengths = self._lengths[places.values]
        weights, units = _answer_weights(places, is_answer & (lengths > 0), lengths)
        weights *= np.repeat(np.broadcast_to(np.asarray(weight, np.float64), len(targets)), targets.lengths)
        encoded = Encoded(inputs, targets, weights.astype(np.float32), units)
        if distilled is None or examples.task not in distilled.numbers:
            return encoded
        soft_target_index = _soft_target_of_token(
            places, is_answer, lengths, examples.rows, distilled.numbers[examples.task]
        )
        return replace(encoded, soft_targets=distilled.soft_targets, soft_target_index=soft_target_index)

    def encode_inputs(
        self, examples: Examples, prompt_index: np.ndarray, variant: np.ndarray | None = None
    ) -> Ragged:
        """Ragged int32: the encoder ids alone, ``</s>`` included.

        ``variant``: for training, int64 [examples], which variant of its literals each example has
        (`rewording`), −1 for the literals as they are. Wordings that are held out have none.
        """
        if variant is not None:
            self._know_variants()
        self._make_room(examples.texts)
        places, from_slot = self._lay_out(examples, np.asarray(prompt_index, np.int64), 0)
        if variant is not None:
            number = places.values - self._base[LITERAL]
            which = np.repeat(variant, places.lengths)
            mine = np.flatnonzero(~from_slot & (which >= 0) & (number >= GAP) & (number < self._alterable))
            places.values[mine] = self._base[ALTERED] + (number[mine] - GAP) * VARIANTS + which[mine]
        return self._gather(places)

    def text(self, examples: Examples, prompt_index: np.ndarray) -> list[tuple[str, str]]:
        """(input, target) an example, as a person reads them."""
        self._make_room(examples.texts)
        sides = [
            self._spell(self._lay_out(examples, np.asarray(prompt_index, np.int64), side)[0])
            for side in (0, 1)
        ]
        return list(zip(*sides, strict=True))

    def encode_text(self, text: str) -> list[int]:
        """Ids of a *trusted* text, ``</s>`` added: identifiers and control tokens spelled in it are read
        as such. What people wrote must have been through ``records.clean_text``."""
        return [*self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids, self.eos]

    def encode_elements(self, column: Column, texts: Sequence[str] = ()) -> tuple[Ragged, Ragged]:
        """Tokens (no ``</s>``) and group numbers of rows of elements, for the denoising.

        A group is what is masked as a whole: one identifier of a user or item with all its tokens, or
        one token of anything else. Both are Ragged int32 of the same shape; groups count from 0 in
        each row.
        """
        self._make_room(texts)
        places = Ragged(self._places(column, texts), column.elements.offsets)
        tokens = self._gather(places)
        lengths = self._lengths[places.values]
        starts_group = np.repeat(~np.isin(column.pools, IDENTIFIER_POOLS), lengths)
        nonempty = lengths > 0
        starts_group[(np.cumsum(lengths) - lengths)[nonempty]] = True
        begun = np.concatenate([[0], np.cumsum(starts_group)])  # groups before each token
        groups = begun[1:] - 1 - np.repeat(begun[tokens.offsets[:-1]], tokens.lengths)
        return tokens, Ragged(groups.astype(np.int32), tokens.offsets)

    def element_text(self, column: Column, texts: Sequence[str] = ()) -> list[str]:
        """The rows of elements as people read them."""
        self._make_room(texts)
        return self._spell(Ragged(self._places(column, texts), column.elements.offsets))

    def _layout(self, template: str, gap: int | None = None) -> list[tuple[str, int | str]]:
        """("text", literal number) and ("slot", name) in order; the literal ``gap`` where a slot has none."""
        layout: list[tuple[str, int | str]] = []
        for kind, piece in [*Prompt.pieces(template), ("end", "")]:
            if kind == "text":
                layout.append((kind, self._literals.setdefault(piece, len(self._literals))))
                continue
            if gap is not None and (not layout or layout[-1][0] == "slot"):
                layout.append(("text", gap))
            if kind == "slot":
                layout.append((kind, piece))
        return layout

    def _lay_out(self, examples: Examples, prompt_index: np.ndarray, side: int) -> tuple[Ragged, np.ndarray]:
        """Ragged of element places, and for each element whether it came from a slot; side 0 is the
        input, 1 the target."""
        used = np.unique(prompt_index)
        rows_of = {int(prompt): np.flatnonzero(prompt_index == prompt) for prompt in used}
        slots = {name: self._slot_places(examples, name, used, side) for name in self._slots(used, side)}
        lengths_of = {name: slot.lengths for name, slot in slots.items()}
        counts = np.ones(len(examples), np.int64)  # </s>
        for prompt, rows in rows_of.items():
            for kind, piece in self._layouts[prompt][side]:
                counts[rows] += 1 if kind == "text" else lengths_of[str(piece)][rows]
        out = Ragged.from_lengths(np.full(int(counts.sum()), self._base[LITERAL] + END, np.int64), counts)
        from_slot = np.zeros(len(out.values), bool)
        for prompt, rows in rows_of.items():
            cursor = out.offsets[rows]
            for kind, piece in self._layouts[prompt][side]:
                if kind == "text":
                    out.values[cursor] = self._base[LITERAL] + int(piece)
                    cursor = cursor + 1
                    continue
                column, lengths = slots[str(piece)], lengths_of[str(piece)][rows]
                where = positions(cursor, lengths)
                out.values[where] = column.values[where + np.repeat(column.offsets[rows] - cursor, lengths)]
                from_slot[where] = True
                cursor = cursor + lengths
        return out, from_slot

    def _slots(self, used: np.ndarray, side: int) -> list[str]:
        return list(
            dict.fromkeys(
                str(piece) for prompt in used for kind, piece in self._layouts[prompt][side] if kind == "slot"
            )
        )

    def _slot_places(self, examples: Examples, name: str, used: np.ndarray, side: int) -> Ragged:
        if name not in examples.columns:
            ids = [
                self.prompts[prompt].id for prompt in used if ("slot", name) in self._layouts[prompt][side]
            ]
            raise ValueError(f"prompt {ids[0]!r} uses the slot {name!r}, which {examples.task} does not fill")
        column = examples.columns[name]
        return Ragged(self._places(column, examples.texts), column.elements.offsets)

    def _places(self, column: Column, texts: Sequence[str]) -> np.ndarray:
        """int64: where each element's string and tokens stand in the store."""
        is_text = column.pools == TEXT
        base = self._base[column.pools]
        if is_text.any():
            places = np.full(len(texts), -1, np.int64)
            needed = np.unique(column.elements.values[is_text])
            places[needed] = self._text_places([texts[place] for place in needed.tolist()])
            base[is_text] = 0
            values = column.elements.values.astype(np.int64)
            values[is_text] = places[values[is_text]]
            return base + values
        if len(base) and base.min() < 0:
            missing = POOLS[int(column.pools[np.argmin(base)])]
            raise ValueError(f"the renderer was made without names for the pool {missing!r}")
        return base + column.elements.values

    def _text_places(self, texts: list[str]) -> list[int]:
        """Free texts are tokenised when first met and then kept: the same ones return every epoch."""
        known = self._place_of_text
        if new := list(dict.fromkeys(text for text in texts if text not in known)):
            known.update(zip(new, range(len(self._strings), len(self._strings) + len(new)), strict=True))
            self._add(new)
        return [known[text] for text in texts]

    def _make_room(self, texts: Sequence[str]) -> None:
        """Forget the free texts when there are too many; only between calls, where no places are held."""
        if len(self._place_of_text) + len(texts) > MOST_TEXTS and self._place_of_text:
            self._forget_texts()

    def _know_variants(self) -> None:
        """Tokenises the variants before the first training epoch; those who only ask need none."""
        if self._base[ALTERED] >= 0:
            return
        self._forget_texts()  # they stand behind all that stays
        words = seen_words(self.prompts)
        literals = list(self._literals)[GAP : self._alterable]
        self._base[ALTERED] = len(self._strings)
        self._add([text for literal in literals for text in augment(literal, words)])
        self._fixed = len(self._strings)

    def _forget_texts(self) -> None:
        self._place_of_text.clear()
        del self._strings[self._fixed :]
        offsets = self._tokens.offsets[: self._fixed + 1]
        self._tokens = Ragged(self._tokens.values[: offsets[-1]], offsets)
        self._lengths = self._tokens.lengths

    def _add(self, strings: Sequence[str]) -> None:
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(list(strings), add_special_tokens=False)
        tokens = Ragged.from_lists([encoding.ids for encoding in encoded])
        self._tokens = Ragged.concatenate([self._tokens, tokens])
        self._lengths = self._tokens.lengths  # kept: the store is large, and looked up a few rows at a time
        self._strings.extend(strings)

    def _gather(self, places: Ragged) -> Ragged:
        """The tokens of rows of elements."""
        lengths = self._lengths[places.values]
        starts = self._tokens.offsets[places.values]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        tokens = self._tokens.values[positions(starts, lengths)]
        return Ragged(tokens, ends[places.offsets])

    def _spell(self, places: Ragged) -> list[str]:
        end = int(self._base[LITERAL] + END)
        strings = self._strings
        rows = []
        for row in places.to_lists():
            words = (strings[place] for place in row if place != end)
            rows.append(" ".join(word for word in words if word))
        return rows


def render_mixture(
    renderer: Renderer, mixture: Mixture, epoch: int, distilled: DistilledRow | None = None
) -> Encoded:
    """All examples of a mixture's epoch as token ids, in example order.

    They are rendered RENDERED at a time. An epoch of more than that lies in unnamed files of the
    temporary folder (TMPDIR), mapped into memory: only what is being read takes up memory.
    """
    number = {prompt.id: place for place, prompt in enumerate(renderer.prompts)}
    prompt_of = np.array([number[prompt.id] for prompt in mixture.prompts], np.int64)
    choice = mixture.choose(epoch)

    def block(start: int) -> Encoded:
        parts, places = [], []
        for task, examples, prompt_index, at in mixture.examples(epoch, choice, start, start + RENDERED):
            weight = mixture.loss_weights.get(task.name, 1.0)
            variant = draw_augmentations(mixture.seed, epoch, at)
            parts.append(renderer.encode(examples, prompt_of[prompt_index], weight, distilled, variant))
            places.append(at)
        return Encoded.concatenate(parts).take(np.argsort(np.concatenate(places), kind="stable"))

    blocks = (block(start) for start in range(0, mixture.size, RENDERED))
    return next(blocks) if mixture.size <= RENDERED else on_disk(blocks)


def names_of(
    users: Sequence[str], items: Sequence[str], titles: Sequence[str], rating_values: np.ndarray
) -> dict[int, Sequence[str]]:
    """The ``names`` of a Renderer: identifier spellings, titles, and ratings spelled "4" or "3.5"."""
    return {USER: users, ITEM: items, TITLE: titles, RATING: [f"{value:g}" for value in rating_values]}


def _soft_target_of_token(
    places: Ragged, is_answer: np.ndarray, lengths: np.ndarray, rows: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """int32 a target token: its soft target, −1 for none. The first answer of an example is about its row, the
    next about the interaction after it, and so on."""
    element = np.flatnonzero(is_answer)
    row = places.row_of_value[element]
    first = np.searchsorted(row, np.arange(len(places)))
    about = rows[row] + np.arange(len(element)) - first[row]
    single = lengths[element] == 1
    token = np.cumsum(lengths) - lengths
    soft_target_index = np.full(int(lengths.sum()), -1, np.int32)
    soft_target_index[token[element[single]]] = numbers[about[single]]
    return soft_target_index


def _answer_weights(
    places: Ragged, starts_unit: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per token 1 / (tokens of its unit), float64; and the number of units of each row, int32.

    ``starts_unit`` and ``lengths`` (tokens) are per element.
    """
    row = places.row_of_value
    units = np.bincount(row[starts_unit], minlength=len(places))
    alone = np.flatnonzero(units == 0)  # a target of literals only, or of an empty text: one unit
    units[alone] = 1
    first_unit = np.cumsum(units) - units
    seen = np.cumsum(starts_unit)
    before_row = np.concatenate([[0], seen])[places.offsets[:-1]]
    inside = np.maximum(seen - before_row[row] - 1, 0)  # what stands before the first unit joins it
    unit = first_unit[row] + inside
    tokens = np.bincount(unit, weights=lengths, minlength=int(units.sum()))
    with np.errstate(divide="ignore"):
        weights = np.repeat((1.0 / tokens)[unit], lengths)
    return weights, units.astype(np.int32)
