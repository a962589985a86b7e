"""Texts as they are printed for people."""

from __future__ import annotations

LONGEST_SHOWN = 100  # characters of a title; the data keep all


def shown_title(title: str) -> str:
    """A title as it is printed: cut where it is too long."""
    return title if len(title) <= LONGEST_SHOWN else title[: LONGEST_SHOWN - 1].rstrip() + "…"
