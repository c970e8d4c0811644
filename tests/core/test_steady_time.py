"""Time for ages: it goes on with whichever clock is ahead, and never back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core.steady_time import SteadyTime


def test_it_is_the_wall_clock_as_long_as_that_goes_on() -> None:
    passed = [50.0]
    steady = SteadyTime(lambda: passed[0])
    assert steady(1000) == 1000
    passed[0] += 7
    assert steady(1007) == 1007


def test_it_goes_on_when_the_wall_clock_is_put_back() -> None:
    passed = [50.0]
    steady = SteadyTime(lambda: passed[0])
    assert steady(10_000) == 10_000
    passed[0] += 5
    assert steady(10_005 - 3600) == 10_005


def test_it_goes_on_while_the_machine_sleeps() -> None:
    steady = SteadyTime(lambda: 50.0)
    assert steady(10_000) == 10_000
    assert steady(10_900) == 10_900


def test_a_request_that_waited_moves_nothing() -> None:
    passed = [50.0]
    steady = SteadyTime(lambda: passed[0])
    for now in (1000, 995, 1000, 990, 1000):
        assert steady(now) == 1000


@given(st.lists(st.tuples(st.floats(-4000, 4000), st.floats(0, 100))))
def test_it_never_goes_back(steps: list[tuple[float, float]]) -> None:
    passed, wall, last = [0.0], 0.0, -1e9
    steady = SteadyTime(lambda: passed[0])
    for jump, seconds in steps:
        passed[0] += seconds
        wall += seconds + jump
        found = steady(wall)
        assert found >= last - 1e-6
        last = found
