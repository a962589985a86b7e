"""Random requests with where, without and exclude: how many recommended items should not be there?

    python benchmarks/forbidden.py --model runs/quickstart/model --requests 10000 --out results/forbidden.jsonl

One JSON line: requests asked, requests that no item meets (refused, as they should be), items returned, forbidden items.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from p5t5.core.errors import UserError
from p5t5.recommender import Recommender


def draw(random: np.random.Generator, values: dict, numbers: dict, ids: list[str]) -> dict:
    """One request: conditions on some attributes, a history, items to leave out, how many."""
    asked: dict = {"where": {}, "without": {}}
    for side in ("where", "without"):
        for name, known in values.items():
            if random.random() < 0.4:
                asked[side][name] = [str(one) for one in random.choice(known, random.integers(1, 3))]
        for name, known in numbers.items():
            if random.random() < 0.4:
                low, high = sorted(random.choice(known, 2).tolist())
                asked[side][name] = (low, high) if random.random() < 0.6 else (None, low)
    asked["exclude"] = random.choice(ids, random.integers(0, 10)).tolist()
    asked["history"] = random.choice(ids, random.integers(0, 6), replace=False).tolist()
    asked["k"] = int(random.integers(1, min(20, len(ids)) + 1))
    return asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rec = Recommender.from_pretrained(options.model)
    attributes = rec._people.vocabulary.attributes
    cells = attributes.values
    values = {name: sorted({value for cell in row for value in cell}) for name, row in cells.items()}
    numbers = {name: column[np.isfinite(column)] for name, column in attributes.numbers.items()}
    random, started = np.random.default_rng(options.seed), time.perf_counter()
    refused = returned = forbidden = 0
    for _ in range(options.requests):
        asked = draw(random, values, numbers, rec.catalogue.item_ids)
        try:
            found = rec.recommend(**asked)
        except UserError:
            refused += 1
            continue
        returned += len(found)
        for one in found:
            item = rec.catalogue.index_of[one.item_id]
            wrong = one.item_id in asked["exclude"] or one.item_id in asked["history"]
            for side, meant in (("where", True), ("without", False)):
                for name, wanted in asked[side].items():
                    if name in cells:
                        has = bool(cells[name][item] & set(wanted))
                    else:
                        low, high = (-np.inf if wanted[0] is None else wanted[0]), wanted[1]
                        has = bool(low <= attributes.numbers[name][item] <= high)
                    wrong |= has is not meant
            forbidden += wrong
    line = {
        "requests": options.requests,
        "refused": refused,
        "items": returned,
        "forbidden": forbidden,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(line))
    if options.out:
        options.out.write_text(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
