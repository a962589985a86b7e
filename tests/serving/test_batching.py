"""What waits is computed together, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

import pytest

from p5t5.serving.batching import Draining, Expired, MicroBatcher, Overloaded


class Model:
    """Notes its batches; runs only while its gate is open."""

    def __init__(self) -> None:
        self.batches: list[list] = []
        self.gate = threading.Event()
        self.started = threading.Event()

    def __call__(self, jobs):
        self.batches.append(list(jobs))
        self.started.set()
        assert self.gate.wait(10)
        return [ValueError(job) if job == "bad" else f"{job}!" for job in jobs]


@pytest.fixture
def model():
    made = Model()
    yield made
    made.gate.set()


def held(model, **options) -> MicroBatcher:
    """A batcher whose thread is busy with the job "first"."""
    batcher = MicroBatcher(model, **options)
    batcher.submit("first")
    assert model.started.wait(10)
    return batcher


def test_a_batch_is_what_waited_while_the_last_one_ran(model):
    seen = []
    batcher = held(model, most=3, observe=lambda jobs, seconds: seen.append(jobs))
    futures = [batcher.submit(name) for name in "abcde"]
    model.gate.set()
    assert [future.result(10) for future in futures] == ["a!", "b!", "c!", "d!", "e!"]
    batcher.close()
    assert model.batches == [["first"], ["a", "b", "c"], ["d", "e"]] and seen == [1, 3, 2]


def test_a_batch_costs_no_more_than_it_may_but_one_is_always_taken(model):
    batcher = held(model, most_cost=10)
    futures = [
        batcher.submit(name, cost) for name, cost in [("a", 4), ("b", 6), ("c", 1), ("d", 50), ("e", 1)]
    ]
    model.gate.set()
    for future in futures:
        future.result(10)
    batcher.close()
    assert model.batches[1:] == [["a", "b"], ["c"], ["d"], ["e"]]


def test_too_many_are_told_when_to_come_again(model):
    batcher = held(model, queue=2)
    batcher.submit("a"), batcher.submit("b")
    with pytest.raises(Overloaded, match="2 requests") as refused:
        batcher.submit("c")
    assert refused.value.status == 429 and refused.value.retry_after >= 1
    model.gate.set()
    batcher.close()
    assert batcher.waiting == 0


def test_who_waited_too_long_is_not_computed(model):
    batcher = held(model, deadline=0.02)
    late = batcher.submit("late")
    time.sleep(0.05)
    model.gate.set()
    with pytest.raises(Expired, match=r"0\.02 s"):
        late.result(10)
    assert batcher.submit("next").result(10) == "next!"
    assert ["late"] not in model.batches


def test_who_has_gone_is_not_computed(model):
    batcher = held(model)
    gone, stays = batcher.submit("gone"), batcher.submit("stays")
    assert gone.cancel()
    model.gate.set()
    assert stays.result(10) == "stays!" and model.batches[1] == ["stays"]


def test_an_error_of_one_is_its_own_and_an_error_of_all_ends_nothing():
    def compute(jobs):
        if "all" in jobs:
            raise RuntimeError("broken")
        return [ValueError(job) if job == "bad" else job for job in jobs]

    batcher = MicroBatcher(compute)
    with pytest.raises(ValueError, match="bad"):
        batcher.submit("bad").result(10)
    with pytest.raises(RuntimeError, match="broken"):
        batcher.submit("all").result(10)
    assert batcher.submit("good").result(10) == "good" and batcher.alive


def test_draining_answers_what_waits_and_takes_no_more(model):
    batcher = held(model)
    waiting = batcher.submit("a")
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while batcher.alive:
        time.sleep(0.001)
    with pytest.raises(Draining):
        batcher.submit("b")
    model.gate.set()
    closing.join(10)
    assert waiting.result(0) == "a!" and not batcher.alive


def test_what_cannot_be_answered_in_time_is_refused(model):
    batcher = held(model)
    waiting = batcher.submit("a")
    batcher.close(0.02)
    with pytest.raises(Draining, match="stopped before"):
        waiting.result(0)


def test_those_who_were_answered_together_are_waited_for_a_moment(model):
    model.gate.set()
    batcher = MicroBatcher(model)
    for _ in range(20):
        futures = [batcher.submit(name) for name in "abcd"]
        for future in futures:
            future.result(10)
        time.sleep(0.0005)
    batcher.close()
    assert [len(batch) for batch in model.batches].count(4) > 10
