"""A site may answer anything: nothing of it breaks the doctor, and no token comes out of its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from stagedoor.doctor import QUESTIONS, Evidence, Question, Subject, examine
from stagedoor.doctor.evidence import SkipError
from stagedoor.doctor.visit import Visit
from stagedoor.doctor.wire import Meter, Origin, Unreachable
from tests.doctor.test_questions import Spoken, subject, told
from tests.helpers.commands import Said, say
from tests.helpers.faulty_sites import PRIVATE, Asked, FaultySite, Told, tokens

Doctor = Callable[..., Said]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that is to expire has done so when it is made."""
    monkeypatch.setattr("stagedoor.doctor.signed_urls.LIFETIME", -5)
    monkeypatch.setattr("stagedoor.doctor.signed_urls.WAIT", 0)


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    monkeypatch.chdir(tmp_path)
    for name, token in tokens()._asdict().items():
        (tmp_path / f"{name}.token").write_text(token)
    return lambda *words: say(capsys, "doctor", *words)


TOKENS = ("--path", PRIVATE, "--token", "ann.token", "--other-token", "ben.token")


# --- what is printed


class Echo(FaultySite):
    """Shows the token in places where nobody would look for one."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def _answer(self, asked: Asked) -> Told:
        answer, bearer = super()._answer(asked), self._bearer(asked) or "x"
        name, at_session = self._place, asked.path == "/-/session"
        value = {
            "Set-Cookie": f"{bearer}=x; Path=/" if at_session else "",
            "Cache-Control": f"public, x={bearer}",
            "Location": f"/x?token={bearer.replace('.', '%2e')}",
            "Content-Type": f"text/{bearer.partition('.')[2]}",
        }.get(name, bearer)
        return answer._replace(fields={**answer.fields, name: value}) if value else answer

    def _speak(self, stream: object) -> bytes:
        whole = super()._speak(stream)
        bearer = self._bearer(self.asked[-1])
        if self._place == "status line" and bearer:
            return f"{bearer}\r\n\r\n".encode()
        return whole.replace(b"nosniff", (bearer or "x").encode()) if self._place == "nosniff" else whole


@pytest.mark.parametrize(
    "place", ["Cache-Control", "Set-Cookie", "nosniff", "status line", "Location", "Content-Type", "X-Cache", "Age"]
)
@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("opaque", [False, True])
def test_a_token_that_the_site_repeats_is_printed_nowhere(
    doctor: Doctor, tmp_path: Path, place: str, form: tuple[str, ...], opaque: bool
) -> None:
    token = "opaque-0123456789-abcdefghijklmnop" if opaque else tokens().ann
    (tmp_path / "ann.token").write_text(token)
    with Echo(place) as site:
        said = doctor(site.url, *TOKENS, *form)
    assert said.code == 1
    assert not [part for part in (token, *token.split(".")) if part in said.out + said.err]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_nor_where_it_ends_the_examination(doctor: Doctor, tmp_path: Path, form: tuple[str, ...]) -> None:
    token = "opaque-0123456789-abcdefghijklmnop"
    (tmp_path / "ann.token").write_text(token)
    with Spoken(f"{token} {'x' * 5000}\r\n\r\n".encode()) as site:
        said = doctor(f"http://127.0.0.1:{site.port}", *TOKENS, *form)
    assert said.code == 1
    assert "the answer is not HTTP" in said.out + said.err
    assert token not in said.out + said.err
    assert len(said.out + said.err) < 400


@pytest.mark.parametrize("name", ["Signature", "CloudFront-Signature", "Policy", "X-Amz-Signature"])
def test_signatures_are_taken_out(name: str) -> None:
    visit = Visit(Subject(Origin("http", "127.0.0.1", 80)), Meter(0.0))
    assert visit.redact(f"GET /a?{name}=abc~def-123&x=y") == f"GET /a?{name}=…&x=y"


def test_what_is_long_is_cut() -> None:
    assert len(Visit(Subject(Origin("http", "127.0.0.1", 80)), Meter(0.0)).redact("x" * 5000)) < 200


# --- what is answered


class Sells(FaultySite):
    """Sells what is no signed URL."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def _own(self, asked: Asked) -> Told:
        if asked.path in ("/-/urls", "/-/s3objects", "/-/whoami"):
            return Told(201 if self._caller(asked) == "ann" and asked.path == "/-/urls" else 403, {}, self._body)
        return super()._own(asked)


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"signedUrl": 5}', b'{"signedUrl": ["x"]}', b'{"signedUrl": null}', b'{"signedUrl": "http://[x?y"}'),
        *(b'{"signedUrl": "https://h/a b\\u0000?x=1\\ud800"}', b"[" * 60_000, b"\xff", b"5", b'{"Contents": 5}'),
    ],
)
def test_what_is_no_signed_url_is_none(body: bytes) -> None:
    with Sells(body) as site:
        report = examine(subject(site, foreign=None, expired=None))
    assert not [one for one in report.outcomes if one.state == "failed"], told(report)
    states = {one.question.name: one.state for one in report.outcomes}
    assert states["pass-tampered"] == "skipped"


class Deep(FaultySite):
    def _answer(self, asked: Asked) -> Told:
        return Told(200, {"Content-Type": "application/json"}, b"[" * 60_000)


def test_json_without_an_end_is_no_answer(doctor: Doctor) -> None:
    with Deep() as site:
        said = doctor(site.url, *TOKENS, "--json")
    assert not [one for one in json.loads(said.out)["questions"] if one["state"] == "failed"], said.out


@pytest.mark.parametrize(
    "query",
    [
        *(
            "Policy=W10_&Signature=x&Key-Pair-Id=K",
            "Policy=eyJTdGF0ZW1lbnQiOlt7fV19&Signature=x",
            "Policy=5&Signature=x",
        ),
        *("Expires=\u00b2&Signature=x", "Expires=99999999999999999999999999&Signature=x", "Expires=nan&Signature=x"),
        "Policy=e30_&Signature=x",
    ],
)
def test_a_signed_url_that_is_none_opens_nothing(doctor: Doctor, query: str) -> None:
    with FaultySite() as site:
        said = doctor(site.url, "--path", PRIVATE, "--pass-url", f"{site.url}{PRIVATE}?{query}", "--json")
    states = {one["question"]: one["state"] for one in json.loads(said.out)["questions"]}
    assert states["pass-tampered"] == "skipped"
    assert "failed" not in states.values(), said.out


# --- what nobody thought of


def _fails(visit: Visit) -> list[Evidence]:
    raise RuntimeError(f"with {visit.subject.token}")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Question("broken", "does it break?", "it does", "tell us", _fails)  # type: ignore[arg-type]
    monkeypatch.setattr("stagedoor.doctor.QUESTIONS", (row, *QUESTIONS))


@pytest.mark.usefixtures("broken")
def test_a_question_that_breaks_is_told_and_hides_no_other(doctor: Doctor) -> None:
    with FaultySite("head") as site:
        told, shown = doctor(site.url, *TOKENS, "--json"), doctor(site.url, *TOKENS)
        other: Mapping[str, str] = {one["question"]: one["state"] for one in json.loads(told.out)["questions"]}
    assert (told.code, shown.code) == (1, 1)
    assert (other["broken"], other["head"]) == ("failed", "found")
    assert "not done: the doctor failed here (RuntimeError: with …)" in told.out.encode().decode("unicode_escape")
    assert "not done: the doctor failed here (RuntimeError: with …)" in shown.out
    assert "eyJ" not in told.out + shown.out


@pytest.mark.usefixtures("broken")
def test_a_question_that_breaks_alone_is_not_all_good(doctor: Doctor) -> None:
    with FaultySite() as site:
        said = doctor(site.url, *TOKENS)
    assert said.code == 1
    assert said.out.splitlines()[-1].endswith("not done (broken)")


@pytest.mark.parametrize("end", [SkipError("and then"), Unreachable("it is gone"), RuntimeError("broken")])
def test_what_was_found_before_the_end_is_told(monkeypatch: pytest.MonkeyPatch, end: Exception) -> None:
    def half(visit: Visit) -> Iterator[Evidence]:
        yield Evidence("GET /", "open")
        raise end

    monkeypatch.setattr("stagedoor.doctor.QUESTIONS", (Question("half", "is it half?", "it is", "mend it", half),))
    with FaultySite() as site:
        report = examine(Subject(Origin.of(site.url)))
    assert [one.evidence for one in report.outcomes] == [(Evidence("GET /", "open"),)]
    assert not report.fine
    assert report.stopped == ("it is gone" if isinstance(end, Unreachable) else "")
