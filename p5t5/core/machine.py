"""What this machine has, as far as this process may use it: cores, memory, and the limits of its container."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
# Feature that p5t5's kernels or a type of weights profit from → its names in /proc/cpuinfo.
FEATURES = {"AVX2": ("avx2",), "AVX-512": ("avx512f",), "bf16": ("avx512_bf16", "amx_bf16", "bf16")}


def cpu_features(proc: Path = _PROC) -> list[str]:
    """Which of FEATURES the processor has; none where the system does not tell."""
    flags = set(_field(proc / "cpuinfo", "flags").split()) | set(_field(proc / "cpuinfo", "Features").split())
    return [name for name, known in FEATURES.items() if flags & set(known)]


def cpu_name(proc: Path = _PROC) -> str:
    """The processor's name, or ""."""
    return _field(proc / "cpuinfo", "model name")


def usable_cores(cgroup: Path = _CGROUP) -> float:
    """How many cores this process can keep busy: those it may run on, or its container's quota if that is less."""
    try:
        cores = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not Linux
        cores = float(os.cpu_count() or 1)
    quota, period = [*_read(cgroup / "cpu.max").split(), "max", ""][:2]
    if quota == "max":
        quota, period = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    try:
        return min(cores, int(quota) / int(period)) if int(quota) > 0 else cores
    except (ValueError, ZeroDivisionError):
        return cores


def memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> tuple[int, int] | None:
    """(bytes that this process may have, bytes of them that are free), or None where the system does not tell."""
    try:
        whole, free = (
            int(_field(proc / "meminfo", name).split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")
        )
    except (IndexError, ValueError):
        return None
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = int(_read(cgroup / most))
            left = limit - int(_read(cgroup / used) or 0)
        except ValueError:  # "max", or no such file
            continue
        return min(whole, limit), max(min(free, left), 0)
    return whole, free


def reset_peak_memory(proc: Path = _PROC) -> int | None:
    """Begins to measure `peak_memory` anew; the bytes that the process holds now, or None where it can't be told."""
    try:
        (proc / "self/clear_refs").write_text("5")
        return int(_field(proc / "self/status", "VmRSS").split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return None


def peak_memory(proc: Path = _PROC) -> int | None:
    """The most bytes that the process held at a time since `reset_peak_memory`."""
    try:
        return int(_field(proc / "self/status", "VmHWM").split()[0]) * 1024
    except (IndexError, ValueError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _field(path: Path, name: str) -> str:
    """The first value of `name: value` lines."""
    for line in _read(path).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
