"""What a folder would lose if a checkpoint were saved into it."""

from __future__ import annotations

import json
from pathlib import Path

from p5t5.checkpoint.checkpoint import FITTED_FILES, LATER, Checkpoint
from p5t5.checkpoint.info import read_json
from p5t5.core.errors import UserError
from p5t5.core.files import finished_work


def check_nothing_lost(checkpoint: Checkpoint, folder: str | Path, also: tuple[str, ...] = ()) -> None:
    """UserError, which names what would be lost, unless ``folder`` is free or holds this very model and no more.

    ``also``: names of files that are written beside the checkpoint, and so not lost.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(f"{folder} is a file: name a folder.")
    work = finished_work(folder)
    if work is None:
        return
    if _holds(checkpoint, folder):
        written = {name for one in checkpoint.fitted.values() for name in one.files} | set(also)
        lost = [name for name in (*FITTED_FILES, *LATER) if (folder / name).exists() and name not in written]
        if not lost:
            return
        work = ", ".join(lost)
    raise UserError(
        f"{folder} holds {work}, which would be lost: save to another folder, or pass overwrite=True."
    )


def _holds(checkpoint: Checkpoint, folder: Path) -> bool:
    """Whether the folder's p5t5.json describes this checkpoint: the same training of the same catalogue."""
    try:
        theirs = read_json(folder)
    except UserError:
        return False
    ours = {**checkpoint.info.as_json(), "catalogue": checkpoint.catalogue.digest()}
    plain = json.loads(json.dumps(ours))
    return all(theirs.get(name) == value for name, value in plain.items() if name != "versions")
