"""Shared fixtures: simulated data with a known answer, a tokenizer, tiny random models. No network."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # before torch is loaded: see p5t5.cli

import socket
from pathlib import Path

import pytest
from support.paths import SHARED_DATA


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Any connection beyond loopback fails the test that tried it."""
    connect = socket.socket.connect

    def guarded(self, address):
        host = address[0] if isinstance(address, tuple) else ""
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests must not use the network (tried {host})")
        return connect(self, address)

    socket.socket.connect = guarded
    yield
    socket.socket.connect = connect


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the repository; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data is not here: no ../shared/data beside the repository")
    return SHARED_DATA
