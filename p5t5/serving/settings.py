"""What a service is told: the model, who may ask, and how much."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from p5t5.core.errors import UserError
from p5t5.core.options import option, required


@dataclass(frozen=True)
class Settings:
    """All choices of a service, checked where they are made.

    Raises UserError for a number out of range, and for an address that others can reach without a key.
    """

    model: str = required("a fine-tuned model's folder or Hub id")
    data: str = option("", "a data folder: the histories of the users whom requests name")
    host: str = option("127.0.0.1", "address to listen at; another than this machine's own needs a key")
    port: int = option(8000, "port to listen at; 0: any free one")
    device: str = option("cpu", "cpu, cuda, cuda:1 …")
    dtype: str = option(
        "float32", "type of the weights: float32 or bfloat16; bfloat16 prints how far the top 10 agree"
    )
    fusion: bool | None = option(
        None,
        "rank by the fitted blend of model and baselines that lies beside the model (by default where it is there)",
    )
    ui: bool = option(False, "a page for people at /ui (needs p5t5[ui])")
    api_key_file: str = option(
        "", "a file with the API key; else the environment's P5T5_API_KEY; none: no key"
    )
    insecure: bool = option(False, "listen at any address without a key")
    feedback: str = option("", "a folder that /feedback writes to; none: feedback is kept in memory only")
    feedback_fsync: bool = option(False, "feedback is on the disk before it is answered for")
    feedback_mb: float = option(64.0, "megabytes from which a feedback file is closed and the next one begun")
    feedback_users: int = option(100_000, "users whose feedback is kept in memory, the last ones seen")
    max_k: int = option(100, "most items of a list")
    max_history: int = option(500, "most items of a history, of candidates and of exclusions")
    max_text: int = option(4000, "most characters of a question, review or name")
    max_body_kb: int = option(256, "kilobytes of a request's body")
    batch: int = option(32, "most requests that are answered together; 1: one at a time")
    batch_tokens: int = option(8192, "most tokens that the model reads at a time")
    queue: int = option(32, "most requests that wait; more are told to come again (429)")
    deadline: float = option(10.0, "seconds after which a waiting request is given up (504)")
    body_seconds: float = option(10.0, "seconds in which a request's body must have arrived (408)")
    connections: int = option(2000, "most connections at a time")
    drain: float = option(20.0, "seconds that started requests are given when the service stops")

    def __post_init__(self) -> None:
        if not self.model:
            raise UserError("model: name a fine-tuned model's folder or Hub id.")
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(f"dtype {self.dtype!r}: choose float32 or bfloat16.")
        if not 0 <= self.port < 65536:
            raise UserError(f"port {self.port}: a port lies between 1 and 65535; 0 is any free one.")
        for name in (
            "feedback_users", "max_k", "max_history", "max_text", "max_body_kb", "batch", "batch_tokens",
            "queue", "connections",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but must be 1 or more.")
        for name in ("feedback_mb", "deadline", "body_seconds", "drain"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}, but must be above 0.")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
