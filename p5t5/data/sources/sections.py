"""Files in sections, as the Netflix prize has them: a line ``7:`` names the film of the rows that follow."""

from __future__ import annotations

import re
from pathlib import Path

from p5t5.data.sources.opening import first_bytes, open_bytes
from p5t5.data.sources.staging import scratch_file

_HEAD = re.compile(rb"[^\s,:;]+:\s*")


def unfolded(path: Path) -> tuple[Path, list[str], str] | None:
    """A copy with the section's name in each row, its columns' names, and what was done; None for other files."""
    lines = [line for line in first_bytes(path, 1 << 14).splitlines()[:-1] if line.strip()]
    if len(lines) < 2 or not _HEAD.fullmatch(lines[0]):
        return None
    widths = {line.count(b",") for line in lines if not _HEAD.fullmatch(line)}
    if len(widths) != 1 or not (width := widths.pop()):
        return None
    target = scratch_file(path.name, ".csv")
    section = b""
    with open_bytes(path) as source, open(target, "wb") as out:
        for line in source:
            if _HEAD.fullmatch(line):
                section = line.strip()[:-1] + b","
            elif line.strip():
                out.write(section + line)
    others = {2: ["user_id", "rating", "timestamp"], 1: ["user_id", "rating"]}
    names = ["item_id", *others.get(width, [f"column_{number}" for number in range(2, width + 3)])]
    note = f"{path.name} is in sections, as the Netflix prize: lines such as {lines[0].decode('utf-8', 'replace').strip()} name the item, rows are {', '.join(names[1:])}"
    return target, names, note
