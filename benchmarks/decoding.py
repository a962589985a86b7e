"""Decoding speed against peers: one JSON line a case, ratios measured in one run, sides interleaved.

    python benchmarks/decoding.py                    # every case, about 20 minutes on 2 cores
    python benchmarks/decoding.py --case beam_fp32   # one
    python benchmarks/decoding.py --quick            # a toy size: shows that it runs, not how fast

A line is {"case", "value": ratio (ours better > 1; bytes, overhead and slopes as they are), "detail"}.
Outputs are compared before anything is timed; each side runs at its own best batch size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from common import decoding_peers as peers
from common.decoding_world import FIRST_ITEM, FULL, QUICK, World, random_identifiers
from common.timing import best_batch, interleaved, ratio_line, seconds, slope, summary

from p5t5.core.ragged import Ragged
from p5t5.decoding import ranking as decoding
from p5t5.decoding.trie import Trie


def check_same(items, scores, other_items, other_scores, dtype: str) -> dict:
    """Raises unless the rankings agree: scores within 1e-4 in fp32, 95 % of the top k shared in bf16."""
    shared = np.mean(
        [len(set(a) & set(b)) / len(b) for a, b in zip(items.tolist(), other_items.tolist(), strict=True)]
    )
    worst = float(np.abs(scores - other_scores).max())
    if (dtype == "float32" and worst > 1e-4) or shared < 0.95:
        raise SystemExit(f"the outputs differ: scores by {worst:.2e}, {shared:.1%} of the items shared")
    return {"largest_score_difference": worst, "shared_items": float(shared)}


def beam(world: World, dtype: str, scores: str) -> tuple[float, dict]:
    size, model = world.size, world.model(dtype)

    def ours(users: int):
        return decoding.rank_items(model, *world.prompts(users), world.trie, size.k, scores=scores)

    def theirs(users: int, scored: bool = False):
        inputs = world.prompts(users)
        return peers.generate_items(model, *inputs, world.dict_trie, size.k, size.levels, scores, scored)

    mine, (rows, other_scores) = ours(8), theirs(8, scored=True)
    other = np.array([[world.item_of.get(tuple(row), -1) for row in user] for user in rows.tolist()])
    same = check_same(mine.items, mine.scores, other, other_scores, dtype)
    a, b = best_batch(ours, size.our_batches), best_batch(theirs, size.their_batches)
    times = interleaved(lambda: ours(a), lambda: theirs(b), size.repeats)
    return ratio_line(*times, a, b, batch=[a, b], dtype=dtype, certified=float(mine.certified.mean()), **same)


def evaluation_loop(world: World) -> tuple[float, dict]:
    """Prompts of several lengths, given as strings to P2 and as token ids (as rendering gives them) to us."""
    size, model = world.size, world.model("float32")
    users, rng = 3 * max(size.their_batches), np.random.default_rng(1)
    tokenizer = word_tokenizer(size.config["vocab_size"])
    lengths = np.clip(rng.normal(size.prompt, size.prompt / 4, users), 4, 2 * size.prompt).astype(int)
    inputs = Ragged.from_lists([[*rng.integers(2, FIRST_ITEM, n - 1), peers.EOS] for n in lengths])
    prompts = [tokenizer.decode(inputs[user][:-1]) for user in range(users)]
    gold = rng.integers(0, size.items, users)
    gold_texts = tokenizer.batch_decode(world.identifiers[gold].tolist())
    ended = peers.DictTrie([[*row, peers.EOS] for row in world.identifiers.tolist()])

    def ours(budget: int, **options):
        ranked = decoding.rank_all(
            model, inputs, world.trie, size.k, token_budget=budget * size.prompt, **options
        )
        return (ranked.items == gold[:, None]).astype(float), ranked.items

    def theirs(batch: int):
        return peers.evaluation_loop(model, tokenizer, prompts, gold_texts, ended, size.k, size.levels, batch)

    assert tokenizer(prompts[0])["input_ids"] == inputs[0].tolist()
    items, texts = ours(8, score_eos=True)[1], tokenizer.batch_decode(world.identifiers.tolist())
    answers = theirs(min(8, users))[1]
    agree = float(
        np.mean([texts[i] == a for u, own in enumerate(answers) for i, a in zip(items[u], own, strict=True)])
    )
    if agree < 0.95:  # all but ties
        raise SystemExit(f"the rankings agree at {agree:.1%} of the places only")
    a, b = best_batch(ours, size.our_batches), best_batch(theirs, size.their_batches[-2:])
    times = interleaved(lambda: ours(a), lambda: theirs(b), min(size.repeats, 3))
    local = seconds(lambda: ours(a, scores="trie"))
    return ratio_line(
        *times, users, users, batch=[a, b], expected_f1=agree, ours_trie_scores=summary([local], users)
    )


def word_tokenizer(vocabulary: int):
    """A tokenizer whose words are w0, w1, …: what it costs P2 is what a real one would cost, or less."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "</s>": 1, **{f"w{i}": i for i in range(2, vocabulary)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")


def exclusion(world: World) -> tuple[float, dict]:
    """Seen items left out: by leaf counts, or (OpenP5) by as many more beams, filtered afterwards."""
    size, model = world.size, world.model("float32")
    ids, mask = world.prompts(1)
    seen = np.random.default_rng(2).choice(size.items, size.seen, replace=False)
    wide = size.k + size.seen

    def ours(users: int = 1):
        exclude = Ragged.from_lists([seen] * users)
        return decoding.rank_items(model, *world.prompts(users), world.trie, size.k, exclude=exclude)

    def theirs():
        rows, _ = peers.generate_items(model, ids, mask, world.dict_trie, wide, size.levels, "vocabulary")
        items = [world.item_of.get(tuple(row), -1) for row in rows[0].tolist()]
        gone = set(seen.tolist())
        return [item for item in items if item not in gone][: size.k]

    mine = ours().items[0].tolist()
    if set(mine) & set(seen.tolist()) or len(mine) != size.k:
        raise SystemExit("an excluded item was returned")
    batch = best_batch(ours, size.our_batches)
    times = interleaved(lambda: ours(batch), theirs, min(size.repeats, 5))
    shared = len(set(mine) & set(theirs())) / size.k
    return ratio_line(*times, batch, 1, batch=[batch, 1], beams=wide, shared_items=shared)


def exclusion_overhead(world: World) -> tuple[float, dict]:
    size, model = world.size, world.model("float32")
    batch = size.our_batches[-1] // 2
    inputs, rng = world.prompts(batch), np.random.default_rng(2)
    exclude = Ragged.from_lists([rng.choice(size.items, size.seen, replace=False) for _ in range(batch)])

    def run(**options):
        return decoding.rank_items(model, *inputs, world.trie, size.k, **options)

    plain, filtered = interleaved(run, lambda: run(exclude=exclude), size.repeats)
    return statistics.median(filtered) / statistics.median(plain), {
        "filtered": summary(filtered, batch),
        "plain": summary(plain, batch),
        "seen": size.seen,
        "batch": batch,
    }


def candidates(world: World, peer: Callable) -> tuple[float, dict]:
    size, model = world.size, world.model("float32")
    rng = np.random.default_rng(3)
    chosen = rng.integers(0, size.items, size.candidates)
    identifiers = torch.from_numpy(world.identifiers[chosen].astype(np.int64))
    ids, mask = world.prompts(1)

    def ours(users: int):
        return decoding.score_items(
            model, *world.prompts(users), world.trie, Ragged.from_lists([chosen] * users)
        ).values

    def theirs():
        return peer(model, ids, mask, identifiers)

    worst = float(np.abs(ours(1) - theirs()).max())
    if worst > 1e-4:
        raise SystemExit(f"the candidates' scores differ by {worst:.2e}")
    batch = best_batch(ours, size.our_batches)
    times = interleaved(lambda: ours(batch), theirs, size.repeats)
    return ratio_line(*times, batch, 1, batch=[batch, 1], largest_score_difference=worst)


def trie_build(world: World) -> tuple[float, dict]:
    rows = random_identifiers(world.size.build_items, world.size.levels, world.size.branch)
    lists = rows.tolist()
    times = interleaved(lambda: Trie.build(rows), lambda: peers.DictTrie(lists), world.size.repeats)
    value, detail = ratio_line(*times)
    return value, {**detail, "items": len(rows), "items_per_second": len(rows) / statistics.median(times[0])}


def trie_bytes(world: World) -> tuple[float, dict]:
    return world.trie.bytes / len(world.trie), {"items": len(world.trie), "levels": world.trie.depth}


def constraint_step(world: World) -> tuple[float, dict]:
    """The second step of k beams: which of the level's tokens may follow each; against P5 (GRID)."""
    from p5t5.decoding.beam import TrieOnDevice

    size = world.size
    rows = random_identifiers(size.many_items, size.levels, size.branch)
    trie, table = Trie.build(rows), torch.from_numpy(rows)
    tries = TrieOnDevice.of(trie, torch.device("cpu"))
    nodes = torch.randint(0, trie.nodes(1), (1, size.k))
    first = tries.tokens[0][tries.codes[0][nodes[0]].long()]
    second = tries.tokens[1]

    def ours():
        children, exists = tries.children(1, nodes)
        allowed = torch.zeros(1, size.k, len(second), dtype=torch.bool)
        return allowed.scatter_(2, tries.codes[1][children].long(), exists)[0]

    def theirs(beams: int = 1):
        return torch.stack(
            [
                peers.valid_prefixes(table, torch.stack([t.expand_as(second), second], 1))
                for t in first[:beams]
            ]
        )

    if not bool((ours()[:1] == theirs(1)).all()):
        raise SystemExit("the allowed tokens differ")
    many = 200
    times = interleaved(lambda: [ours() for _ in range(many)], lambda: theirs(1), size.repeats)
    return ratio_line(
        [t / many / size.k for t in times[0]], times[1], items=size.many_items, per="beam and step"
    )


def latency(world: World) -> tuple[float, dict]:
    size, model = world.size, world.model("float32")
    ids, mask = world.prompts(1)
    times = interleaved(
        lambda: decoding.rank_items(model, ids, mask, world.trie, size.k, scores="trie"),
        lambda: peers.generate_items(model, ids, mask, world.dict_trie, size.k, size.levels, "trie"),
        2 * size.repeats + 1,
    )
    return ratio_line(*times, dtype="float32")


def memory(world: World, quick: bool) -> tuple[float, dict]:
    """Slope of the peak resident size over the batch size, each point in a process of its own."""
    slopes = {}
    for side, batches in (("ours", (8, 40)), ("theirs", (2, 10))):
        peaks = []
        for batch in batches:
            command = [sys.executable, __file__, "--peak", side, str(batch), *(["--quick"] if quick else [])]
            peaks.append(
                int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
            )
        slopes[side] = max(peaks[1] - peaks[0], 1) / (batches[1] - batches[0])
    return slopes["theirs"] / slopes["ours"], {
        f"{side}_bytes_per_user": value for side, value in slopes.items()
    }


def peak(world: World, side: str, batch: int) -> int:
    """Bytes: this process' highest resident size during one call (Linux)."""
    size, model = world.size, world.model("float32")
    inputs = world.prompts(batch)
    tries = world.trie, world.dict_trie
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    if side == "ours":
        decoding.rank_items(model, *inputs, tries[0], size.k)
    else:
        peers.generate_items(model, *inputs, tries[1], size.k, size.levels, "vocabulary")
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def scaling_items(world: World) -> tuple[float, dict]:
    """Log–log slope of one request's latency over the number of items; build time and bytes beside it.

    The codes a level grow with the items so that the same share of all identifiers is in use: else larger
    catalogues share more prefixes, and their bytes an item fall.
    """
    size, model = world.size, world.model("float32")
    inputs = world.prompts(1)
    tries, build = [], []
    branches = [int(np.ceil((2 * items) ** (1 / size.levels))) for items in size.scaling]
    for items, branch in zip(size.scaling, branches, strict=True):
        rows = random_identifiers(items, size.levels, branch)
        build.append(min(seconds(lambda rows=rows: Trie.build(rows)) for _ in range(3)))
        tries.append(Trie.build(rows))
    if FIRST_ITEM + size.levels * max(branches) > size.config["vocab_size"]:
        raise SystemExit("the vocabulary is too small for these identifiers")
    times: list[list[float]] = [[] for _ in tries]
    for _ in range(size.repeats + 1):
        for trie, own in zip(tries, times, strict=True):
            own.append(seconds(lambda trie=trie: decoding.rank_items(model, *inputs, trie, size.k)))
    latencies = [statistics.median(own[1:]) for own in times]
    return slope(size.scaling, latencies), {
        "items": size.scaling,
        "branch": branches,
        "latency_ms": [1000 * t for t in latencies],
        "build_seconds": build,
        "build_slope": slope(
            size.scaling[1:] if len(build) > 2 else size.scaling, build[1:] if len(build) > 2 else build
        ),
        "bytes_slope": slope(size.scaling, [trie.bytes for trie in tries]),
    }


def scaling_beams(world: World) -> tuple[float, dict]:
    size, model = world.size, world.model("float32")
    inputs, widths = world.prompts(4), [size.k // 2, size.k, 2 * size.k, 4 * size.k]
    times = [
        statistics.median(
            seconds(lambda k=k: decoding.rank_items(model, *inputs, world.trie, k))
            for _ in range(size.repeats)
        )
        for k in widths
    ]
    return slope(widths, times), {"k": widths, "ms": [1000 * t / 4 for t in times]}


def scaling_users(world: World) -> tuple[float, dict]:
    size, model = world.size, world.model("float32")
    counts = [4, 16, 64]
    times = []
    for users in counts:
        inputs = Ragged.from_lists(list(world.prompts(users)[0].numpy()))
        run = lambda inputs=inputs: decoding.rank_all(model, inputs, world.trie, size.k)  # noqa: E731
        times.append(statistics.median(seconds(run) for _ in range(min(size.repeats, 3))))
    return slope(counts, times), {
        "users": counts,
        "ms_a_user": [1000 * t / n for t, n in zip(times, counts, strict=True)],
    }


def cases(world: World, quick: bool) -> dict[str, Callable[[], tuple[float, dict]]]:
    return {
        "beam_fp32": lambda: beam(world, "float32", "vocabulary"),
        "beam_bf16": lambda: beam(world, "bfloat16", "vocabulary"),
        "local_fp32": lambda: beam(world, "float32", "trie"),
        "local_bf16": lambda: beam(world, "bfloat16", "trie"),
        "evaluation_loop": lambda: evaluation_loop(world),
        "exclusion": lambda: exclusion(world),
        "exclusion_overhead": lambda: exclusion_overhead(world),
        "candidates_naive": lambda: candidates(world, peers.candidates_naive),
        "candidates_encode_once": lambda: candidates(world, peers.candidates_encode_once),
        "trie_build": lambda: trie_build(world),
        "trie_bytes": lambda: trie_bytes(world),
        "constraint_step": lambda: constraint_step(world),
        "latency_p50": lambda: latency(world),
        "memory": lambda: memory(world, quick),
        "scaling_items": lambda: scaling_items(world),
        "scaling_beams": lambda: scaling_beams(world),
        "scaling_users": lambda: scaling_users(world),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", help="run this case only; may be given several times")
    parser.add_argument("--quick", action="store_true", help="a toy size, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", nargs=2, metavar=("SIDE", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    world = World(QUICK if options.quick else FULL)
    if options.peak:
        print(peak(world, options.peak[0], int(options.peak[1])))
        return
    known = cases(world, options.quick)
    for name in options.case or known:
        if name not in known:
            parser.error(f"no case {name!r}; there are {', '.join(known)}")
        start = time.perf_counter()
        value, detail = known[name]()
        size = {
            "items": world.size.items,
            "levels": world.size.levels,
            "prompt": world.size.prompt,
            "k": world.size.k,
        }
        detail = {
            **size,
            **detail,
            "threads": options.threads,
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(
            json.dumps({"case": name, "value": round(value, 4), "detail": detail}, default=float), flush=True
        )


if __name__ == "__main__":
    main()
