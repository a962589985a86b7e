"""All peers in the same run, on the same rows, judged by the same code; and p5t5 paired with each of them.

python benchmarks/sasrec.py --data runs/ml-100k/data --minutes 5 --search 60 --rows sasrec.jsonl
python benchmarks/quality.py --data runs/ml-100k/data --model runs/seed0 runs/seed1 runs/seed2 \
    --sasrec sasrec.jsonl --minutes 10 --seeds 0 1 2 --out results/leaderboard-ml-100k.json

``--model``: folders of ours, one a seed, which are asked alone and fused (their fusion is fitted and saved, where
there is none yet). ``--results``: files of `p5t5 evaluate --values true` instead. "fusion_without_model" is the
same fusion, fitted on the same validation rows, of all parts but the model.

Rows are those of `p5t5 evaluate` with ``seeds``, ``minutes`` (training of one seed), ``parameters`` and
``settings`` besides: a value is the mean over seeds, its interval that of the users' means over seeds. Each
peer's settings are the best of CHOICES on validation rows (both protocols), SASRec's the best of its search. OUT.comparisons.json
has the paired bootstraps, OUT.values.parquet (and OUT.MODEL.DIGEST.values.parquet) the value of every row: what is
in there already is not run again (--again NAME), unless what a peer of --peers is made by (its choices, seeds and
minutes, the settings that the search chose) has changed; peers that are not asked for stay as they are. Peers that do not fit (EASE on a large catalogue) or are not
installed are left out, and it says so. OUT-times.jsonl: how long ours takes to SASRec's validation
NDCG@10 (`curves.py`), where both are there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import sasrec
from common import curves, ours

from p5t5.baselines.base import Scorer
from p5t5.baselines.ease import EASE
from p5t5.baselines.rankers import ALS, BPR, CooccurrenceRanker, ItemKNN, Popularity
from p5t5.baselines.text_similarity import ContentSimilarity
from p5t5.core.errors import UserError
from p5t5.data.records.loading import load
from p5t5.data.splits import Split, split_by
from p5t5.evaluation.baselines import evaluate_baselines
from p5t5.evaluation.example_values import read_example_values, write_example_values
from p5t5.evaluation.results import Evaluation, Measured, compare, read_rows, result_rows, write_rows
from p5t5.fusion.without_model import FusionWithoutModel

TASK = sasrec.TASK
VALUES, COMPARISONS = ".values.parquet", ".comparisons.json"
# The first are the defaults. Popularity and co-occurrence have no parameters to tune.
CHOICES: dict[str, tuple[Callable[..., Scorer], list[dict[str, Any]]]] = {
    "popularity": (Popularity, [{}]),
    "count_floor": (CooccurrenceRanker, [{}]),
    "item_knn": (ItemKNN, [{"neighbours": number} for number in (100, 20, 500)]),
    "text_likeness": (ContentSimilarity, [{"decay": number} for number in (0.5, 0.2, 0.8, 1.0)]),
    "ease": (EASE, [{"regularisation": value} for value in (200.0, 50.0, 1000.0, 4000.0)]),
    "als": (
        ALS,
        [{"factors": f, "regularisation": r} for f, r in ((64, 0.05), (128, 0.05), (64, 1.0), (64, 10.0))],
    ),
    "bpr": (BPR, [{}, {"regularisation": 0.1}, {"regularisation": 0.01}, {"factors": 127}]),
}
SEEDED, COUNTING = (
    ("als", "bpr"),
    ("popularity", "count_floor", "item_knn", "text_likeness"),
)  # the latter learn no parameter
PEERS = (*CHOICES, FusionWithoutModel.name, "sasrec")


@dataclass
class System:
    """One ranker: ``runs`` has what was measured of each seed, ``seconds`` how long each was trained."""

    runs: list[list[Measured]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    parameters: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    curves: list[curves.Curve] = field(default_factory=list)

    def add(self, measured: list[Measured], seed: int, seconds: float) -> None:
        self.runs.append(measured)
        self.seeds.append(seed)
        self.seconds.append(seconds)


def mean_over_seeds(runs: Sequence[Sequence[Measured]]) -> list[Measured]:
    """Row by row the mean of the seeds' values. UserError unless all seeds answered the same rows."""
    out = []
    for one in runs[0]:
        same = [next((other for other in run if _key(other) == _key(one)), None) for run in runs]
        if any(other is None or not np.array_equal(other.rows, one.rows) for other in same):
            raise UserError(
                f"{one.model}, {one.prompt} {one.protocol}: the seeds were not asked the same rows"
            )
        values = {metric: np.mean([other.values[metric] for other in same], 0) for metric in one.values}
        out.append(replace(one, values=values, seconds=float(np.mean([other.seconds for other in same]))))
    return out


def _key(measured: Measured) -> tuple[str, str, str, str]:
    return measured.model, measured.task, measured.prompt, measured.protocol


def rows_of(system: System, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The mean over seeds and, where there are several, each seed's own rows, with what leaderboards add."""
    more = {"parameters": system.parameters, "settings": system.settings}
    groups = [(mean_over_seeds(system.runs), system.seeds, float(np.mean(system.seconds)))]
    if len(system.runs) > 1:
        groups += zip(system.runs, ([seed] for seed in system.seeds), system.seconds, strict=True)
    out = []
    for place, (measured, seeds, seconds) in enumerate(groups):
        aggregate = "mean" if place == 0 and len(system.runs) > 1 else "seed"
        extra = {"seeds": list(seeds), "minutes": round(seconds / 60, 2), **more}
        extra["seed"] = seeds[0] if aggregate == "seed" and seeds else 0
        for one in measured:
            # Intervals are drawn with seed 0 throughout: the same users for all systems.
            drawn = result_rows(one, {**about, "seed": 0, "aggregate": aggregate})
            out += [{**row, **extra} for row in drawn]
    return out


def peer(
    name: str, split: Split, part: str, seeds: Sequence[int], limit: int | None, arguments: Any
) -> System:
    """A peer with its best settings on validation, fitted for each seed."""
    if name == "sasrec":
        return sasrec_peer(split, part, seeds, limit, arguments)
    if name == FusionWithoutModel.name:
        scorer, seconds = _timed(FusionWithoutModel, split)
        return System([judged(scorer, split, part, limit)], [], [seconds], None, scorer.settings())
    make, choices = CHOICES[name]
    best: tuple[float, float, Scorer, dict] | None = None
    for settings in choices:
        scorer, seconds = _timed(make, split, **settings)
        # Both protocols count: a peer that ranks well only where nothing is removed is not the best one.
        found = sum(sasrec.validation_ndcg(scorer, split, limit or 5000)) if len(choices) > 1 else 0.0
        if best is None or found > best[0]:
            best = (found, seconds, scorer, settings)
    assert best is not None
    _, seconds, scorer, settings = best
    system = System(settings=settings)
    if name not in COUNTING:
        system.parameters = sum(value.size for value in scorer.state().values() if value.ndim)
    for place, seed in enumerate(seeds if name in SEEDED else [0]):
        if place or (seed and name in SEEDED):  # the best one was fitted with seed 0
            scorer, seconds = _timed(make, split, **settings, seed=seed)
        system.add(judged(scorer, split, part, limit), seed, seconds)
    if name not in SEEDED:
        system.seeds = []
    return system


def searched(split: Split, arguments: Any) -> tuple[sasrec.Settings, int]:
    """SASRec's settings, the best of its search, and of how many; its defaults where there was no search."""
    known = sasrec.read_lines(arguments.sasrec, split) if arguments.sasrec else []
    best = max(known, key=lambda one: one["ndcg@10"], default=None)
    return sasrec.settings_of(best) if best else sasrec.Settings(), len(known)


def made_by(name: str, split: Split, arguments: Any) -> dict[str, Any]:
    """All of this call that a peer's values depend on, besides the data: plain values."""
    if name == "sasrec":
        made = {"settings": asdict(searched(split, arguments)[0]), "minutes": arguments.minutes}
        return {**made, "seeds": arguments.seeds, "validation_users": arguments.validation_users}
    if name == FusionWithoutModel.name:
        return {}
    return {"choices": CHOICES[name][1], **({"seeds": arguments.seeds} if name in SEEDED else {})}


def sasrec_peer(split: Split, part: str, seeds: Sequence[int], limit: int | None, arguments: Any) -> System:
    settings, number = searched(split, arguments)
    system = System(settings={**asdict(settings), "searched": number})
    for seed in seeds:
        fitted = sasrec.fit(split, settings, arguments.minutes, seed, arguments.validation_users or None)
        system.parameters = fitted.parameters
        system.curves.append(curves.of_sasrec(fitted.curve))
        system.add(judged(fitted.scorer, split, part, limit), seed, fitted.seconds)
    return system


def judged(scorer: Scorer, split: Split, part: str, limit: int | None) -> list[Measured]:
    return evaluate_baselines(split, part, [TASK], limit=limit, scorers=[scorer]).measured


def _timed(make: Callable[..., Scorer], *inputs: Any, **settings: Any) -> tuple[Scorer, float]:
    began = time.perf_counter()
    return make(*inputs, **settings), time.perf_counter() - began


def our_systems(
    sources: Iterable[tuple[list[Measured], dict[str, Any]]], identity: dict[str, Any]
) -> dict[str, System]:
    """p5t5's own systems (alone, fused) from what was measured of each seed; UserError for other data."""
    systems: dict[str, System] = {}
    for place, (measured, about) in enumerate(sources):
        wanted = {name: identity[name] for name in ("hash", "part", "scheme")}
        if wrong := [name for name, value in wanted.items() if about.get(name) != value]:
            name = wrong[0]
            raise UserError(
                f"{about['source']} is about another {name}: {about.get(name)}, not {wanted[name]}"
            )
        for model in dict.fromkeys(one.model for one in measured):
            mine = [one for one in measured if one.model == model and one.task == TASK]
            if model.startswith("p5t5") and mine:
                system = systems.setdefault(model, System(parameters=about.get("parameters")))
                system.add(mine, about.get("seed", place), about.get("seconds", 0.0))
    return systems


def told(paths: Sequence[str]) -> Iterator[tuple[list[Measured], dict[str, Any]]]:
    """What `p5t5 evaluate --values true` has left of each file of results."""
    for path in paths:
        measured, about = read_example_values(Path(path).with_suffix(VALUES))
        yield measured, {**about, "source": path}


def earlier(
    out: Path, identity: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[Measured], dict[str, Any]]:
    """What an earlier call measured of the peers on the same data, and what each was made by (`made_by`).

    Nothing where it was other data. Files of before there was `made_by` have None for each peer.
    """
    if not (out.is_file() and out.with_suffix(VALUES).is_file()):
        return [], [], {}
    measured, about = read_example_values(out.with_suffix(VALUES))
    known = about.pop("made_by", {})
    made = {one.model: known.get(one.model) for one in measured}
    return (read_rows(out), measured, made) if about == identity else ([], [], {})


def run(arguments: argparse.Namespace) -> Iterator[str]:
    """Yields a sentence about each system as it is done; the files grow with them."""
    split, out = split_by("loo", load(arguments.data)), Path(arguments.out)
    about = {"dataset": split.data.name, "split": arguments.part, "scheme": split.scheme}
    limit = arguments.limit or None
    identity = {**about, "hash": split.data.hash, "limit": limit}
    asked = {"hash": split.data.hash, "part": arguments.part, "scheme": split.scheme, "limit": limit}
    known_rows, known, made = earlier(out, identity)
    wanted = {name: made_by(name, split, arguments) for name in PEERS}
    stale = [name for name in made if made[name] != wanted.get(name)]
    rows: list[dict[str, Any]] = []
    measured: list[Measured] = []
    comparisons: list[dict[str, Any]] = []
    mine = Evaluation()
    sources = chain(told(arguments.results), ours.answers(arguments.model, split, asked, out))
    for system in our_systems(sources, asked).values():
        mine.measured += mean_over_seeds(system.runs)
        rows += rows_of(system, about)
    for one in mine.measured:
        yield f"{one.model}, {one.prompt}: ndcg@10 {one.protocol} {one.values['ndcg@10'].mean():.4f}"

    def take(found: list[Measured], found_rows: list[dict[str, Any]]) -> None:
        rows.extend(found_rows)
        measured.extend(found)
        comparisons.extend(compare(mine, Evaluation(measured=found)))

    def keep() -> None:
        write_rows(out, rows)
        write_example_values(out.with_suffix(VALUES), measured, {**identity, "made_by": made})
        write_rows(out.with_suffix(COMPARISONS), comparisons)

    for name in stale:
        again = "is run again" if name in arguments.peers else f"stays so; --peers {name} runs it again"
        yield f"{name} was made by other choices, seeds, minutes or settings in an earlier call: it {again}"
    gone = {*arguments.again, *(name for name in stale if name in arguments.peers)}
    for name in dict.fromkeys(one.model for one in known if one.model not in gone):
        take([one for one in known if one.model == name], [row for row in known_rows if row["model"] == name])
    keep()
    for name in arguments.peers:
        if all(one.model != name for one in measured):
            try:
                system = peer(name, split, arguments.part, arguments.seeds, limit, arguments)
            except UserError as error:
                yield f"{name} is left out: {error}"
                continue
            take(mean_over_seeds(system.runs), rows_of(system, about))
            made[name] = wanted[name]
            keep()
            if system.curves:
                seconds = dict(zip(map(str, system.seeds), system.curves, strict=True))
                about_curves = {"made_by": made[name], "validation_users": arguments.validation_users}
                curves.keep(out, {**identity, **about_curves}, seconds)
        found = [one for one in measured if one.model == name]
        yield f"{name}: ndcg@10 " + ", ".join(
            f"{one.protocol} {one.values['ndcg@10'].mean():.4f}" for one in found
        )
    if line := curves.time_to_sasrec(out, {**identity, "made_by": made.get("sasrec")}, arguments.model):
        yield json.dumps(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument(
        "--results", nargs="*", default=[], help="files of `p5t5 evaluate --values true`, one a seed"
    )
    parser.add_argument("--model", nargs="*", default=[], help="p5t5 model folders, one a seed")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--again", nargs="*", default=[], choices=PEERS, help="peers to run once more")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the peers that draw")
    parser.add_argument("--minutes", type=float, default=10.0, help="SASRec's, for each seed")
    parser.add_argument(
        "--sasrec", type=Path, help="lines of `sasrec.py --search`: the best settings are taken"
    )
    parser.add_argument(
        "--validation_users",
        type=int,
        default=1000,
        help="that SASRec's validations look at; as `p5t5 finetune` has it, so that both curves are about the same rows",
    )
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--limit", type=int, default=0, help="at most so many users; 0: all")
    parser.add_argument("--out", required=True, help="JSON file for the rows")
    arguments = parser.parse_args()
    try:
        for sentence in run(arguments):
            print(sentence, flush=True)
    except UserError as error:
        parser.error(str(error))
    for one in json.loads(Path(arguments.out).with_suffix(COMPARISONS).read_text()):
        low, high = one["ci95"] or (float("nan"),) * 2
        print(
            f"{one['model']} − {one['against']}, {one['prompt']} {one['protocol']}: "
            f"{one['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        )


if __name__ == "__main__":
    main()
