"""A dozen films with genres, and eight people who rated and reviewed some of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.data.records.building import make_records

FILMS = [
    "Alien (1979)", "Aliens (1986)", "Fargo (1996)", "Godfather, The (1972)", "Heat (1995)", "Sabrina (1954)",
    "Sabrina (1995)", "Speed (1994)", "Toy Story (1995)", "Titanic (1997)", "Contact (1997)", "Babe (1995)",
]  # fmt: skip


def film_records(titles=FILMS):
    """``titles``: other ones, a dozen or more."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(8):
        for time, item in enumerate(random.permutation(len(titles))[: 5 + user % 3]):
            stars = int(random.integers(1, 6))
            rows.append(
                {
                    "user_id": str(17 + user),
                    "item_id": str(100 + item),
                    "rating": stars,
                    "timestamp": time,
                    "review": f"the plot of number {item} was worth {stars} to me",
                    "summary": f"{stars} for the plot",
                    "feature": "plot",
                    "explanation": "the plot is good" if stars > 3 else "the plot is weak",
                }
            )
    items = {"item_id": [str(100 + item) for item in range(len(titles))], "title": list(titles)}
    items["genres"] = ["Drama" if item % 2 else "Comedy" for item in range(len(titles))]
    return make_records("films", pd.DataFrame(rows), pd.DataFrame(items))
