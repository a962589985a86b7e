"""The trie against a dict trie, and the catalogue on disk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.checkpoint.catalogue import Catalogue
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.decoding.trie import Trie

EOS = 1
few_tokens = st.lists(st.integers(2, 5), min_size=1, max_size=5).map(tuple)
many_tokens = st.lists(st.integers(2, 40_000), min_size=1, max_size=4).map(tuple)
identifier_sets = st.one_of(
    st.lists(few_tokens, min_size=1, max_size=40, unique=True),
    st.lists(many_tokens, min_size=1, max_size=40, unique=True),
    st.lists(st.tuples(*[st.integers(2, 6)] * 3), min_size=1, max_size=60, unique=True),
)


def table(rows) -> np.ndarray:
    return Ragged.from_lists(rows).padded(-1)


def with_end(rows) -> list[tuple]:
    """What the trie should hold: ``</s>`` behind each where lengths differ."""
    return [(*row, EOS) for row in rows] if len({len(row) for row in rows}) > 1 else list(rows)


def walk(trie: Trie, level: int = 0, node: int = 0, prefix: tuple = ()):
    """The slow twin: every (path, position) by walking children one by one."""
    if level == trie.depth:
        yield prefix, int(trie.first_position[level][node])
        return
    first, end = trie.children_of(level, np.array([node]))
    if first[0] == end[0]:
        yield prefix, int(trie.first_position[level][node])
    for child in range(int(first[0]), int(end[0])):
        token = int(trie.level_tokens[level][trie.codes[level][child]])
        yield from walk(trie, level + 1, child, (*prefix, token))


@given(identifier_sets)
@settings(max_examples=150, deadline=None)
def test_every_path_names_its_item_and_no_other(rows):
    trie = Trie.build(table(rows))
    ended = with_end(rows)
    found = {path: int(trie.item_of_position[position]) for path, position in walk(trie)}
    assert found == {row: item for item, row in enumerate(ended)}
    paths = trie.paths(np.arange(len(rows)))
    assert [tuple(row[row >= 0].tolist()) for row in paths] == ended
    assert trie.has_eos == (len({len(row) for row in rows}) > 1)
    assert trie.lengths[trie.position_of_item].tolist() == [len(row) for row in ended]


@given(identifier_sets)
@settings(max_examples=100, deadline=None)
def test_leaf_counts_and_first_positions(rows):
    trie = Trie.build(table(rows))
    ended = sorted(with_end(rows))
    for level in range(trie.depth + 1):
        prefixes = sorted({row[:level] for row in ended if len(row) >= level})
        assert trie.nodes(level) == len(prefixes)
        assert trie.leaf_counts[level].tolist() == [sum(r[:level] == p for r in ended) for p in prefixes]
        expected = [next(i for i, r in enumerate(ended) if r[:level] == p) for p in prefixes]
        assert trie.first_position[level].tolist() == expected
        for position, row in enumerate(ended):
            if len(row) >= level:
                assert trie.ancestors(np.array([position]), level)[0] == prefixes.index(row[:level])
        if level < trie.depth:
            children = [len({r[level] for r in ended if r[:level] == p and len(r) > level}) for p in prefixes]
            assert trie.max_branch[level] == max(children)
            leaves = [p in ended for p in prefixes]
            assert trie.leaf_levels[level] == ("all" if all(leaves) else "some" if any(leaves) else "none")


@given(identifier_sets, st.data())
@settings(max_examples=100, deadline=None)
def test_subset_keeps_numbers_and_paths(rows, data):
    trie = Trie.build(table(rows))
    keep = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, unique=True))
    part = trie.subset(np.array(keep))
    ended = with_end(rows)
    found = {path: int(part.item_of_position[position]) for path, position in walk(part)}
    assert found == {ended[item]: item for item in keep}
    rest = trie.without(np.array(keep))
    assert sorted(rest.item_of_position.tolist()) == sorted(set(range(len(rows))) - set(keep))


@given(identifier_sets, st.integers(0, 40))
@settings(max_examples=80, deadline=None)
def test_appended_items_get_the_next_numbers(rows, at):
    at = 1 + at % len(rows)
    trie = Trie.build(table(rows[:at]))
    if at < len(rows):
        trie = trie.appended(table(rows[at:]))
    plain = trie.ended(False) if trie.has_eos and prefix_free(rows) else None
    whole = Trie.build(table(rows), end=trie.has_eos)
    np.testing.assert_array_equal(trie.paths(np.arange(len(rows))), whole.paths(np.arange(len(rows))))
    if plain is not None:
        paths = plain.paths(np.arange(len(rows)))
        assert [tuple(row[row >= 0].tolist()) for row in paths] == list(rows)


def prefix_free(rows) -> bool:
    return not any(a != b and b[: len(a)] == a for a in rows for b in rows)


@given(identifier_sets, st.data())
@settings(max_examples=100, deadline=None)
def test_blocked_and_reachable_against_counting(rows, data):
    trie = Trie.build(table(rows))
    items = st.lists(st.integers(-1, len(rows) + 2), max_size=len(rows) + 3)
    exclude = [data.draw(items) for _ in range(3)]
    allow = [data.draw(items) for _ in range(3)]
    blocked = trie.blocked(Ragged.from_lists(exclude))
    reachable = trie.reachable(Ragged.from_lists(allow), Ragged.from_lists(exclude))
    ended = with_end(rows)
    for level in range(trie.depth + 1):
        prefixes = sorted({row[:level] for row in ended if len(row) >= level})
        dead, alive = [], []
        for user in range(3):
            for number, prefix in enumerate(prefixes):
                below = {i for i, row in enumerate(ended) if row[:level] == prefix}
                key = user * len(prefixes) + number
                if below <= set(exclude[user]):
                    dead.append(key)
                if below & set(allow[user]) - set(exclude[user]):
                    alive.append(key)
        assert blocked[level].tolist() == dead
        assert reachable[level].tolist() == alive


@given(identifier_sets)
@settings(max_examples=30, deadline=None)
def test_save_and_load(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("trie") / "trie.safetensors"
    trie = Trie.build(table(rows))
    trie.save(path)
    again = Trie.load(path)
    np.testing.assert_array_equal(again.paths(np.arange(len(rows))), trie.paths(np.arange(len(rows))))
    assert again.has_eos == trie.has_eos and again.bytes == trie.bytes
    assert [p.name for p in path.parent.iterdir()] == ["trie.safetensors"]


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([[5, 6], [5, 6]], {}, "items 0 and 1 have the same identifier"),
        ([[5, 6], [-1, -1]], {}, "item 1 has an empty identifier"),
        ([[5, 6], [-1, 7]], {}, "after a −1"),
        ([[5, -1], [5, 6]], {"end": False}, "the identifier of item 0 begins that of item 1"),
        ([5, 6], {}, "a table"),
    ],
)
def test_build_says_what_is_wrong(rows, options, words):
    with pytest.raises(UserError, match=words):
        Trie.build(np.array(rows, np.int32), **options)


def test_wide_codes_and_unpackable_keys():
    """Ten levels of 2**20 tokens do not fit one 64-bit key: the other sort must agree."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 2**20, (200, 10)).astype(np.int32)
    tokens[:100, :9] = tokens[0, :9]
    trie = Trie.build(tokens)
    np.testing.assert_array_equal(trie.paths(np.arange(200)), tokens)
    assert trie.codes[9].dtype == np.uint8 and trie.leaf_counts[9].max() == 100


def test_bytes_an_item():
    rng = np.random.default_rng(0)
    tokens = np.unique(rng.integers(0, 256, (12_000, 4)), axis=0) + 256 * np.arange(4) + 100
    trie = Trie.build(tokens)
    assert trie.bytes / len(trie) <= 16


def test_catalogue_round_trip(tmp_path):
    tokens = np.array([[5, 6], [5, -1], [7, 8]], np.int32)
    catalogue = Catalogue.build(
        ["007", "1e5", "NA"], tokens, ["A ; B", "", "Ç"], ["year 1995", "", ""], ["a b", "a", "c d"]
    )
    catalogue.save(tmp_path / "checkpoint")
    again = Catalogue.load(tmp_path / "checkpoint")
    assert again.item_ids == ["007", "1e5", "NA"] and again.titles == ["A ; B", "", "Ç"]
    assert again.items["attributes"].tolist() == ["year 1995", "", ""]
    np.testing.assert_array_equal(again.tokens, tokens)
    np.testing.assert_array_equal(again.trie.paths(np.arange(3)), catalogue.trie.paths(np.arange(3)))
    assert again.numbers(["NA", "nope", "007"]).tolist() == [2, -1, 0]
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == [
        "catalogue.parquet",
        "trie.safetensors",
    ]


def test_catalogue_says_what_is_wrong(tmp_path):
    tokens = np.array([[5], [6]], np.int32)
    with pytest.raises(UserError, match="'a' occurs more than once"):
        Catalogue.build(["a", "a"], tokens)
    with pytest.raises(UserError, match="2 identifiers, but 1 values in 'title'"):
        Catalogue.build(["a", "b"], tokens, titles=["x"])
    with pytest.raises(UserError, match=r"catalogue\.parquet"):
        Catalogue.load(tmp_path)
    Catalogue.build(["a", "b"], tokens).save(tmp_path)
    Catalogue.build(["a"], tokens[:1]).trie.save(tmp_path / "trie.safetensors")
    with pytest.raises(UserError, match=r"2 items, trie\.safetensors has 1"):
        Catalogue.load(tmp_path)
    (tmp_path / "trie.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read as a trie"):
        Catalogue.load(tmp_path)
