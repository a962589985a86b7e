"""A checkpoint that is ready to answer: read, checked, and asked once before anybody else asks it."""

from __future__ import annotations

import gc
import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from p5t5.checkpoint.hub import resolve
from p5t5.core.errors import UserError
from p5t5.core.files import sha256
from p5t5.questions.profiles import Recent
from p5t5.recommender import Recommendation, Recommender
from p5t5.serving.settings import Settings

Answer = dict[str, Any]
KINDS = (".json", ".yaml", ".parquet", ".safetensors", ".md")  # what a checkpoint consists of


@dataclass
class Loaded:
    """A checkpoint that answers; ``digest``: 12 hex digits of its record and weights."""

    recommender: Recommender
    digest: str
    settings: Settings

    @staticmethod
    def of(settings: Settings, recent: Recent | None = None) -> Loaded:
        """Reads the configured checkpoint. UserError where there is none, it is damaged, or it cannot answer.

        A copy of its own is read: weights are mapped into memory from their file, and a process whose file another one
        writes over ends with a bus error.
        """
        folder = resolve(settings.model)
        dtype = None if settings.dtype == "float32" else settings.dtype
        with tempfile.TemporaryDirectory(prefix="p5t5-") as own:
            try:
                for path in folder.iterdir():
                    if path.is_file() and path.suffix in KINDS:
                        shutil.copyfile(path, Path(own) / path.name)
                digest = digest_of(Path(own))
                if digest_of(folder) != digest:
                    raise UserError(f"{own} changed while it was read: copy it whole, then load it again.")
                recommender = Recommender.from_pretrained(
                    own, settings.device, settings.fusion, dtype=dtype, recent=recent
                )
                loaded = Loaded(recommender, digest, settings)
                loaded.try_out()
            except UserError as error:
                raise UserError(str(error).replace(own, settings.model)) from error
            except OSError as error:
                raise UserError(f"{settings.model} could not be read: {error.strerror or error}.") from error
        return loaded

    def try_out(self) -> None:
        """Answers one request of each usual kind, and makes what first answers make. UserError for weights that are no numbers."""
        rec, model = self.recommender, self.settings.model
        if self.settings.data:
            rec.operations.profiles.records(self.settings.data)
        _ = self.attributes, self.folded_titles, rec.operations.questions.vectors
        if not np.isfinite(rec.operations.questions.vectors).all():
            raise UserError(f"{model}: its weights are no numbers (NaN): train it again.")
        rec.request("What should I watch next?")
        learnt = rec.checkpoint.info.tasks
        if learnt and "sequential/next_item" not in learnt:
            return
        first = rec.recommend([rec.catalogue.item_ids[0]], k=1, exclude_seen=False)
        if not first or not np.isfinite(first[0].score):
            raise UserError(f"{model}: it recommends nothing; its weights are damaged: copy it again.")

    @property
    def data(self) -> str | None:
        return self.settings.data or None

    @cached_property
    def attributes(self) -> list[dict[str, Any]]:
        """For each item: attribute → its values or number, what is not known left out."""
        known = self.recommender.vocabulary.attributes
        out: list[dict[str, Any]] = [{} for _ in self.recommender.catalogue.item_ids]
        for name, cells in known.values.items():
            for item, cell in zip(out, cells, strict=True):
                if cell:
                    item[name] = sorted(cell)
        for name, numbers in known.numbers.items():
            for item, number in zip(out, numbers.tolist(), strict=True):
                if number == number:
                    item[name] = number
        return out

    @cached_property
    def folded_titles(self) -> list[str]:
        return [title.casefold() for title in self.recommender.catalogue.titles]

    def item(self, item: int) -> Answer:
        """What is shown of an item."""
        catalogue = self.recommender.catalogue
        return {
            "item_id": catalogue.item_ids[item],
            "title": catalogue.titles[item],
            "attributes": self.attributes[item],
        }

    def items(self, found: Sequence[Recommendation]) -> list[Answer]:
        """What is shown of ranked items."""
        index = self.recommender.catalogue.index_of
        return [
            {**self.item(index[one.item_id]), "score": float(one.score), "why": dict(one.why)}
            for one in found
        ]

    def search(self, text: str, k: int) -> list[Answer]:
        """Items whose titles begin with, hold or resemble ``text``, in this order; all where it is empty."""
        rec, words = self.recommender, text.casefold().strip()
        if not words:
            return [self.item(item) for item in range(min(k, len(rec.catalogue)))]
        own = rec.catalogue.index_of.get(text.strip())
        holding = [item for item, title in enumerate(self.folded_titles) if words in title]
        titles = self.folded_titles
        holding.sort(key=lambda item: (not titles[item].startswith(words), len(titles[item])))
        found = [*([] if own is None else [own]), *holding]
        if len(holding) < k:
            found += [item for item, _ in rec.vocabulary.nearest(text, limit=k)]
        return [self.item(item) for item in list(dict.fromkeys(found))[:k]]

    def description(self) -> Answer:
        """What is served: the model, its scale, the attributes that can be filtered by, its tasks and limits."""
        rec = self.recommender
        known = rec.vocabulary.attributes
        attributes: Answer = {
            name: {"values": sorted(frozenset().union(*cells))} for name, cells in known.values.items()
        }
        for name, numbers in known.numbers.items():
            real = numbers[numbers == numbers].tolist()
            attributes[name] = {"lowest": min(real, default=None), "highest": max(real, default=None)}
        info = rec.checkpoint.info
        return {
            "name": info.data.name,
            "checkpoint": self.digest,
            "items": len(rec.catalogue),
            "rating_values": [float(value) for value in rec.checkpoint.rating_values],
            "attributes": attributes,
            "tasks": list(info.tasks),
            "limits": {name: getattr(self.settings, name) for name in ("max_k", "max_history", "max_text")},
            "users": bool(self.settings.data),
        }


def settle_memory() -> None:
    """Leaves what is there for good out of garbage collection: a full one stops every request for 0.3 s."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def digest_of(folder: Path) -> str:
    """12 hex digits of a checkpoint's p5t5.json and weights. UserError where one is missing."""
    found = hashlib.sha256()
    for name in ("p5t5.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {name} is missing: copy the whole folder again, or train it again.")
        found.update(sha256(folder / name).encode())
    return found.hexdigest()[:12]
