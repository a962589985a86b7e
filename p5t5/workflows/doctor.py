"""What works here and what does not: packages, processor, memory, disk, threads and the Hub, with what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from p5t5.core.machine import cpu_features, cpu_name, memory, usable_cores

OK, NOTE, PROBLEM = "ok", "note", "problem"
GB = 1 << 30
LEAST_MEMORY, LEAST_DISK = 2 * GB, 2 * GB
HUB_SECONDS = 3.0
NOT_FOR_USE = ("test", "docs", "compare")  # extras of those who work on p5t5
# Where p5t5 runs from a copy of its source, and pip knows nothing of it.
_CORE = ("torch", "transformers", "datasets", "accelerate", "sentencepiece", "evaluate", "scipy", "rapidfuzz")


@dataclass(frozen=True)
class Finding:
    """``state``: "ok", "note" (works, but could be better) or "problem" (does not work); ``advice``: what to do."""

    name: str
    state: str
    found: str
    advice: str = ""


def doctor(folder: str | Path = ".") -> list[Finding]:
    """All findings on this machine; ``folder``: where models are to be written. Looks once at the Hub, unless offline."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python, _packages, _extras, _processor, _threads, _gpu, _memory, lambda: _disk(Path(folder)), _hub,
    )  # fmt: skip
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except ImportError as error:  # of what the check itself needs
            findings.append(Finding(error.name or "python", PROBLEM, str(error), f"pip install {error.name}"))
    return findings


def works(findings: list[Finding]) -> bool:
    """Whether nothing prevents p5t5 from working."""
    return all(finding.state != PROBLEM for finding in findings)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Plain values, for `p5t5 doctor --json`."""
    return {"works": works(findings), "findings": [asdict(finding) for finding in findings]}


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    good = sys.version_info >= (3, 10)
    yield Finding(
        "python", OK if good else PROBLEM, f"{version}, {platform.platform(terse=True)}",
        "" if good else "use Python 3.10 or newer",
    )  # fmt: skip


def _packages() -> Iterator[Finding]:
    """Each core dependency against what p5t5 asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("p5t5") or []]
    except importlib.metadata.PackageNotFoundError:
        wanted = [Requirement(name) for name in _CORE]
    for requirement in wanted:
        if "extra" in str(requirement.marker or "") or not _holds(requirement):
            continue
        yield _installed(requirement)


def _holds(requirement: Any) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


def _installed(requirement: Any) -> Finding:
    name, wanted = requirement.name, str(requirement.specifier)
    install = f'pip install "{name}{wanted}"'
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, PROBLEM, "not installed", install)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(name, PROBLEM, f"{version}, but {wanted} is needed", install)
    return Finding(name, OK, version)


def _extras() -> Iterator[Finding]:
    """Each extra: whether all that it adds is there."""
    from packaging.requirements import Requirement

    try:
        about = importlib.metadata.metadata("p5t5")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("p5t5", NOTE, "runs from a folder of source", "pip install -e . for its extras")
        return
    lines = [Requirement(line) for line in importlib.metadata.requires("p5t5") or []]
    for extra in about.get_all("Provides-Extra") or []:
        ours = [
            line
            for line in lines
            if line.marker is not None
            and line.name != "p5t5"
            and line.marker.evaluate({"extra": extra})
            and not line.marker.evaluate({"extra": ""})
        ]
        if extra in NOT_FOR_USE or not ours:
            continue
        missing = [line.name for line in ours if _installed(line).state != OK]
        found = f"lacks {', '.join(missing)}" if missing else "installed"
        advice = f'pip install "p5t5[{extra}]" if you want it' if missing else ""
        yield Finding(f"extra {extra}", NOTE if missing else OK, found, advice)


def _processor() -> Iterator[Finding]:
    features = cpu_features()
    name = cpu_name() or platform.machine()
    if "AVX2" in features or platform.machine() not in ("x86_64", "AMD64"):
        advice = "p5t5 serve --dtype bfloat16 may pay" if "bf16" in features else ""
        yield Finding("processor", OK, f"{name}; {', '.join(features) or 'features unknown'}", advice)
    else:
        yield Finding("processor", NOTE, f"{name}; no AVX2", "it works, several times slower")


def _threads() -> Iterator[Finding]:
    usable, said = usable_cores(), os.environ.get("OMP_NUM_THREADS", "")
    whole = max(int(usable), 1)
    found = f"{usable:g} of {os.cpu_count()} cores usable; OMP_NUM_THREADS {said or 'not set'}"
    if said and not said.isdigit():
        yield Finding("threads", NOTE, found, f"OMP_NUM_THREADS is no number: set it to {whole}")
    elif said and int(said) > whole:
        yield Finding(
            "threads", NOTE, found, f"more threads than cores wait for each other: OMP_NUM_THREADS={whole}"
        )
    elif not said and whole < (os.cpu_count() or 1):
        yield Finding("threads", NOTE, found, f"libraries count all cores: set OMP_NUM_THREADS={whole}")
    elif said and int(said) < whole:
        yield Finding("threads", OK, found, f"training could use OMP_NUM_THREADS={whole}")
    else:
        yield Finding("threads", OK, found)  # fmt: skip


def _gpu() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding(
            "torch", PROBLEM, f"cannot be imported: {str(error).splitlines()[0]}", "install torch again"
        )
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            yield Finding(
                f"gpu {number}", OK, f"{about.name}, {about.total_memory / GB:.0f} GB", f"--device cuda:{number}"
            )  # fmt: skip
    elif torch.backends.mps.is_available():
        yield Finding("gpu", OK, "Apple MPS")
    elif Path("/proc/driver/nvidia").exists():
        yield Finding(
            "gpu", NOTE, "there is one, but torch cannot use it", "install a torch with CUDA: pytorch.org"
        )
    else:
        yield Finding("gpu", OK, "none: models of the presets tiny and mini train on the processor")


def _memory() -> Iterator[Finding]:
    if (found := memory()) is None:
        return
    whole, free = found
    enough = free >= LEAST_MEMORY
    yield Finding(
        "memory", OK if enough else NOTE, f"{free / GB:.1f} of {whole / GB:.1f} GB free",
        "" if enough else "training tiny models takes about 2 GB: close other programs, or raise the container's limit",
    )  # fmt: skip


def _disk(folder: Path) -> Iterator[Finding]:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    state = NOTE if free < LEAST_DISK or not writable else OK
    advice = "" if state == OK else "name a folder on another disk in --out"
    yield Finding(
        "disk", state, f"{free / GB:.0f} GB free{'' if writable else ', not writable'} here", advice
    )


def _hub() -> Iterator[Finding]:
    from huggingface_hub import constants, get_token

    cache = Path(constants.HF_HUB_CACHE)
    models = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    near = next((one for one in (cache, *cache.parents) if one.exists()), cache)
    writable = os.access(near, os.W_OK)
    yield Finding(
        "hub cache", OK if writable else NOTE, f"{models} models{'' if writable else ', not writable'}",
        "" if writable else "set HF_HOME to a folder that you can write to",
    )  # fmt: skip
    if constants.HF_HUB_OFFLINE:
        yield Finding("hub", OK, "offline, as HF_HUB_OFFLINE says: models come from folders and the cache")
        return
    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_SECONDS):
            reachable = True
    except urllib.error.HTTPError:  # it answered
        reachable = True
    except (OSError, ValueError):
        reachable = False
    if reachable:
        logged_in = get_token() is not None
        yield Finding(
            "hub", OK, "reachable" + (", logged in" if logged_in else ", not logged in"),
            "" if logged_in else "hf auth login, before p5t5 push",
        )  # fmt: skip
    else:
        yield Finding(
            "hub", NOTE, "cannot be reached", "models in folders work; set HF_HUB_OFFLINE=1 to wait for nothing"
        )  # fmt: skip
