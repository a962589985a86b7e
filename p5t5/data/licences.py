"""What may be done with a model, by the data that it was trained on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from p5t5.core.errors import UserError


@dataclass(frozen=True)
class Licence:
    """As the Hub's front matter has it: ``id`` is one of its identifiers; with "other", ``name`` and ``link`` say which.

    ``research_only``: the data may not be used commercially, and so a model of it neither.
    """

    id: str
    name: str = ""
    link: str = ""
    research_only: bool = False

    def front_matter(self) -> dict[str, str]:
        """The fields of a card."""
        fields = {"license": self.id, "license_name": self.name, "license_link": self.link}
        return {field: value for field, value in fields.items() if value}


UNKNOWN = Licence("other", "unknown")
MOVIELENS = Licence(
    "other",
    "movielens-research-only",
    "https://files.grouplens.org/datasets/movielens/ml-100k-README.txt",
    research_only=True,
)
AMAZON = Licence(
    "other", "amazon-reviews-research-only", "https://amazon-reviews-2023.github.io", research_only=True
)
# What the name, the source or the licence of data holds → the licence of what is made from them.
_KNOWN: tuple[tuple[str, Licence], ...] = (
    (r"(?i)movielens|grouplens|(?:^|[^a-z])ml-(?:\d+[km]|latest)", MOVIELENS),
    (r"(?i)amazon", AMAZON),
    (r"^simulated", Licence("apache-2.0")),
)


def licence_of(*told: str, chosen: str = "") -> Licence:
    """The licence of a model of the data of which ``told`` is known: name, source, licence.

    ``chosen``: the identifier that the user wants; UserError where it permits what research-only data forbid.
    What is not known is "other" with the name "unknown".
    """
    known = next(
        (licence for pattern, licence in _KNOWN if any(re.search(pattern, text) for text in told)), UNKNOWN
    )
    if not chosen:
        return known
    wanted = chosen.strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", wanted):
        raise UserError(f"--license {chosen!r}: give one of the Hub's identifiers, such as cc-by-nc-4.0.")
    if known.research_only and wanted != "other" and "-nc" not in wanted:
        raise UserError(
            f"--license {chosen}: the data may be used for research only ({known.name}), and so may a model of "
            "them: choose a licence without commercial use, such as cc-by-nc-4.0, or leave it out."
        )
    return known if wanted == "other" else Licence(wanted)
