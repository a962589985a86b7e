"""A start that knows that people seldom come back: items with a part of their own, read as done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.checkpoint.embedding_init import IDENTITY_SHARE, identity_dimensions, with_identity_part
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.model.initialization import REPELLED
from p5t5.text.prompts import load_prompts
from p5t5.updating.new_entities import add_items


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate(users=200, items=90, seed=2).data)


def without_repeats(split):
    """The data, each user going through the items in turn."""
    place = np.arange(len(split.data)) - split.data.user_start[split.data.user]
    item = ((split.data.user + place) % split.data.number_of_items).astype(np.int32)
    return replace(split, data=replace(split.data, item=item))


def with_repeats(split):
    """The data, each user always at the same item."""
    return replace(
        split, data=replace(split.data, item=split.data.user % np.int32(split.data.number_of_items))
    )


def test_a_part_of_its_own_only_where_people_do_not_come_back(split):
    assert identity_dimensions(without_repeats(split), 128) == 32
    assert identity_dimensions(with_repeats(split), 128) == 0


def test_whether_people_come_back_is_asked_of_training_rows_alone(split):
    never = without_repeats(split)
    rows = np.flatnonzero(never.part != 0)
    item = never.data.item.copy()
    item[rows] = item[rows - 1]
    again = replace(never, data=replace(never.data, item=item))
    assert identity_dimensions(again, 128) == identity_dimensions(never, 128)


def test_an_own_part_tells_items_apart_that_are_alike_otherwise():
    alike = np.tile(np.eye(1, 24, dtype=np.float32), (50, 1))
    table = with_identity_part(alike, 40)
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose((table[:, 24:] ** 2).sum(1), IDENTITY_SHARE, rtol=1e-4)
    between = table @ table.T
    assert between[~np.eye(50, dtype=bool)].max() < 0.9
    assert with_identity_part(alike, 0) is alike


def test_what_a_history_hands_on_ranks_its_items_below_their_likes(split):
    """The last block's values and outputs, as linear maps: an item speaks for its like, and against itself."""
    checkpoint = create_checkpoint(without_repeats(split), load_prompts(), vocabulary_size=400)
    crossed = [block.layer[1].EncDecAttention for block in checkpoint.model.decoder.block]
    own = identity_dimensions(without_repeats(split), checkpoint.model.config.d_model)
    with torch.no_grad():
        first, last = (one.o.weight @ one.v.weight for one in crossed)
        assert torch.equal(first.diag()[-own:], torch.zeros(own))
        assert torch.equal(last.diag()[-own:], torch.full((own,), -REPELLED))
        assert torch.equal(last.diag()[:-own], torch.ones(128 - own))
        items = checkpoint.model.shared.weight[
            torch.from_numpy(checkpoint.catalogue.tokens[:, 0].astype(np.int64))
        ]
        scores = (items @ last.t()) @ items.t()
        plain = items @ items.t()
    before, after = (
        float((table > table.diagonal()[:, None]).float().sum(1).mean()) for table in (plain, scores)
    )
    assert before == 0 and after > 3, "an item was the best answer to itself, and is so no more"


def test_words_say_nothing_there(split):
    checkpoint = create_checkpoint(without_repeats(split), load_prompts(), vocabulary_size=400)
    rating = checkpoint.tokenizer.convert_tokens_to_ids("▁4")
    assert float(checkpoint.model.shared.weight[rating, -32:].detach().abs().max()) < 0.2


def test_identifiers_of_several_tokens_have_no_own_part(split):
    several = create_checkpoint(
        without_repeats(split), load_prompts(), vocabulary_size=400, item_identifiers="collaborative"
    )
    crossed = several.model.decoder.block[-1].layer[1].EncDecAttention.o.weight
    assert torch.equal(crossed.detach(), torch.eye(*crossed.shape))


def test_a_new_item_has_a_part_of_its_own_too(split):
    """Else what is described like the items of a history would be taken for them, and pushed down."""
    checkpoint = create_checkpoint(without_repeats(split), load_prompts(), vocabulary_size=400)
    like = checkpoint.catalogue.items.iloc[0]
    grown = add_items(checkpoint, pd.DataFrame({"item_id": ["new"], "title": [like["title"] + " again"]}))
    rows = grown.model.shared.weight.detach()
    tokens = grown.catalogue.tokens[:, 0].astype(np.int64)
    number = grown.catalogue.numbers(["new"])[0]
    own = rows[torch.from_numpy(tokens)][:, -32:]
    lengths = own.norm(dim=1)
    assert float(lengths[number]) == pytest.approx(float(lengths.mean()), rel=0.05)
    others = torch.cat([own[:number], own[number + 1 :]])
    assert float((others @ own[number] / (lengths.mean() ** 2)).max()) < 0.7
