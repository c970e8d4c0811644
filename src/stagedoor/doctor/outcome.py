"""What is asked, and the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .evidence import Evidence, State
from .visit import Visit


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that an attacker would try.

    Attributes:
        name: stable, for programs; `ask` is named after it.
        asks: the question.
        why: what a bad answer means.
        mend: what to do about it.
        ask: yields evidence; none means that all is good.
        needs: attributes of the subject without which it cannot be asked.
        after: questions whose findings would only be found again here.
        advice: True if findings are reported, but are not a failure.
    """

    name: str
    asks: str
    why: str
    mend: str
    ask: Callable[[Visit], Iterator[Evidence]]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    advice: bool = False


class Outcome(NamedTuple):
    """The outcome of a question; `skipped` says why it was not asked, or not to the end."""

    question: Question
    state: State
    evidence: tuple[Evidence, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an examination.

    Attributes:
        outcomes: one for each question, in the order of the table.
        requests: how many were sent.
        seconds: how long it took.
        stopped: why it ended early; "" if it did not.
    """

    outcomes: tuple[Outcome, ...]
    requests: int
    seconds: float
    stopped: str = ""

    @property
    def fine(self) -> bool:
        return not self.stopped and not any(outcome.state in ("found", "failed") for outcome in self.outcomes)
