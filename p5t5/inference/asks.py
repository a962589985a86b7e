"""Answer plans: questions to the model as generators, so that many can be answered in one batch.

A plan yields an `Ask` and is sent its answer, as often as it needs; what it returns is its result. `together` goes
through many plans in step: whatever they ask at the same time is computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from p5t5.inference.request import PromptFacts

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Ask:
    """One prompt to be answered in the form of its task's decoding.

    ``prompt``: index into the checkpoint's prompts. Where the facts hold candidates, a task that ranks the catalogue
    ranks only those; else the best ``k``, of the items in ``keep`` (bool [items]; None: all) without ``exclude``.
    """

    task: str
    prompt: int
    facts: PromptFacts
    k: int = 10
    keep: np.ndarray | None = None
    exclude: Sequence[int] = ()

    @property
    def narrow(self) -> bool:
        """Whether it is less work to list what is allowed than what is not."""
        return self.keep is not None and 4 * int(self.keep.sum()) < len(self.keep)


Plan = Generator[Ask, Any, Result]  # it is sent the Answer of each Ask


def together(
    compute: Callable[[Sequence[Ask]], Sequence[Any]], plans: Sequence[Plan[Result]]
) -> list[Result | Exception]:
    """The result of each plan, or the exception that it ended with: one that fails takes no other with it.

    ``compute``: the answers to many asks, as `Answerer.answer_all` gives them; one may be an exception, which is then
    raised inside its plan.
    """
    results: list[Any] = [None] * len(plans)
    answers: dict[int, Any] = dict.fromkeys(range(len(plans)))
    while answers:
        asks: dict[int, Ask] = {}
        for number, answer in answers.items():
            plan = plans[number]
            try:
                failed = isinstance(answer, Exception)
                asks[number] = plan.throw(answer) if failed else plan.send(answer)
            except StopIteration as end:
                results[number] = end.value
            except Exception as error:
                results[number] = error
        answers = dict(zip(asks, compute(list(asks.values())), strict=True)) if asks else {}
    return results
