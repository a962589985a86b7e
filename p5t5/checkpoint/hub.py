"""Loading models from folders and from the Hub."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from p5t5.core.errors import UserError
from p5t5.model.modeling import P5T5ForConditionalGeneration

# Of a repository of the Hub these are fetched: what is read, and nothing that could run.
READ = ("*.json", "*.safetensors", "*.parquet", "*.yaml", "*.md", "*.model")


def load_model(folder_or_id: str | Path) -> P5T5ForConditionalGeneration:
    """A p5t5 or plain T5 model from a folder or the Hub. Raises UserError where there is none."""
    folder = resolve(folder_or_id)
    try:
        return P5T5ForConditionalGeneration.from_pretrained(folder)
    except (OSError, KeyError) as error:
        raise UserError(f"{folder_or_id}: no T5 model could be read there: {error}") from error


def set_dropout(model: P5T5ForConditionalGeneration, rate: float) -> None:
    """Changes the dropout rate of an existing model, in place."""
    model.config.dropout_rate = rate
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout", None), float):  # T5Attention keeps the bare number
            module.dropout = rate  # type: ignore[assignment]


def resolve(folder_or_id: str | Path, revision: str | None = None) -> Path:
    """The folder itself ("~" is your home), or the local copy of a Hub repository (offline: from the cache only).

    ``revision``: a branch, tag or commit of a Hub repository. Raises UserError where there is neither, and for a
    revision of a folder.
    """
    folder = Path(folder_or_id).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UserError(f"revision {revision!r}: {folder} is a folder, and only Hub ids have revisions.")
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(folder_or_id), revision=revision, allow_patterns=list(READ)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"there is no folder {folder_or_id}, and no repository of that name could be read from the Hub "
            f"({type(error).__name__}). Check the path; without a network, put the model in a folder."
        ) from error


def place_model(model: nn.Module, device: str | torch.device | None, dtype: str | torch.dtype | None) -> None:
    """The model on another device or in another type; UserError where there is none such."""
    if dtype is not None:
        kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
            raise UserError(f"dtype {dtype!r}: choose float32, bfloat16 or float16.")
        model.to(kind)
    if device is not None:
        try:
            model.to(torch.device(device))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}"
            ) from error
