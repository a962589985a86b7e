"""SASRec with full cross-entropy: the peer that most papers are measured against, trained on the same split.

python benchmarks/sasrec.py --data runs/ml-100k/data --minutes 10
python benchmarks/sasrec.py --data runs/ml-100k/data --minutes 5 --search 60 --rows sasrec.jsonl
python benchmarks/sasrec.py --data runs/ml-100k/data --minutes 10 --seed 1 --tuned sasrec.jsonl --part test

Kang and McAuley (ICDM 2018): a causal transformer over the items of a history, positions counted from the
newest, item embeddings tied to the output; here with layer norms before the sublayers and, instead of one
sampled negative, the softmax over the whole catalogue at every position (Klenitskiy and Vasilev, RecSys 2023).
Examples are the split's training rows, each user's last ``max_len`` + 1; training stops after PATIENCE
validations without a better NDCG@10 (unfiltered) or at the end of the minutes, and keeps the best weights.

It is written to be quick on a CPU, as a peer should be: batches of equal lengths by a token budget, one
product with the catalogue a batch at real positions only, p5t5's own loss that never keeps the logits.

Prints one JSON line. ``curve``: [seconds of training, seconds with validation, epoch, NDCG@10 unfiltered,
filtered] for each validation. With --search, settings are drawn from GRID until its minutes are used up,
those of earlier calls included; each gets --minutes; their lines are appended to --rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from p5t5.baselines.base import Scorer
from p5t5.core.ragged import Ragged, positions
from p5t5.core.randomness import generator
from p5t5.data.records.loading import load
from p5t5.data.splits import Split, split_by
from p5t5.evaluation.baselines import evaluate_baselines
from p5t5.evaluation.rows import rows_of
from p5t5.metrics.ranking import ndcg, table_ranks
from p5t5.model.head_loss import HeadLoss, Lookup, TiedGradient

TASK = "sequential/next_item"
TOKENS = 1024  # positions of a batch
PATIENCE = 8  # validations without a better one
QUIET = 5.0  # times as long as the last validation took, before the next one
GRID = {
    "hidden": (64, 128, 256),
    "layers": (1, 2),
    "dropout": (0.2, 0.5, 0.7),
    "lr": (3e-4, 1e-3, 3e-3),
    "max_len": (20, 50, 200),
}


@dataclass(frozen=True)
class Settings:
    hidden: int = 128
    layers: int = 2
    dropout: float = 0.5
    lr: float = 1e-3
    max_len: int = 50


class Block(nn.Module):
    """Self-attention with one head, and a feed-forward of the same width, as in the paper."""

    def __init__(self, hidden: int, rate: float):
        super().__init__()
        self.before, self.after = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attend, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.rate = rate

    def forward(self, states: Tensor) -> Tensor:
        rate = self.rate if self.training else 0.0
        query, key, value = self.attend(self.before(states)).chunk(3, -1)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=rate)
        states = states + dropout(self.out(mixed), rate, self.training)
        inner = dropout(self.up(self.after(states)).relu(), rate, self.training)
        return states + dropout(self.down(inner), rate, self.training)


class SASRec(nn.Module):
    """Items in, a state a position out, whose products with ``items.weight`` are the logits."""

    def __init__(self, items: int, settings: Settings):
        super().__init__()
        self.items = nn.Embedding(items, settings.hidden)
        self.places = nn.Embedding(settings.max_len, settings.hidden)
        self.blocks = nn.ModuleList(Block(settings.hidden, settings.dropout) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.hidden)
        self.rate = settings.dropout
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, ids: Tensor, lengths: Tensor, tied: TiedGradient | None = None) -> Tensor:
        """[batch, width, hidden] of int64 ``ids`` [batch, width], padded behind each history.

        What is behind a position never reaches it, so padding needs no mask.
        """
        looked_up = Lookup.apply(self.items.weight, ids.flatten(), tied or TiedGradient())
        states = looked_up.view(*ids.shape, -1) * self.items.embedding_dim**0.5
        age = lengths[:, None] - 1 - torch.arange(ids.shape[1])
        states = dropout(states + self.places(age.clamp(min=0)), self.rate, self.training)
        for block in self.blocks:
            states = block(states)
        return self.norm(states)


class SASRecScorer(Scorer):
    """A trained SASRec, ranked and judged as every other scorer is."""

    name = "sasrec"
    nonnegative = False

    def __init__(self, network: SASRec, settings: Settings):
        self.network, self.max_len = network, settings.max_len
        self.number_of_items = network.items.num_embeddings

    @torch.no_grad()
    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        """float32 [histories, items]; 0 for all items where a history is empty."""
        self.network.eval()
        lengths = np.minimum(histories.lengths, self.max_len)
        newest = positions(histories.offsets[1:] - lengths, lengths)
        ids = Ragged.from_lengths(histories.values[newest], lengths).padded(
            0, max(int(lengths.max(initial=0)), 1)
        )
        states = self.network(torch.from_numpy(ids).long(), torch.from_numpy(lengths))
        last = states[torch.arange(len(ids)), torch.from_numpy(lengths).clamp(min=1) - 1]
        last[torch.from_numpy(lengths == 0)] = 0
        return (last @ self.network.items.weight.t()).numpy()


@dataclass
class Fitted:
    """``curve``: see the top of this file; ``best``: the validation whose weights were kept."""

    scorer: SASRecScorer
    curve: list[tuple[float, float, int, float, float]]
    best: tuple[float, float, int, float, float]
    seconds: float
    parameters: int


def training_sequences(split: Split, longest: int) -> Ragged:
    """The last ``longest`` training items of each user who has two or more, oldest first."""
    rows = split.rows("train")
    counts = np.bincount(split.data.user[rows], minlength=split.data.number_of_users)
    ends = np.cumsum(counts)[counts > 1]
    lengths = np.minimum(counts[counts > 1], longest)
    return Ragged.from_lengths(split.data.item[rows][positions(ends - lengths, lengths)], lengths)


def batches(lengths: np.ndarray, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Row numbers: rows of like length together, about TOKENS values a batch, all in random order."""
    draw = generator(seed, 71, epoch)
    order = draw.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    batch = (np.cumsum(lengths[order]) - 1) // TOKENS
    parts = np.split(order, np.flatnonzero(np.diff(batch)) + 1)
    for place in draw.permutation(len(parts)):
        yield parts[place]


def validation_ndcg(scorer: Scorer, split: Split, limit: int | None) -> tuple[float, float]:
    """NDCG@10 over the validation rows, unfiltered and filtered; ``limit``: at most so many users."""
    rows, _ = rows_of(split, TASK, "validation", limit, 0)
    histories, truth = split.history_items(rows), split.data.item[rows]
    ranks = np.empty((2, len(rows)), np.int64)
    for at, table in scorer.chunks(histories, split.data.user[rows]):
        ranks[0, at] = table_ranks(table, truth[at])
        ranks[1, at] = table_ranks(table, truth[at], histories.take(at))
    return float(ndcg(ranks[0], 10).mean()), float(ndcg(ranks[1], 10).mean())


def fit(split: Split, settings: Settings, minutes: float, seed: int = 0, limit: int | None = 5000) -> Fitted:
    """Trains for at most so many ``minutes``, validation included, on ``limit`` validation users."""
    torch.manual_seed(seed)
    began = time.perf_counter()
    sequences = training_sequences(split, settings.max_len + 1)
    network = SASRec(split.data.number_of_items, settings)
    scorer = SASRecScorer(network, settings)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr, betas=(0.9, 0.98), fused=True)
    curve: list[tuple[float, float, int, float, float]] = []
    best, kept = None, {}
    validating = took = 0.0  # seconds of all validations and of the last
    last, epoch = time.perf_counter(), 0

    def used_up() -> bool:
        return time.perf_counter() - began + took > 60 * minutes

    while not (used_up() and curve) and (best is None or len(curve) - curve.index(best) <= PATIENCE):
        for rows in batches(sequences.lengths - 1, seed, epoch):
            step(network, optimiser, sequences.take(rows))
            if used_up():
                break
        epoch += 1
        if time.perf_counter() - last < QUIET * took and not used_up():
            continue
        start = time.perf_counter()
        found = validation_ndcg(scorer, split, limit)
        last = time.perf_counter()
        took, validating = last - start, validating + last - start
        curve.append((round(last - began - validating, 2), round(last - began, 2), epoch, *found))
        if best is None or found[0] > best[3]:
            best, kept = curve[-1], {name: value.clone() for name, value in network.state_dict().items()}
    assert best is not None
    network.load_state_dict(kept)
    parameters = sum(value.numel() for value in network.parameters())
    return Fitted(scorer, curve, best, time.perf_counter() - began, parameters)


def step(network: SASRec, optimiser: torch.optim.Optimizer, sequences: Ragged) -> float:
    """One batch: every item but the first is predicted from those before it. Returns the loss."""
    network.train()
    lengths = torch.from_numpy(sequences.lengths - 1)
    ids = torch.from_numpy(sequences.padded(0)).long()
    real = torch.arange(ids.shape[1] - 1) < lengths[:, None]
    tied = TiedGradient()
    states = network(ids[:, :-1], lengths, tied)[real]
    shares = torch.full((len(states),), 1 / len(states))
    loss = HeadLoss.apply(states, network.items.weight, ids[:, 1:][real], shares, tied)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def line(fitted: Fitted, settings: Settings, split: Split, minutes: float, seed: int) -> dict:
    """What is kept of a run: enough to resume a search, to choose by and to draw its curve."""
    return {
        "dataset": split.data.name,
        "hash": split.data.hash,
        "minutes": minutes,
        "seed": seed,
        **asdict(settings),
        "ndcg@10": fitted.best[3],
        "ndcg@10 filtered": fitted.best[4],
        "epoch": fitted.best[2],
        "seconds_to_best": fitted.best[1],
        "seconds": round(fitted.seconds, 1),
        "parameters": fitted.parameters,
        "curve": fitted.curve,
    }


def read_lines(path: Path, split: Split) -> list[dict]:
    """The lines of earlier searches on the same data."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return [one for one in lines if one["hash"] == split.data.hash]


def settings_of(found: dict) -> Settings:
    return Settings(**{field.name: found[field.name] for field in fields(Settings)})


def search(
    split: Split, minutes: float, budget: float, seed: int, path: Path, limit: int | None
) -> list[dict]:
    """All lines for these minutes; trials go on until ``budget`` minutes or the grid are used up."""
    grid = [Settings(**dict(zip(GRID, values, strict=True))) for values in itertools.product(*GRID.values())]
    drawn = [Settings(), *(grid[place] for place in generator(seed, 73).permutation(len(grid)))]
    done = [one for one in read_lines(path, split) if (one["minutes"], one["seed"]) == (minutes, seed)]
    for settings in dict.fromkeys(drawn):
        if sum(one["seconds"] for one in done) >= 60 * budget:
            break
        if settings in map(settings_of, done):
            continue
        done.append(line(fit(split, settings, minutes, seed, limit), settings, split, minutes, seed))
        with path.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(f"{done[-1]['ndcg@10']:.4f} {settings}", flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--minutes", type=float, default=10.0, help="training time, validation included")
    parser.add_argument("--seed", type=int, default=0)
    for field in fields(Settings):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--validation_users", type=int, default=5000, help="0: all")
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--search", type=float, default=0.0, help="minutes for a search over GRID")
    parser.add_argument("--rows", type=Path, default=Path("sasrec.jsonl"), help="the search's lines")
    parser.add_argument("--tuned", type=Path, help="take the settings of the best line of this file")
    arguments = parser.parse_args()
    split, limit = split_by("loo", load(arguments.data)), arguments.validation_users or None
    settings = Settings(**{field.name: getattr(arguments, field.name) for field in fields(Settings)})
    if arguments.search:
        found = search(split, arguments.minutes, arguments.search, arguments.seed, arguments.rows, limit)
        print(json.dumps(max(found, key=lambda one: one["ndcg@10"])))
        return
    if arguments.tuned:
        found = read_lines(arguments.tuned, split)
        if not found:
            parser.error(f"--tuned {arguments.tuned}: there is no line about {split.data.name}; run --search")
        settings = settings_of(max(found, key=lambda one: one["ndcg@10"]))
    fitted = fit(split, settings, arguments.minutes, arguments.seed, limit)
    judged = evaluate_baselines(split, arguments.part, [TASK], arguments.seed, scorers=[fitted.scorer])
    values = {f"{row['metric']} {row['protocol']}": row["value"] for row in judged.rows}
    print(
        json.dumps(
            {**line(fitted, settings, split, arguments.minutes, arguments.seed), arguments.part: values}
        )
    )


if __name__ == "__main__":
    main()
