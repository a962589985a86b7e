"""The whole test set through the decoding engine: users a second, and answers that are proven exact.

python benchmarks/all_users.py --data runs/beauty/data --model runs/beauty/model --out results/amazon-beauty-decoding.json

Top 20 of the whole catalogue for every user, items of the history left out. From interactions to ranked
lists, prompts and their rendering included. Prints one JSON line and adds its row to --out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.data.records.loading import load
from p5t5.decoding.ranking import rank_all
from p5t5.evaluation.results import read_rows, write_rows
from p5t5.text.mixture import single
from p5t5.updating.new_interactions import split_of

K = 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--model", required=True, help="checkpoint folder")
    parser.add_argument("--users", type=int, default=0, help="only so many, drawn by seed 0; 0: all")
    parser.add_argument("--scores", choices=("vocabulary", "trie"), default="vocabulary")
    parser.add_argument("--out", help="JSON file that the row is added to")
    arguments = parser.parse_args()
    checkpoint = Checkpoint.load(arguments.model)
    split = split_of(checkpoint.info, load(arguments.data))
    renderer, trie = checkpoint.renderer_for(split.data), checkpoint.catalogue.trie
    rows = split.rows("test")
    if 0 < arguments.users < len(rows):
        rows = np.sort(np.random.default_rng(0).choice(rows, arguments.users, replace=False))
    began = time.monotonic()
    examples, prompts = single(
        split, "sequential/next_item", checkpoint.prompts, "test", checkpoint.build_options(-1), rows=rows
    )
    inputs = renderer.encode_inputs(examples, prompts)
    exclude = split.history_items(rows, 2**31)
    ranked = rank_all(checkpoint.model, inputs, trie, K, exclude=exclude, scores=arguments.scores)
    seconds = time.monotonic() - began
    assert (ranked.items >= 0).all()
    detail = {
        "dataset": split.data.name,
        "model": checkpoint.info.model,
        "identifiers": checkpoint.info.identifiers["item"]["method"],
        "levels": trie.depth,
        "items": len(trie),
        "scores": arguments.scores,
        "users": len(rows),
        "seconds": round(seconds, 1),
        "users_per_second": round(len(rows) / seconds, 1),
        "certified": round(float(ranked.certified.mean()), 4),
        "mean_prompt": round(float(inputs.lengths.mean()), 1),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps({"case": "all_users", "value": detail["users_per_second"], "detail": detail}))
    if arguments.out:
        known = read_rows(arguments.out) if Path(arguments.out).is_file() else []
        write_rows(arguments.out, [*known, {"metric": "users_per_second", **detail}])


if __name__ == "__main__":
    main()
