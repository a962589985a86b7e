"""What result rows say to those who ask the model."""

from __future__ import annotations

from p5t5.evaluation.results import no_better_than_chance


def row(task: str, value: float, low: float, **changes) -> dict:
    return {
        "model": "p5t5", "task": task, "metric": "auc", "prompt": "seen", "value": value, "ci95": [low, 2 * value - low],
        **changes,
    }  # fmt: skip


def test_an_answer_at_chance_is_called_a_guess():
    rows = [
        row("sequential/verify", 0.53, 0.49),
        row("direct/verify", 0.58, 0.54),
        row("rating/like", 0.51, 0.47),
        row("rating/like", 0.82, 0.79, protocol="expected"),  # calibrated: this is what people get
        row("rating/verify", 0.4, 0.3, model="bias"),
        row("rating/verify", 0.4, 0.3, metric="accuracy"),
    ]
    told = no_better_than_chance(rows)
    assert set(told) == {"sequential/verify"}
    assert (
        "guess" in told["sequential/verify"]
        and "AUC 0.53, 95 % interval 0.49 to 0.57" in told["sequential/verify"]
    )
    assert no_better_than_chance([]) == {}
