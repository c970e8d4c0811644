"""What the questions share: who is examined, how it is asked, and when an answer gives away an object.

A question is a row: what is asked, why it matters, what to do, and a function that yields evidence of what is wrong.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

from . import forge
from .wire import Answer, Fields, Meter, Origin, Wire

if TYPE_CHECKING:
    from ..settings import Settings

Place: TypeAlias = Literal["header", "cookie", "query"]
State: TypeAlias = Literal["good", "found", "note", "skipped", "failed"]
EVIL = "doctor.invalid"
"""A host that nobody has (RFC 2606 §2)."""
BROWSER: Fields = (("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"))
_TRACE = re.compile(rb"Traceback \(most recent call last\)|\bat [\w.$]+\(\w+\.java:\d+\)|<b>Fatal error</b>")
"""Where programs tell in an error page what their inside looks like."""
_EXPECTED = (501, 505)
"""Of the answers from 500 on, those that are about the request: a method or version that is not known."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined, and what the examiner was given for it.

    Attributes:
        origin: the site.
        path: an object that must not be public, as it stands in a request target.
        public: one that anybody may read.
        token: of somebody who may read `path`.
        other: of somebody who may not.
        expired: whose time is over.
        foreign: of the same issuer, for another application.
        pass_target: path and query of a signed URL.
        bucket: URL of the bucket behind the site, without a slash at the end.
        keys: public keys of the issuer, as JWK.
        settings: the site's own, if it is one of ours.
        cookie, query: names that carry a token; query None: none does.
        session: name of the site's session cookie.
    """

    origin: Origin
    path: str | None = None
    public: str | None = None
    token: str | None = field(default=None, repr=False)
    other: str | None = field(default=None, repr=False)
    expired: str | None = field(default=None, repr=False)
    foreign: str | None = field(default=None, repr=False)
    pass_target: str | None = field(default=None, repr=False)
    bucket: str | None = None
    keys: tuple[Mapping[str, object], ...] = ()
    settings: Settings | None = None
    cookie: str = "token"
    query: str | None = None
    session: str = ""


class Evidence(NamedTuple):
    """What was asked and what came back that should not have.

    Attributes:
        asked, got: in words, without any credential.
        sure: False: it proves nothing, and is worth a thought.
    """

    asked: str
    got: str
    sure: bool = True


class SkipError(Exception):
    """The question cannot be asked here; the message says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that an attacker would try.

    Attributes:
        name: stable, for programs.
        asks: the question.
        why: what it would mean.
        mend: what to do.
        ask: yields evidence; none means that all is good.
        needs: attributes of the subject without which it cannot be asked.
        after: names of questions; what they found would be found again here.
        advice: True: what is found is said, and is no failure.
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
    """What came of a question; `skipped` says why it was not asked, or not to its end."""

    question: Question
    state: State
    evidence: tuple[Evidence, ...] = ()
    skipped: str = ""


class Visit:
    """One examination under way.

    Attributes:
        subject: who is examined.
        states: what came of the questions so far.
        places: where the token opened `path`; both usual ones as long as nobody knows.
        truth: the object as its owner gets it.
        changing: True where its bytes are others each time, so that they say nothing.
        unsure: answers that may be the object, or a page that is another each time.
        cookies: what was set by any answer, one of each name and flags: the line, and what was asked.
        session: name and value of the session cookie that the site made.
        pass_target: path and query of a signed URL that opens the object now.
        by_pass: True where a token opens nothing itself, and only buys passes.
        faults, leaks: answers that showed a fault of the server, or a credential, whatever was asked.
        slowed: how many answers said that there were too many requests.
        ended: why nothing more can be asked; "" as long as it can.
    """

    def __init__(self, subject: Subject, meter: Meter) -> None:
        self.subject, self.meter = subject, meter
        self.wire = Wire(subject.origin, meter)
        self.states: dict[str, State] = {}
        self.places: list[Place] = ["header", "cookie"]
        self.truth: Answer | None = None
        self.first: Answer | None = None
        self.session: tuple[str, str] | None = None
        self.pass_target: str | None = None
        self.by_pass = self.changing = False
        self.unsure: list[Evidence] = []
        self.cookies: dict[str, tuple[str, str]] = {}
        self.faults: list[Evidence] = []
        self.leaks: list[Evidence] = []
        self.slowed, self.ended = 0, ""
        self.nonce = secrets.token_hex(6)
        signed = (subject.pass_target or "").partition("?")[2]
        self._changing_pages: list[Answer] = []
        self._secrets: set[str] = set()
        for secret in (subject.token, subject.other, subject.expired, subject.foreign, signed):
            self.keep_secret(secret or "")

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
        """Where the object lies, with a slash at the end."""
        return self.path.rpartition("/")[0] + "/"

    @property
    def nothing(self) -> str:
        """Beside the object, with the same ending, what there is not."""
        name, dot, ending = self.path.rpartition("/")[2].rpartition(".")
        return f"{self.folder}no-such-{self.nonce}{dot if name else ''}{ending if name else ''}"

    # --- asking

    def ask(self, target: str, method: str = "GET", fields: Fields = (), body: bytes = b"", said: str = "") -> Answer:
        """Ask the site; look at whatever comes for faults and leaks.

        Args:
            target, method, fields, body: as for `Wire.ask`.
            said: what is special about it, for the report.
        """
        answer = self.wire.ask(target, method, fields, body)
        self.slowed += answer.status == 429 and method == "GET"  # passes have a limit of their own
        told = answer.status >= 300 and _TRACE.search(answer.body)
        if told or (answer.status >= 500 and answer.status not in _EXPECTED):
            self.faults.append(self.evidence(answer, target, method, said))
        if self.shows(answer, [value for _, value in fields] + [target]):
            self.leaks.append(self.evidence(answer, target, method, said))
        for line in answer.all("set-cookie"):
            without_value = re.sub(r"=[^;]*|(?:expires|max-age)=[^;]*", "", line, flags=re.IGNORECASE)
            self.cookies.setdefault(without_value, (line, f"{method} {target}{f', {said}' if said else ''}"))
        return answer

    def shows(self, answer: Answer, sent: Sequence[str]) -> bool:
        """Does an answer show a credential that the request brought? Cookies are its place, so they do not count."""
        brought = [secret for secret in self._secrets if any(secret in text for text in sent)]
        if not brought:
            return False
        told = " ".join(value for name, value in answer.fields if name != "set-cookie")
        told += answer.body.decode("latin-1")
        return any(secret in told for secret in brought)

    def keep_secret(self, text: str) -> str:
        """Never print it, and notice when the site does; what is too short to be one could stand anywhere.

        Of a token its parts count, too, but for the header, which many tokens share.
        """
        self._secrets |= {secret for secret in (text, *text.split(".")[1:]) if len(secret) > 15}
        return text

    def evidence(self, answer: Answer, target: str, method: str = "GET", said: str = "") -> Evidence:
        return Evidence(self.told(f"{method} {target}{f', {said}' if said else ''}"), self.got(answer))

    def told(self, text: str) -> str:
        """Text without any credential in it."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        text = re.sub(r"\bey[\w-]{8,}[\w.%-]*", "…", text)
        text = re.sub(r"((?:Signature|Policy)=)[^&\s]*", r"\1…", text)
        return text if len(text) < 200 else f"{text[:197]}…"

    def got(self, answer: Answer) -> str:
        """An answer in a line."""
        if not answer.status:
            return self.told(answer.error)
        words = [str(answer.status)]
        words += filter(None, (answer.field("content-type"), f"{len(answer.body)} bytes" if answer.body else ""))
        for name in ("location", "content-range", "x-cache", "age"):
            if answer.field(name):
                words.append(f"{name}: {answer.field(name)}")
        return self.told(", ".join(words))

    # --- credentials

    def bring(self, token: str, place: Place, target: str | None = None) -> tuple[str, Fields]:
        """Target and header fields of a request with a token in this place."""
        target = self.path if target is None else target
        self.keep_secret(token)
        if place == "header":
            return target, (("Authorization", f"Bearer {token}"),)
        if place == "cookie":
            return target, (("Cookie", f"{self.subject.cookie}={token}"),)
        return f"{target}{'&' if '?' in target else '?'}{self.subject.query}={token}", ()

    def with_token(self, target: str | None = None, *, more: Fields = (), method: str = "GET") -> Answer:
        """Ask as the one who may."""
        assert self.subject.token is not None
        target, fields = self.bring(self.subject.token, self.places[0], target)
        return self.ask(target, method, (*fields, *more), said="with the token")

    def buy(self, token: str | None, seconds: int | None = None) -> Answer:
        """Ask the site for a signed URL of the object."""
        wish = {"file": self.key} | ({"expires_in": seconds} if seconds else {})
        fields = self.bring(token, "header")[1] if token else ()
        return self.ask("/-/urls", "POST", (*fields, ("Content-Type", "application/json")), json.dumps(wish).encode())

    def tokens_open(self, forged: Iterator[forge.Forged] | Sequence[forge.Forged]) -> Iterator[Evidence]:
        """Bring each token in every place; yield those that open the object, or buy a pass for it."""
        for number, (what, token) in enumerate(forged):
            if self.by_pass or not number:  # one of a kind shows whether passes, or a third place, are cheaper
                yield from self.sold(token, what)
            places = self.places[:2] if number else self.places
            for place in () if self.by_pass else places:
                target, fields = self.bring(token, place)
                yield from self.opened(target, fields=fields, said=f"{place}: {what}")

    def sold(self, token: str | None, what: str) -> Iterator[Evidence]:
        """Ask for a signed URL as somebody who must get none; yield what came if it is one."""
        answer = self.buy(token)
        document = loaded(answer.body)
        if 200 <= answer.status < 300 and isinstance(document, dict) and "signedUrl" in document:
            yield self.evidence(answer, "/-/urls", "POST", what)

    def outsiders(self) -> Iterator[tuple[str, Fields]]:
        """Who must not get the object: in words for the report, and the header fields that they bring."""
        yield "without a token", ()
        if self.subject.other is not None and self.states.get("other-user") == "good":
            place: Place = "header" if "header" in self.places else "cookie"
            if place in self.places:
                yield "with the token of somebody who may not", self.bring(self.subject.other, place)[1]

    def claims(self) -> tuple[dict[str, object], dict[str, object]]:
        """Header and claims for forging: those of the good token for an hour more, else what the settings ask for."""
        settings, token = self.subject.settings, self.subject.token
        parts = forge.read(token) if token else None
        header, claims = parts or ({"typ": "JWT"}, {"sub": "doctor"})
        header.setdefault("alg", "RS256")
        if self.subject.keys and "kid" in self.subject.keys[0]:
            header.setdefault("kid", self.subject.keys[0]["kid"])
        if settings and settings.issuers and not parts:
            issuer = settings.issuers[0]
            claims |= {"iss": issuer.url, "aud": min(issuer.audience)}
        return header, {**claims, "exp": int(time.time()) + 3600}

    # --- is it given away?

    def opened(
        self, target: str, method: str = "GET", fields: Fields = (), said: str = "", instead: str | None = None
    ) -> Iterator[Evidence]:
        """Ask for the object; yield evidence if the answer gives it, or something about it, away.

        Args:
            target, method, fields, said: as for `ask`.
            instead: the same question about what does not exist. Where it gets the same answer, the answer is not
                about the object: a sign-in page, an application that is sent for every path.
        """
        answer = self.ask(target, method, fields, said=said)
        if not self._suspicious(answer, fields):
            return
        beside = target.replace(self.path, self.nothing) if instead is None else instead
        if not self._is_truth(answer):
            control = partial(self.ask, beside, method, fields, said=said)
            alike = self.as_for(answer, control, self._changing_pages)
            if alike != "no":
                self.unsure += [self.evidence(answer, target, method, said)] if alike == "perhaps" else []
                return
        yield self.evidence(answer, target, method, said)

    def as_for(
        self, answer: Answer, control: Callable[[], Answer], known: list[Answer] | None = None
    ) -> Literal["yes", "no", "perhaps"]:
        """Does an answer say what the control says? "perhaps": that is another each time, and this one is of its kind.

        A sign-in page may hold a number that counts once, or the time.

        Args:
            answer: what came.
            control: asks for what does not exist.
            known: controls that were another each time, so that few of them need be asked; a new one is put there.
        """
        if any(_of_a_kind(answer, page) for page in known or ()):
            return "perhaps"
        one = control()
        if self.alike(answer, one):
            return "yes"
        if not _of_a_kind(answer, one) or self.alike(one, control()):
            return "no"
        if known is not None:
            known.append(one)
        return "perhaps"

    def alike(self, one: Answer, other: Answer) -> bool:
        """Are these the same answer, but for the name that was asked for? A page may repeat it."""
        if one.method == "HEAD" and one.field("content-length") != other.field("content-length"):
            return False
        names = [self.path, self.nothing, self.key, unquote(self.nothing[1:])] if self.subject.path else []
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
        if not answer.given:
            return False
        known = self.truth is not None and not self.changing
        return not known or self._is_truth(answer) or (answer.status != 200 and bool(answer.body))

    def _is_truth(self, answer: Answer) -> bool:
        """Is it the object as its owner gets it?"""
        truth = self.truth
        if truth is None or self.changing or answer.status != 200:
            return False
        if truth.body and answer.method != "HEAD":
            return answer.body == truth.body
        mark = "etag" if truth.field("etag") else "content-length"
        return answer.field(mark) == truth.field(mark) != ""


def _of_a_kind(one: Answer, other: Answer) -> bool:
    types = [answer.field("content-type").partition(";")[0].strip().lower() for answer in (one, other)]
    return one.status == other.status and types[0] == types[1] and abs(len(one.body) - len(other.body)) <= 100


def loaded(body: bytes | str) -> object:
    """What stands in a JSON text; None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
