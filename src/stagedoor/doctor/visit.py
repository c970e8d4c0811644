"""One examination under way: sends requests, remembers the answers, and decides which give the object away."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote

from ..core.credentials import Source
from . import forge
from .begun import Begun
from .evidence import Evidence, State
from .redaction import Secrets
from .subject import Subject
from .wire import Answer, Fields, Meter, Wire

Likeness: TypeAlias = Literal["same", "different", "unclear"]
EVIL = "doctor.invalid"
"""A host that nobody has (RFC 2606 §2)."""
BROWSER: Fields = (("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"))
REDIRECTS = (301, 302, 303, 307, 308)
JSON: Fields = (("Content-Type", "application/json"),)
_STACK_TRACE = re.compile(rb"Traceback \(most recent call last\)|\bat [\w.$]+\(\w+\.java:\d+\)|<b>Fatal error</b>")
_EXPECTED_5XX = (501, 505)
"""Unknown method, unknown version: these are about the request, not a fault of the server."""
_MOST_LENGTHS_APART = 100
"""Bytes: pages of one kind (a sign-in page with the time in it) differ in length by at most this."""


class Visit:
    """One examination under way.

    Attributes:
        subject: what is examined.
        states: outcomes of the questions so far.
        sources: token sources that open `path`; until they are known, the two usual ones.
        first_answer: the answer to the first request for `path` without a token.
        original: the object as its owner gets it.
        varies: True if the object's bytes differ each time, so that they prove nothing.
        unclear: answers that may be the object, or a page that differs each time.
        cookies: what the answers set, by name and flags: the Set-Cookie line, and the request.
        session: name and value of the session cookie that the site issued.
        sign_in: the first sign-in that was begun, or why none can be; None as long as none was tried.
        issuer: what sign-in is asked for, where the site lets visitors choose; "" elsewhere.
        pass_target: path and query of a signed URL that opens the object now.
        passes_only: True if a token opens nothing itself, but gets signed URLs.
        faults, leaks: answers to any question that showed a fault of the server, or a credential.
        throttled: how many answers were 429.
        ended: why nothing more can be asked; "" as long as it can.
    """

    def __init__(self, subject: Subject, meter: Meter) -> None:
        self.subject, self.meter = subject, meter
        self.wire = Wire(subject.origin, meter)
        self.states: dict[str, State] = {}
        self.sources: list[Source] = ["header", "cookie"]
        self.first_answer: Answer | None = None
        self.original: Answer | None = None
        self.session: tuple[str, str] | None = None
        self.sign_in: Begun | str | None = None
        self.issuer = ""
        self.pass_target: str | None = None
        self.passes_only = self.varies = False
        self.unclear: list[Evidence] = []
        self.cookies: dict[str, tuple[str, str]] = {}
        self.faults: list[Evidence] = []
        self.leaks: list[Evidence] = []
        self.throttled, self.ended = 0, ""
        self.nonce = secrets.token_hex(6)
        self._varying_pages: list[Answer] = []
        signature = (subject.pass_target or "").partition("?")[2]
        tokens = (subject.token, subject.other, subject.expired, subject.foreign, subject.admin, subject.spend)
        given = (*tokens, signature)
        self.secrets = Secrets(secret or "" for secret in given)

    # --- names

    @property
    def path(self) -> str:
        assert self.subject.path is not None
        return self.subject.path

    @property
    def key(self) -> str:
        return unquote(self.path[1:])

    @property
    def folder(self) -> str:
        """The object's folder, with a trailing slash."""
        return self.path.rpartition("/")[0] + "/"

    @property
    def missing(self) -> str:
        """A path beside the object, with the same ending, where nothing is stored."""
        name, dot, ending = self.path.rpartition("/")[2].rpartition(".")
        return f"{self.folder}no-such-{self.nonce}{dot if name else ''}{ending if name else ''}"

    # --- asking

    def ask(self, target: str, method: str = "GET", fields: Fields = (), body: bytes = b"", detail: str = "") -> Answer:
        """Send a request; look for faults and leaks in the answer, whatever the question is.

        Args:
            target, method, fields, body: as for `Wire.ask`.
            detail: what is special about the request, for the report.
        """
        answer = self.wire.ask(target, method, fields, body)
        self.throttled += answer.status == 429 and method == "GET"  # POST for passes has a limit of its own
        trace = answer.status >= 300 and _STACK_TRACE.search(answer.body)
        if trace or (answer.status >= 500 and answer.status not in _EXPECTED_5XX):
            self.faults.append(self.evidence(answer, target, method, detail))
        if self.secrets.shown(answer, [target, *(value for _, value in fields)]):
            self.leaks.append(self.evidence(answer, target, method, detail))
        for line in answer.values("set-cookie"):
            without_value = re.sub(r"=[^;]*|(?:expires|max-age)=[^;]*", "", line, flags=re.IGNORECASE)
            self.cookies.setdefault(without_value, (line, _request_line(target, method, detail)))
        return answer

    def ask_as_owner(self, target: str | None = None) -> Answer:
        """Send a request with the token of a caller who may read the object."""
        assert self.subject.token is not None
        target, fields = self.carry(self.subject.token, self.sources[0], target)
        return self.ask(target, fields=fields, detail="with the token")

    def carry(self, token: str, source: Source, target: str | None = None) -> tuple[str, Fields]:
        """Target and header fields of a request that carries a token; default target: the object."""
        target = self.path if target is None else target
        self.secrets.add(token)
        if source == "header":
            return target, (("Authorization", f"Bearer {token}"),)
        if source == "cookie":
            return target, (("Cookie", f"{self.subject.cookie}={token}"),)
        return f"{target}{'&' if '?' in target else '?'}{self.subject.query}={token}", ()

    def request_pass(self, token: str | None, seconds: int | None = None, fields: Fields = ()) -> Answer:
        """Ask the site for a signed URL of the object, with a token or with other header fields."""
        body = {"file": self.key} | ({"expires_in": seconds} if seconds else {})
        fields = self.carry(token, "header")[1] if token else fields
        return self.ask("/-/urls", "POST", (*fields, *JSON), json.dumps(body).encode())

    def outsiders(self) -> Iterator[tuple[str, Fields]]:
        """Callers who must not get the object: in words for the report, and their header fields."""
        yield "without a token", ()
        if self.subject.other is not None and self.states.get("other-user") == "good":
            source: Source = "header" if "header" in self.sources else "cookie"
            if source in self.sources:
                yield "with the token of another user", self.carry(self.subject.other, source)[1]

    def claims_to_forge(self) -> tuple[dict[str, object], dict[str, object]]:
        """Header and claims for a forged token: those of the good token, else what the settings ask for."""
        settings, token = self.subject.settings, self.subject.token
        parts = forge.decode(token) if token else None
        header, claims = parts or ({"typ": "JWT"}, {"sub": "doctor"})
        header.setdefault("alg", "RS256")
        if self.subject.keys and "kid" in self.subject.keys[0]:
            header.setdefault("kid", self.subject.keys[0]["kid"])
        if settings and settings.issuers and not parts:
            issuer = settings.issuers[0]
            claims |= {"iss": issuer.url, "aud": min(issuer.audience)}
        return header, {**claims, "exp": int(time.time()) + 3600}

    # --- for the report

    def evidence(self, answer: Answer, target: str, method: str = "GET", detail: str = "") -> Evidence:
        return Evidence(self.redact(_request_line(target, method, detail)), self.summary(answer))

    def summary(self, answer: Answer) -> str:
        """An answer in one line."""
        if not answer.status:
            return self.redact(answer.error)
        words = [str(answer.status)]
        words += filter(None, (answer.field("content-type"), f"{len(answer.body)} bytes" if answer.body else ""))
        for name in ("location", "content-range", "x-cache", "age"):
            if answer.field(name):
                words.append(f"{name}: {answer.field(name)}")
        return self.redact(", ".join(words))

    def redact(self, text: str) -> str:
        return self.secrets.redact(text)

    # --- is the object given away?

    def try_tokens(self, forged: Iterable[forge.Forged]) -> Iterator[Evidence]:
        """Send each token through every source; yield evidence if it opens the object, or gets a signed URL for it."""
        for number, (what, token) in enumerate(forged):
            first = number == 0
            if self.passes_only or first:  # one token is enough to see whether passes are issued more carelessly
                yield from self.try_pass(token, what)
            sources = self.sources if first else self.sources[:2]
            for source in () if self.passes_only else sources:
                target, fields = self.carry(token, source)
                yield from self.try_open(target, fields=fields, detail=f"{source}: {what}")

    def try_pass(self, token: str | None, detail: str, fields: Fields = ()) -> Iterator[Evidence]:
        """Ask for a signed URL as a caller who must not get one; yield evidence if one is issued."""
        answer = self.request_pass(token, fields=fields)
        document = parse_json(answer.body)
        if 200 <= answer.status < 300 and isinstance(document, dict) and "signedUrl" in document:
            yield self.evidence(answer, "/-/urls", "POST", detail)

    def try_open(
        self, target: str, method: str = "GET", fields: Fields = (), detail: str = "", control: str | None = None
    ) -> Iterator[Evidence]:
        """Ask for the object; yield evidence if the answer gives it away, or something about it.

        Args:
            target, method, fields, detail: as for `ask`.
            control: the same target with the name of a missing object. If that gets the same answer, the answer is not
                about the object: a sign-in page, or an application that answers every path.
        """
        answer = self.ask(target, method, fields, detail=detail)
        if not self._suspicious(answer, fields):
            return
        if not self._is_original(answer):
            other = target.replace(self.path, self.missing) if control is None else control
            likeness = self.compare(
                answer, partial(self.ask, other, method, fields, detail=detail), self._varying_pages
            )
            if likeness == "unclear":
                self.unclear.append(self.evidence(answer, target, method, detail))
            if likeness != "different":
                return
        yield self.evidence(answer, target, method, detail)

    def compare(
        self, answer: Answer, ask_control: Callable[[], Answer], varying: list[Answer] | None = None
    ) -> Likeness:
        """Is an answer what a missing object gets, too?

        "unclear" means that the control differs each time, and the answer looks like it: a sign-in page may contain a
        nonce, or the time.

        Args:
            answer: what came.
            ask_control: sends the same request for a missing object.
            varying: controls that were seen to differ each time; more are added, so that few need be asked.
        """
        if any(_look_alike(answer, page) for page in varying or ()):
            return "unclear"
        control = ask_control()
        if self._equal(answer, control):
            return "same"
        if not _look_alike(answer, control) or self._equal(control, ask_control()):
            return "different"
        if varying is not None:
            varying.append(control)
        return "unclear"

    def _equal(self, one: Answer, other: Answer) -> bool:
        """Are the answers equal, except for the name that was asked for? A page may repeat it."""
        if one.method == "HEAD" and one.field("content-length") != other.field("content-length"):
            return False
        names = [self.path, self.missing, self.key, unquote(self.missing[1:])] if self.subject.path else []
        names += [quote(name, safe="") for name in names]
        names.sort(key=len, reverse=True)
        bodies = [answer.body for answer in (one, other)]
        for name in (*names, *(name.rpartition("/")[2] for name in names)):
            bodies = [body.replace(name.encode(), b"") for body in bodies]
        return one.status == other.status and bodies[0] == bodies[1]

    def _suspicious(self, answer: Answer, fields: Fields) -> bool:
        conditional = any(name.lower() == "range" or name.lower().startswith("if-") for name, _ in fields)
        if conditional and answer.status in (206, 304, 412, 416):
            return True
        if not answer.success:
            return False
        known = self.original is not None and not self.varies
        return not known or self._is_original(answer) or (answer.status != 200 and bool(answer.body))

    def _is_original(self, answer: Answer) -> bool:
        """Is it the object as its owner gets it?"""
        original = self.original
        if original is None or self.varies or answer.status != 200:
            return False
        if original.body and answer.method != "HEAD":
            return answer.body == original.body
        mark = "etag" if original.field("etag") else "content-length"
        return answer.field(mark) == original.field(mark) != ""


def _request_line(target: str, method: str, detail: str) -> str:
    return f"{method} {target}{f', {detail}' if detail else ''}"


def _look_alike(one: Answer, other: Answer) -> bool:
    types = [answer.field("content-type").partition(";")[0].strip().lower() for answer in (one, other)]
    near = abs(len(one.body) - len(other.body)) <= _MOST_LENGTHS_APART
    return one.status == other.status and types[0] == types[1] and near


def parse_json(body: bytes | str) -> object:
    """The content of a JSON text; None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
