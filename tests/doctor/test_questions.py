"""The doctor finds every fault that is planted, by the right question, and nothing in a site that has none."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import boto3
import pytest

from stagedoor.doctor import QUESTIONS, Report, Subject, connection, examine, wire
from stagedoor.doctor.spellings import spellings
from stagedoor.doctor.wire import Origin, Unreachable
from stagedoor.settings import TABLE, parse
from tests.helpers import services, stores
from tests.helpers.commands import Said, say
from tests.helpers.faulty_sites import FAULTS, NOTES, PAGE, PRIVATE, PUBLIC, FaultySite, tokens
from tests.helpers.serving import certificate
from tests.helpers.support import key_set, rsa_signer

Doctor = Callable[..., Said]


def subject(site: FaultySite, **more: Any) -> Subject:
    brought = tokens()
    whole = Subject(
        Origin.of(site.url),
        PRIVATE,
        PUBLIC,
        brought.ann,
        brought.ben,
        brought.old,
        brought.foreign,
        keys=(rsa_signer().jwk,),
        query="token",
        session="session",
        admin=brought.root,
        spend=brought.spend,
    )
    return replace(whole, **more)


def stranger(site: FaultySite) -> Subject:
    """What somebody is who has a path, and no token."""
    return Subject(Origin.of(site.url), PRIVATE)


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultySite]:
    """A site with the faults of the parameter, whose clock goes on when the doctor waits."""
    with FaultySite(*getattr(request, "param", ())) as site:
        for name in ("signed_urls", "taken_back"):
            monkeypatch.setattr(f"stagedoor.doctor.{name}.sleep", site.wait)
        yield site


@pytest.fixture
def doctor(
    site: FaultySite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """`stagedoor doctor` for that site, in a folder with tokens and keys."""
    monkeypatch.chdir(tmp_path)
    for name, token in tokens()._asdict().items():
        (tmp_path / f"{name}.token").write_text(token)
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))

    def run(*words: str, url: str = site.url) -> Said:
        return say(capsys, "doctor", url, *words)

    return run


TAKING = ("--admin-token", "root.token", "--spend-token", "spend.token")
TOKENS = ("--token", "ann.token", "--other-token", "ben.token", "--jwks", "jwks.json", *TAKING)


def found(report: Report) -> list[str]:
    return [outcome.question.name for outcome in report.outcomes if outcome.state in ("found", "note")]


def skipped(report: Report) -> set[str]:
    return {outcome.question.name for outcome in report.outcomes if outcome.state == "skipped"}


def told(report: Report) -> str:
    return "\n".join(
        f"{one.question.name}: {one.state} {one.skipped} {one.evidence}"
        for one in report.outcomes
        if one.state != "good"
    )


# --- what it finds, and what it does not


HERE = {"certificate", "old-tls", "plain-http", "hsts", "sandbox", "bucket", "writable-attributes"}
"""What cannot be asked of a site on this machine that has no bucket and no settings."""


def test_a_site_without_a_fault_is_all_good(site: FaultySite) -> None:
    report = examine(subject(site))
    assert found(report) == [], told(report)
    assert report.fine
    assert skipped(report) == HERE, told(report)


CORS_SETTINGS = """
[site]
url = "http://127.0.0.1:1"
store = "memory:"
[cors]
origins = ["https://app.example.com"]
"""


OTHERS_BUILD_ON = ("opens", "other-user", "head", "pass-tampered", "session-cookie")
"""Questions of which later ones use more than that they found nothing."""


def builds_on(*names: str) -> set[str]:
    """Questions, and all those before them whose answers they build on."""
    before = {name for one in QUESTIONS if one.name in names for name in one.after}
    return {*names}.union(builds_on(*before) if before else ())


FIRST = {question: fault for fault, question in reversed([*FAULTS.items()])}
"""The first planted fault of each question."""


@pytest.mark.parametrize(
    ("site", "question"), [((fault,), FAULTS[fault]) for fault in FAULTS], indirect=["site"], ids=[*FAULTS]
)
def test_a_planted_fault_is_found_by_its_question_and_by_no_other(
    site: FaultySite, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fault of each question is in front of all questions; the others are, too, with CI=true alone."""
    settings = (
        parse(CORS_SETTINGS) if site.has("cors-listed-ending", "cors-listed-http", "revokes-for-listed") else None
    )
    if not site.has(FIRST[question]) and not services.must_be_here():
        few = builds_on(question, *OTHERS_BUILD_ON)
        monkeypatch.setattr("stagedoor.doctor.QUESTIONS", [one for one in QUESTIONS if one.name in few])
    report = examine(subject(site, settings=settings))
    assert found(report) == [question], told(report)
    assert not report.fine


@pytest.mark.parametrize(
    ("site", "question"), [((fault,), NOTES[fault]) for fault in NOTES], indirect=["site"], ids=[*NOTES]
)
def test_what_is_worth_a_word_is_no_failure(site: FaultySite, question: str) -> None:
    report = examine(subject(site, query=None))
    assert found(report) == [question], told(report)
    assert report.fine


def test_a_page_that_runs_scripts_is_worth_a_word(site: FaultySite) -> None:
    report = examine(subject(site, path=PAGE))
    assert found(report) == ["sandbox"], told(report)
    assert report.fine


OPEN_TO_STRANGERS = (
    *("no-check", "any-word", "dots-after-check", "slashes-after-check", "dots-from-public", "x-original-url", "head"),
    *("range", "not-modified", "listing", "bucket-listing", "our-listing", "open-redirect", "script-in-page"),
    *("token-in-page", "no-nosniff", "crash", "writable", "trace", "cors-any-origin", "host-in-redirect"),
    *("refuses-the-doctor", "passes-for-strangers", "http-1.0-unchecked", "metrics", "settings-file", "post-gives"),
    *("json-listing", "redirect-to-own-beginning", "next-to-provider", "same-state", "no-attempt-cookie", "any-state"),
    *("planted-cookie-taken", "attempt-for-months", "prefetch-ends", "pictures-to-sign-in", "pages-in-frames"),
    *("link-signs-out", "sign-out-for-null"),
)


@pytest.mark.parametrize(
    ("site", "question"), [((fault,), FAULTS[fault]) for fault in OPEN_TO_STRANGERS], indirect=["site"]
)
def test_what_needs_no_token_is_found_without_one(site: FaultySite, question: str) -> None:
    report = examine(replace(stranger(site), public=PUBLIC))
    assert found(report) == [question], told(report)


@pytest.mark.parametrize(
    "site",
    [
        ("page-for-everything",),
        ("sign-in-page",),
        ("no-endpoints",),
        ("hangs-up",),
        ("page-for-everything", "no-endpoints"),
        ("new-pages",),
        ("names-its-host",),
        ("changing-public",),
        ("changing-object",),
        ("no-sign-in",),
        ("several-providers",),
        ("balanced",),
    ],
    indirect=True,
)
@pytest.mark.parametrize("known", [subject, stranger])
def test_what_could_be_taken_for_a_fault_is_none(site: FaultySite, known: Callable[[FaultySite], Subject]) -> None:
    report = examine(known(site))
    assert found(report) == [], told(report)


@pytest.mark.parametrize(
    ("site", "question"),
    [
        (("tokens-buy-passes",), None),
        (("tokens-buy-passes", "signature-not-checked"), "signature"),
        (("tokens-buy-passes", "alg-none"), "alg-none"),
        (("tokens-buy-passes", "expired-counts"), "expired"),
        (("tokens-buy-passes", "pass-for-any-path"), "pass-tampered"),
        (("tokens-buy-passes", "cache-before-check"), "cache-replay"),
        (("tokens-buy-passes", "our-listing-for-signed-in"), "listing"),
    ],
    indirect=["site"],
)
def test_where_tokens_only_buy_passes_they_are_tried_there(site: FaultySite, question: str | None) -> None:
    report = examine(subject(site))
    assert found(report) == ([question] if question else []), told(report)


@pytest.mark.parametrize("site", [(), ("page-for-everything",), ("new-pages",), ("sign-in-page",)], indirect=True)
def test_a_site_without_a_path_is_asked_what_can_be_asked(site: FaultySite) -> None:
    report = examine(Subject(Origin.of(site.url)))
    assert report.fine, told(report)
    assert found(report) == [], told(report)


@pytest.mark.parametrize(
    "site", [("changing-page",), ("hides",), ("page-with-next",), ("changing-page", "changing-object")], indirect=True
)
def test_where_the_token_tells_a_sign_in_page_from_the_object_there_is_nothing_to_say(site: FaultySite) -> None:
    report = examine(subject(site))
    assert found(report) == [], told(report)


@pytest.mark.parametrize(
    "fault",
    [
        *("head", "range", "any-signed-in", "signature-not-checked", "expired-counts", "any-audience", "hs256"),
        *("cache-before-check", "dots-from-public", "x-original-url", "unknown-method"),
    ],
)
def test_an_object_whose_bytes_change_hides_no_fault(fault: str) -> None:
    with FaultySite(fault, "changing-object", "changing-public", "no-endpoints") as site:
        report = examine(subject(site))
    assert found(report)[:1] == [FAULTS[fault]], told(report)


@pytest.mark.parametrize("site", [("any-signed-in", "changing-object", "changing-page")], indirect=True)
def test_nor_do_sign_in_pages_that_change(site: FaultySite) -> None:
    report = examine(subject(site))
    assert found(report)[:1] == ["other-user"], told(report)


@pytest.mark.parametrize("site", [("head", "no-nosniff", "public-cache")], indirect=True)
def test_several_faults_are_all_found(site: FaultySite) -> None:
    assert found(examine(subject(site))) == ["head", "cache-control", "nosniff"]


def test_a_token_that_opens_nothing_is_said_and_not_taken_for_safety(site: FaultySite) -> None:
    report = examine(subject(site, token=tokens().ben, other=None))
    assert found(report) == ["opens"]
    assert {"signature", "alg-none", "expired", "audience"} <= skipped(report)


def test_an_object_without_bytes_is_known_again(site: FaultySite) -> None:
    report = examine(subject(site, path="/users/ann/empty"))
    assert found(report) == [], told(report)


# --- what it does to a site


TAKING_BACK = ("/-/revocations", "/-/backchannel-logout")


def test_it_writes_to_nothing_that_there_is(site: FaultySite) -> None:
    examine(subject(site))
    made_up = {one.target for one in site.asked if one.method in ("PUT", "PATCH", "MKCOL", "DELETE")}
    assert len(made_up) == 1
    assert "no-such-" in made_up.pop()
    posted = {one.path for one in site.asked if one.method == "POST" and "no-such-" not in one.path}
    assert posted <= {
        "/-/session",
        "/-/urls",
        "/-/cookies",
        "/-/callback",
        "/-/logout",
        "/-/renew",
        *TAKING_BACK,
        PRIVATE,
    }
    assert not any(one.body for one in site.asked if one.path == PRIVATE)


@pytest.mark.parametrize("site", [(), ("changing-page", "changing-object"), ("sign-in-page",)], indirect=True)
@pytest.mark.parametrize("known", [subject, stranger])
def test_it_sends_no_more_than_it_says(site: FaultySite, known: Callable[[FaultySite], Subject]) -> None:
    report = examine(known(site))
    assert len(site.asked) == report.requests < 760 < wire.MAX_REQUESTS


def test_it_stops_when_there_were_enough_requests(site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.Meter, "__init__", _short_meter(wire.Meter.__init__))
    report = examine(subject(site))
    assert len(site.asked) == 40
    assert "the limit of requests is reached" in report.stopped
    assert not report.fine


def _short_meter(make: Callable[..., None]) -> Callable[..., None]:
    return lambda self, rate: make(self, rate, left=40)


def test_it_keeps_its_pace(site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr("stagedoor.doctor.wire.time.sleep", naps.append)
    report = examine(stranger(site), rate=1.0)
    assert sum(nap > 0 for nap in naps) >= report.requests - 2


@pytest.mark.parametrize(("rate", "limit"), [(0.0, 300), (20.0, 300), (1.0, 1200)])
def test_a_slow_pace_has_the_time_that_it_takes(rate: float, limit: float) -> None:
    meter = wire.Meter(rate)
    assert meter.time_limit == limit
    meter.started -= limit + 1
    with pytest.raises(Unreachable, match="the limit of time is reached"):
        meter.wait()


def test_a_token_goes_into_no_url_unless_the_site_wants_it_there(site: FaultySite) -> None:
    known = subject(site, query=None)
    report = examine(known)
    assert found(report) == []
    assert known.token
    assert not any(known.token in one.target for one in site.asked)


def test_one_that_answers_no_more_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(Unreachable, match="refused"):
        examine(Subject(Origin("http", "127.0.0.1", port), PRIVATE))


def test_an_answer_that_drips_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_TIMEOUT", 0.3)
    stop = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stop.wait(0.05):
                connection.sendall(b"X: y\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = threading.Thread(target=drip, args=(listening,))
        dripping.start()
        answer = wire.Wire(Origin("http", "127.0.0.1", listening.getsockname()[1]), wire.Meter(0.0)).ask("/")
        stop.set()
        dripping.join()
    assert answer.status == 0
    assert "no answer" in answer.error


@pytest.mark.parametrize("path", ["/a.png", "/a/b/c.png", "/\u00fc/x", "/a%20b/c", "/-x", "/a/.hidden"])
def test_another_name_is_spelt_in_as_many_ways(path: str) -> None:
    """They are asked for side by side, so that a page for everything is not taken for the object."""
    folder = path.rpartition("/")[0]
    one, other = (list(spellings(name, "h", "/p/q")) for name in (path, f"{folder}/no-such.png"))
    assert len(one) == len(other)


def test_every_question_says_what_to_do() -> None:
    names = [question.name for question in QUESTIONS]
    assert len(set(names)) == len(names)
    for number, question in enumerate(QUESTIONS):
        assert question.asks.endswith("?")
        assert question.why
        assert question.mend
        assert set(question.after) <= set(names[:number]), "a question that is asked later cannot decide"
    assert {*FAULTS.values(), *NOTES.values()} == set(names) - HERE - {"opens"}


def test_the_function_that_asks_a_question_bears_its_name() -> None:
    assert [one.ask.__name__.rstrip("_") for one in QUESTIONS] == [one.name.replace("-", "_") for one in QUESTIONS]


def test_what_to_do_names_settings_and_pages_that_there_are() -> None:
    root, said = Path(__file__).parents[2], " ".join(question.mend for question in QUESTIONS)
    pages = re.findall(r"docs/[\w/-]+\.md", said)
    assert len(pages) > 5
    assert [page for page in pages if not (root / page).exists()] == []
    settings = {(name, section) for name, section in re.findall(r"\b(\w+)`?(?: = \S+)? in \[+(\w+)\]", said)}
    assert len(settings) > 5
    assert settings <= {(setting.name, setting.section) for setting in TABLE}


def test_the_page_lists_every_question() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "check-a-site.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+\?) \|", page, re.MULTILINE)
    assert rows == [(one.name, one.asks) for one in QUESTIONS]


# --- around the site


TLS_SITE = """
[site]
url = "https://127.0.0.1:1"
store = "memory:"
"""


class Spoken:
    """Says one thing to whoever connects."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(self._words)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


class Closed:
    """A TLS listener that greets, and hangs up."""

    more = b""

    def __init__(self, folder: Path, *, old: bool = False) -> None:
        certificate(folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        if old:
            self._context.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="TLSv1"):
                self._context.minimum_version = ssl.TLSVersion.TLSv1
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.origin = Origin("https", "127.0.0.1", self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            with plain, suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(65_536)
                fields = b"X-Content-Type-Options: nosniff\r\nContent-Length: 0\r\n" + self.more
                connection.sendall(b"HTTP/1.1 401 No\r\n" + fields + b"\r\n")

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def old(request: pytest.FixtureRequest) -> bool:
    return bool(getattr(request, "param", False))


@pytest.fixture
def closed(tmp_path: Path, old: bool) -> Iterator[Closed]:
    server = Closed(tmp_path, old=old)
    yield server
    server.close()


def test_no_token_goes_to_whoever_has_no_certificate(closed: Closed) -> None:
    report = examine(Subject(closed.origin, PRIVATE, token=tokens().ann))
    assert found(report) == ["certificate"]
    assert report.requests <= 2
    assert len(skipped(report)) == len(QUESTIONS) - 1


def test_with_a_certificate_that_holds_it_asks_on(
    closed: Closed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    report = examine(Subject(closed.origin, PRIVATE))
    assert found(report) == ["hsts"], told(report)
    assert report.fine, "advice is no failure"


@pytest.mark.parametrize("old", [True], indirect=True)
def test_old_tls_is_found(closed: Closed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    report = examine(Subject(closed.origin))
    assert found(report) == ["old-tls", "hsts"], told(report)


@pytest.mark.parametrize(
    ("more", "found_there"),
    [
        (b"Strict-Transport-Security: max-age=31536000\r\n", []),
        (b"Strict-Transport-Security: max-age=0\r\n", ["hsts"]),
        (b"Strict-Transport-Security: max-age=86400; includeSubDomains\r\n", ["hsts"]),
    ],
)
def test_that_browsers_forget_soon_is_found(
    closed: Closed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: bytes, found_there: list[str]
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    closed.more = more
    assert found(examine(Subject(closed.origin))) == found_there


def test_http_where_https_was_to_be_is_said() -> None:
    with Spoken(b"HTTP/1.1 400 No\r\n\r\n") as site, pytest.raises(Unreachable, match="does not speak TLS"):
        examine(Subject(Origin("https", "127.0.0.1", site.port)))


PLAIN = {
    "HTTP/1.1 301 M\r\nLocation: https://127.0.0.1:{port}/users/ann/photo.png": True,
    "HTTP/1.1 308 M\r\nLocation: https://127.0.0.1:{port}/": True,
    "HTTP/1.1 403 No": True,
    "HTTP/1.1 426 No": True,
    "HTTP/1.1 200 OK": False,
    "HTTP/1.1 401 No": False,
    "HTTP/1.1 302 M\r\nLocation: /login": False,
    "HTTP/1.1 302 M\r\nLocation: HTTP://127.0.0.1/": False,
    "HTTP/1.1 302 M\r\nLocation: https://other.example.com/": False,
    "HTTP/1.1 200 OK\r\nLocation: https://127.0.0.1:{port}/": False,
}
"""What plain http answers, and whether that is good."""


@pytest.mark.parametrize(("answer", "good"), PLAIN.items())
def test_plain_http_may_lead_to_https_and_do_nothing_else(
    closed: Closed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, good: bool
) -> None:
    """The first answer is in front of all questions; the others are, too, with CI=true alone."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    monkeypatch.setitem(wire.DEFAULT_PORTS, "https", closed.origin.port)
    if answer != next(iter(PLAIN)) and not services.must_be_here():
        few = builds_on("plain-http", "hsts")
        monkeypatch.setattr("stagedoor.doctor.QUESTIONS", [one for one in QUESTIONS if one.name in few])
    with Spoken(answer.format(port=closed.origin.port).encode() + b"\r\nContent-Length: 0\r\n\r\n") as plain:
        monkeypatch.setitem(wire.DEFAULT_PORTS, "http", plain.port)
        report = examine(Subject(closed.origin, PRIVATE))
    assert found(report) == ([] if good else ["plain-http"]) + ["hsts"], told(report)


def test_that_nobody_is_at_plain_http_is_good(closed: Closed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with Spoken(b"") as plain:
        pass
    monkeypatch.setitem(wire.DEFAULT_PORTS, "https", closed.origin.port)
    monkeypatch.setitem(wire.DEFAULT_PORTS, "http", plain.port)
    report = examine(Subject(closed.origin))
    assert "plain-http" not in {*found(report), *skipped(report)}


def test_http_on_another_machine_is_found() -> None:
    class Visit:
        subject = Subject(Origin("http", "assets.example.com", 80))

    assert [one.got for one in connection.certificate(Visit())] == [  # type: ignore[arg-type]
        "http: anyone on the network path can read tokens and objects"
    ]


def test_an_open_bucket_is_found(site: FaultySite) -> None:
    """Moto's are open to everybody, and to writing too."""
    name = stores.new_bucket()
    stores.client().put_object(Bucket=name, Key=PRIVATE[1:], Body=b"x")
    report = examine(subject(site, bucket=f"{stores.endpoint()}/{name}"))
    assert found(report) == ["bucket"], told(report)
    evidence = next(one.evidence for one in report.outcomes if one.question.name == "bucket")
    (put,) = [one for one in evidence if one.asked.startswith("PUT")]
    assert put.got == "200: it was stored, and could not be deleted: delete it yourself", "moto lets anyone write"
    assert stores.client().get_object(Bucket=name, Key=PRIVATE[1:])["Body"].read() == b"x"


def test_a_bucket_that_refuses_is_good(site: FaultySite) -> None:
    with FaultySite() as bucket:
        report = examine(subject(site, bucket=bucket.url))
    assert found(report) == [], told(report)
    assert "bucket" not in skipped(report)


POOL_SETTINGS = """
[site]
url = "http://127.0.0.1:1"
store = "memory:"
[[issuers]]
issuer = "https://cognito-idp.us-east-1.amazonaws.com/{pool}"
audience = ["{client}"]
[[rules]]
path = "tenants/{{custom:tenant}}/**"
allow = "signed-in"
[[rules]]
path = "plans/**"
allow = {{ claims = {{ "custom:plan" = ["pro"], "my_name" = ["x"] }} }}
"""


@pytest.mark.parametrize(
    ("writable", "named"),
    [(["custom:tenant", "email"], ["custom:tenant"]), (["email"], []), (None, [])],
)
def test_attributes_that_users_write_decide_nothing(
    site: FaultySite, monkeypatch: pytest.MonkeyPatch, writable: list[str] | None, named: list[str]
) -> None:
    stores.let_in(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", stores.endpoint())
    api = boto3.client("cognito-idp", region_name="us-east-1")
    schema = [{"Name": name, "AttributeDataType": "String", "Mutable": True} for name in ("tenant", "plan")]
    pool = api.create_user_pool(PoolName="p", Schema=schema)["UserPool"]["Id"]
    more: dict[str, Any] = {} if writable is None else {"WriteAttributes": writable}
    client = api.create_user_pool_client(UserPoolId=pool, ClientName="c", **more)["UserPoolClient"]["ClientId"]
    api.close()
    settings = parse(POOL_SETTINGS.format(pool=pool, client=client))
    report = examine(subject(site, settings=settings, query=None))
    assert found(report) == (["writable-attributes"] if named else []), told(report)
    evidence = next(one.evidence for one in report.outcomes if one.question.name == "writable-attributes")
    assert [one.got.partition(",")[0] for one in evidence] == named


def test_without_credentials_for_aws_it_says_so(site: FaultySite, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.let_in(monkeypatch)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    settings = parse(POOL_SETTINGS.format(pool="us-east-1_Example", client="c"))
    report = examine(replace(stranger(site), settings=settings))
    why = next(one.skipped for one in report.outcomes if one.question.name == "writable-attributes")
    assert "DescribeUserPoolClient" in why


# --- the command


def test_all_good_is_exit_code_0(doctor: Doctor) -> None:
    said = doctor("--path", PRIVATE, *TOKENS)
    assert said.code == 0, said.out
    assert re.search(r"\d+ questions in \d+ requests, [\d.]+ s, \d+ not asked: all good", said.out)
    assert "not asked: expired\n  give an old token" in said.err


@pytest.mark.parametrize("site", [("range",)], indirect=True)
def test_what_is_found_is_told_with_what_to_do(doctor: Doctor) -> None:
    said = doctor("--path", PRIVATE, *TOKENS)
    assert said.code == 1
    assert "found: range\n  asked  GET /users/ann/photo.png, without a token, Range: bytes=0-\n  got    206" in said.out
    assert "  do     let the check run on every request" in said.out
    assert "not asked: 1 found something (range)" in said.out


@pytest.mark.parametrize("site", [("head",)], indirect=True)
def test_programs_are_told_the_same(doctor: Doctor) -> None:
    said = doctor("--path", PRIVATE, *TOKENS, "--json")
    answer = json.loads(said.out)
    assert said.code == 1
    assert not answer["ok"]
    assert said.err == ""
    (one,) = [one for one in answer["questions"] if one["state"] == "found"]
    assert one["question"] == "head"
    assert one["evidence"][0]["asked"] == "HEAD /users/ann/photo.png, without a token"
    assert one["mend"]
    assert len(answer["questions"]) == len(QUESTIONS)


def test_the_url_of_an_object_is_site_and_path(doctor: Doctor, site: FaultySite) -> None:
    said = doctor("--json", url=site.url + PRIVATE)
    assert json.loads(said.out)["path"] == PRIVATE


@pytest.mark.parametrize(
    "site", [("token-in-page",), ("token-in-redirect",), ("signature-not-checked",), ("pass-query",)], indirect=True
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_token_and_no_signature_is_ever_printed(doctor: Doctor, site: FaultySite, form: tuple[str, ...]) -> None:
    said = doctor("--path", PRIVATE, *TOKENS, "--query", "token", *form)
    assert said.code == 1
    brought = {part for one in site.asked for part in one.fields.get("authorization", "").split()[1:] if len(part) > 20}
    brought |= {value for one in site.asked for value in one.parameters().values() if len(value) > 40}
    assert len(brought) > 10
    assert not [value for value in brought if value in said.out + said.err]
    assert "eyJ" not in said.out + said.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--token", "ann.token"), "name it with --path"),
        (("--path", "/"), "--path takes the path of an object"),
        (("--path", "/a?b"), "--path takes the path of an object"),
        (("--path", PRIVATE, "--token", "old.token"), "give a new one"),
        (("--path", PRIVATE, "--spend-token", "old.token"), "--spend-token has expired"),
        (("--path", PRIVATE, "--admin-token", "old.token"), "--admin-token has expired"),
        (("--spend-token", "spend.token"), "name it with --path"),
        (("--path", PRIVATE, "--token", "-", "--other-token", "-"), "only one token"),
        (("--path", PRIVATE, "--pass-url", "https://elsewhere.example.com/x?Signature=y"), "of the same site"),
        (("--path", PRIVATE, "--bucket-url", "s3://bucket"), "not an https"),
        (("--path", PRIVATE, "--token", "ann.token", "--rate", "0"), "rate"),
        (("--path", PRIVATE, "--rate", "nan"), "rate"),
        (("--path", PRIVATE, "--token", "an.token"), "there is no file 'an.token'"),
        (("--path", PRIVATE, "--token", "ann.token", "--other-token", "ben"), "--other-token: there is no file"),
        (("--path", PRIVATE, "--token", "ann.token", "--expired-token", "odl.token"), "--expired-token: there is no"),
        (("--path", PRIVATE, "--cookie", "x\r\nHost: y"), "--cookie takes a name"),
        (("--path", PRIVATE, "--query", "a b"), "--query takes a name"),
        (("--path", PRIVATE, "--settings", "nope.toml"), "nope.toml"),
        (("--path", PRIVATE, "--settings", "nope.toml", "--json"), "nope.toml"),
        (("--nonsense",), "no such option"),
    ],
)
def test_wrong_usage_is_exit_code_2(doctor: Doctor, words: tuple[str, ...], complaint: str) -> None:
    said = doctor(*words)
    assert said.code == 2
    assert complaint in said.err


def test_no_token_is_sent_over_http_to_another_machine(doctor: Doctor) -> None:
    said = doctor("--path", PRIVATE, "--token", "ann.token", url="http://assets.example.com")
    assert said.code == 2
    assert "give the https URL" in said.err


@pytest.mark.parametrize("url", ["assets.example.com", "ftp://x", "https://user@host", "https://", "http://x:99999"])
def test_what_is_no_site_is_wrong_usage(doctor: Doctor, url: str) -> None:
    assert doctor("--path", PRIVATE, url=url).code == 2


def test_a_site_that_is_not_there_is_exit_code_1(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    said = doctor("--json", url=f"http://127.0.0.1:{port}")
    assert said.code == 1
    assert "refused" in json.loads(said.out)["error"]
    assert doctor(url=f"http://127.0.0.1:{port}").code == 1


def test_a_signed_url_that_is_brought_is_tried(doctor: Doctor, site: FaultySite) -> None:
    pass_url = _signed(site)
    said = doctor("--path", PRIVATE, "--pass-url", pass_url, "--json")
    states = {one["question"]: one["state"] for one in json.loads(said.out)["questions"]}
    assert said.code == 0, said.out
    assert states["pass-tampered"] == states["pass-extended"] == "good"


@pytest.mark.parametrize("site", [("pass-for-ever",)], indirect=True)
def test_a_signed_url_that_has_expired_is_tried_as_such(doctor: Doctor, site: FaultySite) -> None:
    site.wait(-3600)
    said = doctor("--path", PRIVATE, "--pass-url", _signed(site), "--json")
    assert [one["question"] for one in json.loads(said.out)["questions"] if one["state"] == "found"] == ["pass-expired"]


def _signed(site: FaultySite) -> str:
    answer = wire.Wire(Origin.of(site.url), wire.Meter(0.0)).ask(
        "/-/urls",
        "POST",
        (("Authorization", f"Bearer {tokens().ann}"),),
        json.dumps({"file": PRIVATE[1:]}).encode(),
    )
    url: str = json.loads(answer.body)["signedUrl"]
    return url
