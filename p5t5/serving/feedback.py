"""What people did, as JSON lines that `p5t5 prepare table` reads, and in memory for the next request."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from pathlib import Path

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_id
from p5t5.serving.batching import Refused

KEPT_OF_A_USER = 200  # the latest; a model reads fewer
NAME = "feedback-{:06d}.jsonl"


class StorageFull(Refused):
    """The line could not be written; nothing was taken down."""

    status = 507
    remedy = "Make room in the feedback folder of the service, then send it again."


class Feedback:
    """Appends lines {"user_id", "item_id", "rating", "timestamp"} (seconds) to files in ``folder``, "": in memory only.

    ``most_bytes``: from which a file is closed and the next one begun. ``fsync``: a line is on the disk before it counts.
    ``users``: how many are remembered, those seen last. What the files hold is remembered from the start on.
    Raises OSError where the folder cannot be made.
    """

    def __init__(
        self, folder: str = "", *, fsync: bool = False, most_bytes: int = 64 << 20, users: int = 100_000
    ) -> None:
        self.folder = Path(folder) if folder else None
        self.fsync, self.most_bytes, self.users = fsync, most_bytes, users
        self._of_user: OrderedDict[str, deque[tuple[str, float | None]]] = OrderedDict()
        self._lock = threading.Lock()
        self._number = 1
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._recall(self.folder)

    def add(self, user: str | int, item_id: str, rating: float | None = None) -> int:
        """Takes down that the user met the item; returns how many things are remembered of the user.

        Raises UserError for what cannot be a user's id, StorageFull where the disk takes no more.
        """
        name = clean_id(user)
        if not name:
            raise UserError(f"user {user!r}: an id is not empty and has no control characters.")
        said = {"user_id": name, "item_id": item_id, "rating": rating, "timestamp": int(time.time())}
        with self._lock:
            if self.folder is not None:
                self._append(self.folder, json.dumps(said, ensure_ascii=False) + "\n")
            return self._remember(name, item_id, rating)

    def recent(self, user: str) -> Sequence[tuple[str, float | None]]:
        """(item id, rating or None) of a user, oldest first."""
        with self._lock:
            return tuple(self._of_user.get(clean_id(user) or "", ()))

    def _remember(self, user: str, item_id: str, rating: float | None) -> int:
        known = self._of_user.setdefault(user, deque(maxlen=KEPT_OF_A_USER))
        known.append((item_id, rating))
        self._of_user.move_to_end(user)
        while len(self._of_user) > self.users:
            self._of_user.popitem(last=False)
        return len(known)

    def _append(self, folder: Path, line: str) -> None:
        data = line.encode("utf-8", "replace")
        path = folder / NAME.format(self._number)
        try:
            if path.exists() and path.stat().st_size + len(data) > self.most_bytes:
                self._number += 1
                path = folder / NAME.format(self._number)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    written = 0
                    while written < len(data):
                        written += os.write(descriptor, data[written:])
                    if self.fsync:
                        os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, size)  # no half lines
                    raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageFull(f"the feedback could not be written ({error.strerror})") from error

    def _recall(self, folder: Path) -> None:
        """What earlier runs took down; a line that a sudden end has torn is cut off: nobody was told that it counts."""
        paths = sorted(folder.glob("feedback-*.jsonl"))
        if paths:
            self._number = int(paths[-1].stem.rpartition("-")[2])
            _cut_torn(paths[-1])
        for path in paths:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    try:
                        said = json.loads(line)
                        self._remember(str(said["user_id"]), str(said["item_id"]), said["rating"])
                    except (ValueError, KeyError, TypeError):
                        continue


def _cut_torn(path: Path) -> None:
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 65536, 0))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
