"""What is chosen on validation rows before an evaluation: how texts are decoded, and the weights of the fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from p5t5.workflows.model_setup import LOG, Log

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.splits import Split
    from p5t5.fusion.blend import Fusion

NOT_SAVED = "not saved: --model is not a local folder; download it first"


def choose_text(
    model: str, checkpoint: Checkpoint, split: Split, tasks: Sequence[str], seed: int, log: Log = LOG
) -> None:
    """Chooses how each task's text is decoded, if that was not chosen yet; saved in the model's folder, if it is one."""
    from tqdm import tqdm

    from p5t5.inference.item_phrases import fit_item_ngrams
    from p5t5.inference.predictor import Predictor
    from p5t5.inference.text_decoding_search import (
        choose_text_options,
        settings,
        store_text_options,
    )
    from p5t5.inference.text_writer import describe_decoding, saved_options
    from p5t5.metrics.text import require_packages
    from p5t5.tasks.registry import TASKS

    missing = [task for task in tasks if TASKS[task].writes and task not in saved_options(checkpoint)]
    missing = [task for task in missing if not TASKS[task].missing(split.data)]
    if not missing:
        return
    require_packages()
    build = replace(checkpoint.build_options(-1), seed=seed)
    ngrams = fit_item_ngrams(checkpoint.tokenizer, split, missing, build)
    predictor = Predictor(checkpoint, split.data, item_ngrams=ngrams)
    ways = sum(
        len(settings(bool(TASKS[task].hint), TASKS[task].target_slot in predictor.item_ngrams))
        for task in missing
    )
    with tqdm(desc="choosing how text is decoded", total=ways, unit=" ways", leave=False) as bar:
        chosen = choose_text_options(
            predictor,
            split,
            missing,
            build,
            progress=lambda what: (bar.set_postfix_str(what), bar.update()),
        )
    where = NOT_SAVED
    store_text_options(checkpoint, chosen, predictor.item_ngrams)
    if Path(model).is_dir():  # what lies in the Hub's cache is not ours to change
        try:
            checkpoint.save_fitted(model)
            where = str(Path(model) / "p5t5.json")
        except OSError as error:
            where = f"not saved in {model}: {error}"
    for task, decoding in saved_options(checkpoint).items():
        if task in chosen:
            rows = chosen[task]["validation"]["rows"]
            log(f"{task}: {describe_decoding(decoding)}, chosen on {rows} validation rows → {where}")


def load_fusion(model: str, checkpoint: Checkpoint, split: Split, seed: int, log: Log = LOG) -> Fusion:
    """The fusion beside the model, or a new one that is then saved there, if that is a folder."""
    from tqdm import tqdm

    from p5t5.checkpoint.hub import resolve
    from p5t5.fusion.blend import FUSION_FILE, Fusion
    from p5t5.fusion.model_scores import fit_for

    folder = resolve(model)
    if (folder / FUSION_FILE).is_file():
        fusion = Fusion.load(folder)
        fusion.check(checkpoint.info.data.hash)
        return fusion
    with tqdm(unit=" rows", desc="fitting the fusion", leave=False) as bar:
        fusion = fit_for(checkpoint, split, seed=seed, progress=bar.update)
    where = NOT_SAVED
    if Path(model).is_dir():
        fusion.save(folder)
        where = str(folder / FUSION_FILE)
    log(f"fusion: {fusion.kind}, fitted on {fusion.metadata['rows']} validation rows → {where}")
    return fusion
