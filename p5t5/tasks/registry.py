"""The tasks by name. A new one is a Task and one line here."""

from __future__ import annotations

from p5t5.tasks import direct, explanation, rating, review, sequential
from p5t5.tasks.base import Task, Teacher

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

FAMILIES = tuple(dict.fromkeys(task.family for task in TASKS.values()))


def distilled() -> list[str]:
    """The tasks that have soft targets: next items first, then ratings."""
    return [name for teacher in Teacher for name, task in TASKS.items() if task.teacher is teacher]
