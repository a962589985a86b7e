"""Cores and memory as a container may use them, told by files made by hand."""

from __future__ import annotations

import os

import pytest

from p5t5.core.machine import cpu_features, cpu_name, memory, usable_cores


def written(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None), ({"cpu_dot_max": "max 100000\n"}, None), ({"cpu_dot_max": "50000 100000\n"}, 0.5),
        ({"cpu__cpu_dot_cfs_quota_us": "-1\n", "cpu__cpu_dot_cfs_period_us": "100000\n"}, None),
        ({"cpu__cpu_dot_cfs_quota_us": "25000\n", "cpu__cpu_dot_cfs_period_us": "100000\n"}, 0.25),
        ({"cpu_dot_max": "nonsense"}, None), ({"cpu_dot_max": "5 0"}, None),
    ],
)  # fmt: skip
def test_a_quota_counts(files, quota, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert usable_cores(written(tmp_path, **files)) == (quota or 3)


def test_the_containers_memory_counts(tmp_path):
    proc = written(tmp_path / "proc", meminfo="MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 6000 kB\n")
    assert memory(proc, tmp_path / "none") == (8_192_000, 6_144_000)
    group = written(tmp_path / "v2", memory_dot_max="2048000", memory_dot_current="1024000")
    assert memory(proc, group) == (2_048_000, 1_024_000)
    assert memory(proc, written(tmp_path / "max", memory_dot_max="max")) == (8_192_000, 6_144_000)
    assert memory(tmp_path / "none", group) is None


def test_the_processor_tells_its_features(tmp_path):
    proc = written(tmp_path, cpuinfo="processor: 0\nmodel name : A CPU\nflags : fpu avx2 avx512_bf16\n")
    assert cpu_features(proc) == ["AVX2", "bf16"] and cpu_name(proc) == "A CPU"
    assert cpu_features(tmp_path / "none") == [] and cpu_name(tmp_path / "none") == ""
