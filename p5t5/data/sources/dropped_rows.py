"""Rows that were left out: how many and why, where the first of them stands, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from p5t5.core.errors import UserError

REFUSED_SHARE = 0.5  # a file of which more cannot be read than this was misread, not damaged
FEW = 20  # rows of which it cannot be told


@dataclass
class Problem:
    """``first``: where the first row of the kind stands, and what is there."""

    reason: str
    rows: int
    first: str
    remedy: str


@dataclass
class Problems:
    """Collects what is wrong, by reason, in the order in which reasons are met."""

    found: dict[str, Problem] = field(default_factory=dict)

    def add(self, reason: str, rows: int, first: str, remedy: str) -> None:
        if rows and reason in self.found:
            self.found[reason].rows += rows
        elif rows:
            self.found[reason] = Problem(reason, rows, first, remedy)

    def dropped(self) -> dict[str, int]:
        return {reason: problem.rows for reason, problem in self.found.items()}

    def facts(self) -> list[dict[str, Any]]:
        """For prepare.json and the report."""
        return [
            {"reason": p.reason, "rows": p.rows, "first": p.first, "remedy": p.remedy}
            for p in self.found.values()
        ]

    def refuse_if_most(self, rows: int, least: int = FEW) -> None:
        """UserError where one reason (a missing cell is none) took more than half of the rows read so far."""
        for problem in self.found.values():
            if (
                rows >= least
                and problem.rows > REFUSED_SHARE * rows
                and not problem.reason.endswith("missing")
            ):
                raise UserError(
                    f"{problem.first}: {problem.reason}, and so it is in {problem.rows:,} of {rows:,} rows; "
                    f"{problem.remedy}."
                )
