"""Items and users that training never saw: how well are they recommended, without training again?

python benchmarks/cold_start.py --data runs/beauty --minutes 10

A tenth of the items and a tenth of the users, drawn by a hash of their ids, are taken out of the data with all
their interactions, before anything is fitted. A model is trained on the rest; the items are then added by
their text (`Checkpoint.add_items`). Asked are the test users whose test item is such an item, ranking (a)
these items alone, "new", and (b) the whole catalogue, "all"; the held-out users, by their history; and the users that
training knew, with the new items and without: what the others pay for them.
The items of the history are filtered. Baselines: popularity; popularity as the text predicts it; similarity of
text to the history; co-occurrence. What has a parameter has it chosen on validation rows of held-out
items. Prints a JSON line a case: NDCG@10, its interval, and what it has more than the others (paired, over users).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from p5t5.baselines.base import Scorer, item_counts
from p5t5.baselines.rankers import CooccurrenceRanker, Popularity
from p5t5.baselines.text_similarity import ContentSimilarity
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.cli.main import main as p5t5
from p5t5.data.records.loading import load_records
from p5t5.data.records.tables import Records
from p5t5.data.splits import Split, leave_one_out
from p5t5.fusion.blend import centred, normalized
from p5t5.fusion.model_scores import model_table
from p5t5.metrics.intervals import bootstrap_interval, paired_bootstrap
from p5t5.metrics.ranking import hit, ndcg, table_ranks
from p5t5.text.mixture import single
from p5t5.updating.embedding_transfer import carried_over
from p5t5.updating.new_entities import add_items
from p5t5.updating.new_interactions import trained_before

RECIPE = Path(__file__).resolve().parent.parent / "configs" / "recipes" / "amazon-beauty.yaml"
TASK = "sequential/next_item"
DECAYS, WEIGHTS = (1.0, 0.8, 0.5, 0.2), (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
Table = dict[str, np.ndarray]  # scorer → float32 [rows, items]


def held_out(ids: pd.Series, share: float, seed: int) -> np.ndarray:
    """bool: about ``share`` of the ids, by a hash of each alone."""
    keys = [hashlib.blake2b(f"{seed}\0{one}".encode(), digest_size=8).digest() for one in ids.tolist()]
    return np.array([int.from_bytes(key, "little") < share * 2**64 for key in keys], bool)


def without(records: Records, share: float, seed: int) -> tuple[Records, set[str], set[str]]:
    """The records without held-out items and users, and the ids of these."""
    cold = held_out(records.items["item_id"], share, seed)
    items = set(records.items["item_id"][cold])
    people = pd.Series(records.interactions["user_id"].astype(str).unique())
    users = set(people[held_out(people, share, seed + 1)])
    table = records.interactions
    gone = table["item_id"].isin(items) | table["user_id"].isin(users)
    left = replace(
        records,
        interactions=table[~gone].reset_index(drop=True),
        items=records.items[~cold].reset_index(drop=True),
        users=None,
        triples=None,
    )
    return left, items, users


def trained(records: Records, arguments: argparse.Namespace, folder: Path) -> Checkpoint:
    """A model of the shipped kind, trained for the given minutes on what is left."""
    if not arguments.model:
        records.write(folder / "data")
        options = [
            "--data",
            str(folder / "data"),
            "--out",
            str(folder / "model"),
            "--config",
            str(arguments.recipe),
        ]
        limits = ["--max_minutes", str(arguments.minutes), "--seed", str(arguments.seed)]
        if code := p5t5(["finetune", *options, *limits]):
            raise SystemExit(code)
    return Checkpoint.load(arguments.model or folder / "model")


class Scores:
    """The score tables of all scorers on given rows; what is chosen is chosen on validation rows."""

    def __init__(self, checkpoint: Checkpoint, split: Split, cold: np.ndarray):
        self.checkpoint, self.split, self.cold = checkpoint, split, cold
        self.texts = {f"text {decay}": ContentSimilarity(split, decay) for decay in DECAYS}
        words = self.texts["text 1.0"].words
        counts = np.log1p(item_counts(split))
        guessed = carried_over(words[~cold], counts[~cold, None], words[cold])[:, 0]
        self.likely = counts.astype(np.float32)
        self.likely[cold] = guessed
        self.scorers: list[Scorer] = [Popularity(split), CooccurrenceRanker(split)]

    def tables(self, rows: np.ndarray, part: str, strangers: bool) -> Table:
        """Every scorer but those with a parameter; these as "text 0.8".

        ``strangers``: of users whom the model has no name for; it is asked in wordings that need none, as
        `Recommender` does.
        """
        histories = self.split.history_items(rows)
        out = {scorer.name: scorer.scores(histories) for scorer in self.scorers}
        out["popularity by text"] = np.broadcast_to(self.likely, (len(rows), len(self.likely)))
        out |= {name: scorer.scores(histories) for name, scorer in self.texts.items()}
        options, prompts = self.checkpoint.build_options(-1), self.checkpoint.prompts
        fitting = [place for place, one in enumerate(prompts) if not (strangers and "user" in one.slots)]
        asked = [prompts[place] for place in fitting]
        examples, index = single(self.split, TASK, asked, part, options, "seen", rows)
        renderer = self.checkpoint.renderer_for(self.split.data)
        inputs = renderer.encode_inputs(examples, np.array(fitting)[index])
        trie = self.checkpoint.catalogue.trie
        out["p5t5"] = model_table(self.checkpoint.model, inputs, trie, len(self.likely))
        return out

    def ranks(self, table: np.ndarray, rows: np.ndarray, among: np.ndarray) -> np.ndarray:
        """int [rows]: the true item's place among the items ``among``, those of the history filtered."""
        seen = self.split.history_items(rows)
        allowed = np.where(among, table, -np.inf).astype(np.float32)
        return table_ranks(allowed, self.split.data.item[rows], seen)


def blended(tables: Table, text: str, weight: float) -> np.ndarray:
    """The model's log-probabilities and the text's similarity, as `p5t5.fusion.blend` makes them alike."""
    return centred(tables["p5t5"]) + weight * normalized(tables[text], True)


def chosen(scores: Scores, tables: Table, rows: np.ndarray, among: np.ndarray) -> tuple[str, float]:
    """The text's decay, and the weight of the text beside the model, best by NDCG@10 on the rows."""

    def quality(table: np.ndarray) -> float:
        return float(ndcg(scores.ranks(table, rows, among), 10).mean())

    text = max((f"text {decay}" for decay in DECAYS), key=lambda name: quality(tables[name]))
    return text, max(WEIGHTS, key=lambda weight: quality(blended(tables, text, weight)))


def lines(
    scores: Scores, validation: np.ndarray, test: np.ndarray, among: dict[str, np.ndarray], strangers: bool
) -> Iterator[dict]:
    """A line for each ranking and scorer on the ``test`` rows; "less X": the difference to X with its interval."""
    users = scores.split.data.user[test]
    held = scores.tables(validation, "validation", strangers)
    tables = scores.tables(test, "test", strangers)
    for ranking, items in among.items():
        text, weight = chosen(scores, held, validation, items)
        named = {name: table for name, table in tables.items() if not name.startswith("text ")}
        if not scores.cold[scores.split.data.item[test]].any():
            named.pop("popularity by text")  # where no new item is asked for, it is popularity
        named["text similarity"] = tables[text]
        named["p5t5 + text"] = blended(tables, text, weight)
        ranks = {name: scores.ranks(table, test, items) for name, table in named.items()}
        values = {name: ndcg(rank, 10) for name, rank in ranks.items()}
        for name, value in values.items():
            low, high = bootstrap_interval(value, users=users)[1:]
            detail: dict[str, Any] = {
                "hr@10": round(float(hit(ranks[name], 10).mean()), 4),
                "ci95": [round(low, 4), round(high, 4)],
                "n": len(test),
                "items": int(items.sum()),
            }
            if name.startswith("p5t5"):
                for other in [other for other in named if other != name]:
                    found = paired_bootstrap(value, values[other], users=users)
                    detail[f"less {other}"] = [round(number, 4) for number in found]
            if name in ("text similarity", "p5t5 + text"):
                detail["chosen"] = {"decay": float(text.split()[1]), "weight of the text": weight}
            yield {"case": f"{ranking}: {name}", "value": round(float(value.mean()), 4), "detail": detail}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder, whose items have titles or attributes")
    parser.add_argument("--minutes", type=float, default=10.0, help="training time")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="YAML of finetune's options")
    parser.add_argument(
        "--model", default="", help="a model that an earlier run left in --keep, instead of training"
    )
    parser.add_argument("--keep", default="", help="folder for the data that is left and the model")
    parser.add_argument(
        "--share", type=float, default=0.1, help="share of the items, and of the users, held out"
    )
    parser.add_argument("--asked", type=int, default=3000, help="rows that are asked of each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    records = load_records(arguments.data)
    left, items, users = without(records, arguments.share, arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        checkpoint = trained(left, arguments, Path(arguments.keep or name))
    data = records.index()
    grown = add_items(checkpoint, data.items)
    cold = np.isin(data.item_ids, list(items))
    new_user = np.isin(data.user_ids, list(users))
    full = leave_one_out(data)
    seen = trained_before(full, cold[data.item] | new_user[data.user])
    split = Split(data, "loo", np.where(seen, 0, np.where(full.part == 0, -1, full.part)).astype(np.int8))
    scores = Scores(grown, split, cold)

    def rows(part: str, wanted: np.ndarray) -> np.ndarray:
        found = split.rows(part)
        found = found[(split.history_lengths(found) > 0) & wanted[found]]
        order = np.random.default_rng(arguments.seed).permutation(len(found))
        return np.sort(found[order[: arguments.asked]])

    everything = np.ones(len(cold), bool)
    about_cold, of_new = cold[data.item], new_user[data.user] & ~cold[data.item]
    rankings = {"new items among new": cold, "new items among all": everything}
    asked_of_new = {"new users among all": everything}
    of_known = ~new_user[data.user] & ~cold[data.item]
    asked_of_known = {"known users among all": everything, "known users without the new items": ~cold}
    for wanted, among in ((about_cold, rankings), (of_new, asked_of_new), (of_known, asked_of_known)):
        asked = rows("validation", wanted), rows("test", wanted)
        for line in lines(scores, *asked, among, strangers=wanted is of_new):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
