"""The doctor: asks a running site every question that an attacker would, and says what came back.

`QUESTIONS` is the table. `examine` goes through it in its order: first who gets the object at all, then everything
that builds on the answer. A question whose answer would only repeat what was found before is left out, so that what
is reported is what is wrong, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .questions import QUESTIONS as QUESTIONS
from .visit import Evidence as Evidence
from .visit import Outcome as Outcome
from .visit import Question as Question
from .visit import SkipError, State, Visit
from .visit import Subject as Subject
from .wire import RATE, Meter, Unreachable, Untrusted


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it all.

    Attributes:
        outcomes: one for each question, in the order of the table.
        requests, seconds: what it took.
        stopped: why it ended before its end; "" if it did not.
    """

    outcomes: tuple[Outcome, ...]
    requests: int
    seconds: float
    stopped: str = ""

    @property
    def fine(self) -> bool:
        return not self.stopped and not any(outcome.state in ("found", "failed") for outcome in self.outcomes)


def examine(
    subject: Subject, *, rate: float | None = None, watch: Callable[[Question, int], None] | None = None
) -> Report:
    """Ask a site all questions.

    Args:
        subject: the site, and what was given for it.
        rate: requests a second; default: `RATE`, and no limit on this machine.
        watch: is told the question that comes next, and how many requests there were before.

    Raises:
        Unreachable: nothing answers at all.
    """
    meter = Meter((0.0 if subject.origin.local else RATE) if rate is None else rate)
    visit, outcomes = Visit(subject, meter), list[Outcome]()
    _knock(visit)
    for question in QUESTIONS:
        if watch is not None:
            watch(question, meter.asked)
        outcome = _skipped(question, visit.ended) if visit.ended else _put(question, visit)
        visit.states[question.name] = outcome.state
        outcomes.append(outcome)
    return Report(tuple(outcomes), meter.asked, meter.seconds, visit.ended)


def _knock(visit: Visit) -> None:
    """See that there is a site at all."""
    try:
        answer = visit.wire.ask("/")
    except Untrusted:
        return
    if not answer.status:
        raise Unreachable(visit.told(f"{visit.subject.origin} cannot be asked: {answer.error}"))


def _put(question: Question, visit: Visit) -> Outcome:
    for name in question.needs:
        if getattr(visit.subject, name) is None:
            return _skipped(question, _GIVE[name])
    for name in question.after:
        if visit.states.get(name) == "found":
            return _skipped(question, f"{name} found something that would be found again: mend that first")
    found: list[Evidence] = []
    why = ""
    try:
        for one in question.ask(visit):
            sure = one.sure and not question.advice
            found.append(Evidence(visit.told(one.asked), visit.told(one.got), sure))
    except SkipError as error:
        why = visit.told(str(error))
    except Untrusted as error:
        visit.ended = "its certificate does not hold"
        found.append(Evidence(str(visit.subject.origin), visit.told(str(error))))
    except Unreachable as error:
        visit.ended = why = visit.told(str(error))
    except Exception as error:  # a site may answer anything: what nobody thought of must not hide the rest
        why = visit.told(f"not done: the doctor failed here ({type(error).__name__}: {error})")
        return Outcome(question, "failed", tuple(found), why)
    if why and not found:
        return _skipped(question, why)
    state: State = "found" if any(one.sure for one in found) else "note" if found else "good"
    return Outcome(question, state, tuple(dict.fromkeys(found)))


def _skipped(question: Question, why: str) -> Outcome:
    return Outcome(question, "skipped", skipped=why)


_GIVE = {
    "path": "name an object that must not be public: --path /…",
    "token": "bring a token of somebody who may read it: --token FILE",
    "other": "bring a token of somebody who may not read it: --other-token FILE",
    "expired": "bring an old token of somebody who might: --expired-token FILE",
    "foreign": "bring a token of the same provider for another application: --foreign-token FILE",
    "bucket": "name the bucket's own address: --bucket-url https://…",
    "settings": "give the site's settings: --settings FILE",
    "query": "only where the site takes tokens in URLs: --query NAME, or --settings FILE",
}
