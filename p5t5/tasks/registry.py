"""The 15 tasks, by name, and what they are made of."""

from __future__ import annotations

from p5t5.tasks import direct, explanation, rating, review, sequential
from p5t5.tasks.base import Task

FAMILIES = ("rating", "sequential", "explanation", "review", "direct")

# In this order everywhere: reports list them so, and mixtures share out their rounding so.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        rating.Score(),
        rating.Verify(),
        rating.Like(),
        sequential.NextItem(),
        sequential.Continue(),
        sequential.Choose(),
        sequential.Verify(),
        explanation.Explain(),
        explanation.ExplainFeature(),
        explanation.RateAndExplain(),
        review.Headline(),
        review.Score(),
        review.ScoreWithHeadline(),
        direct.Verify(),
        direct.Choose(),
    )
}
