"""The doctor: asks a running site every question that an attacker would, and reports the answers.

`QUESTIONS` is the table, and `examine` goes through it in order: first who gets the object at all, then everything
that builds on that. A question that could only repeat an earlier finding is skipped, so each fault is reported once.
"""

from __future__ import annotations

from collections.abc import Callable

from .evidence import Evidence as Evidence
from .evidence import SkipError, State
from .outcome import Outcome as Outcome
from .outcome import Question as Question
from .outcome import Report as Report
from .questions import QUESTIONS as QUESTIONS
from .subject import Subject as Subject
from .visit import Visit
from .wire import RATE, Meter, Unreachable, Untrusted


def examine(
    subject: Subject, *, rate: float | None = None, watch: Callable[[Question, int], None] | None = None
) -> Report:
    """Ask a site all questions.

    Args:
        subject: the site, and what is known about it.
        rate: requests per second; default: `RATE`, and no limit for a site on this machine.
        watch: called before each question, with the question and the number of requests so far.

    Raises:
        Unreachable: nothing answers at all.
    """
    meter = Meter((0.0 if subject.origin.local else RATE) if rate is None else rate)
    visit, outcomes = Visit(subject, meter), list[Outcome]()
    _check_that_it_answers(visit)
    for question in QUESTIONS:
        if watch is not None:
            watch(question, meter.asked)
        outcome = _skipped(question, visit.ended) if visit.ended else _ask(question, visit)
        visit.states[question.name] = outcome.state
        outcomes.append(outcome)
    return Report(tuple(outcomes), meter.asked, meter.seconds, visit.ended)


def _check_that_it_answers(visit: Visit) -> None:
    try:
        answer = visit.wire.ask("/")
    except Untrusted:
        return  # the first question reports it
    if not answer.status:
        raise Unreachable(visit.redact(f"{visit.subject.origin} cannot be asked: {answer.error}"))


def _ask(question: Question, visit: Visit) -> Outcome:
    if reason := _reason_to_skip(question, visit):
        return _skipped(question, reason)
    found: list[Evidence] = []
    reason = ""
    try:
        for one in question.ask(visit):
            sure = one.sure and not question.advice
            found.append(Evidence(visit.redact(one.asked), visit.redact(one.got), sure))
    except SkipError as error:
        reason = visit.redact(str(error))
    except Untrusted as error:
        visit.ended = "its certificate is not valid"
        found.append(Evidence(str(visit.subject.origin), visit.redact(str(error))))
    except Unreachable as error:
        visit.ended = reason = visit.redact(str(error))
    except Exception as error:  # a site may answer anything: a fault of the doctor must not hide the other questions
        reason = visit.redact(f"not done: the doctor failed here ({type(error).__name__}: {error})")
        return Outcome(question, "failed", tuple(found), reason)
    if reason and not found:
        return _skipped(question, reason)
    state: State = "found" if any(one.sure for one in found) else "note" if found else "good"
    return Outcome(question, state, tuple(dict.fromkeys(found)))


def _reason_to_skip(question: Question, visit: Visit) -> str:
    for name in question.needs:
        if getattr(visit.subject, name) is None:
            return _MISSING[name]
    for name in question.after:
        if visit.states.get(name) == "found":
            return f"{name} found something that would be found again here: mend that first"
    return ""


def _skipped(question: Question, reason: str) -> Outcome:
    return Outcome(question, "skipped", skipped=reason)


_MISSING = {
    "path": "name an object that must not be public: --path /…",
    "token": "give a token of a caller who may read the object: --token FILE",
    "other": "give a token of a caller who may not read the object: --other-token FILE",
    "expired": "give an old token of a caller who may read the object: --expired-token FILE",
    "foreign": "give a token of the same provider for another application: --foreign-token FILE",
    "admin": "give a token of a caller who may take access back, and one to spend: --admin-token FILE",
    "spend": "give a token of a caller who may read the object, which will be taken back: --spend-token FILE",
    "bucket": "name the bucket's own address: --bucket-url https://…",
    "settings": "give the site's settings: --settings FILE",
    "query": "only for sites that take tokens in URLs: --query NAME, or --settings FILE",
}
"""What to give for a question that needs this attribute of the subject."""
