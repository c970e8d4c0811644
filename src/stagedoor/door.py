"""The door: one request in, one decision out. Every place that enforces the policy asks it here.

`Door.answer` is a flow without I/O: it yields `Fetch` when it needs an issuer's keys, and returns `Serve` or
`Reply`. `run` drives a flow where waiting is fine (Lambda, tests), `arun` where it is not (the gateway).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, unquote_to_bytes

from . import credentials, paths, replies
from .credentials import Credential, Places
from .errors import (
    InvalidCredential,
    InvalidSession,
    InvalidTarget,
    InvalidToken,
    SessionTooLarge,
    StagedoorError,
    Unavailable,
)
from .messages import Answered, Flow, Pairs, Reply, Request, Serve, Wish
from .policy import Allow, Policy
from .session import Sessions
from .tokens import ANONYMOUS, Caller, Callers, Tokens

T = TypeVar("T")

OBJECT_METHODS = "GET, HEAD, OPTIONS"
_ASKED = b"Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, Range"
_EXPOSED = b"Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, WWW-Authenticate"


@dataclass(frozen=True, slots=True)
class Site:
    """What the door guards.

    Attributes:
        url: the public origin, without a slash at the end; the Host header decides nothing.
        places: where credentials may be.
        index: file name that stands for a folder (`/docs/` answers `docs/index.html`), or None.
        fallback: key that stands in for missing ones when a browser navigates (client-side routes), or None.
        login_page: URL of a sign-in page for navigations without a credential, or None.
        origins: other origins whose scripts may read answers (CORS).
    """

    url: str
    places: Places = field(default_factory=Places)
    index: str | None = None
    fallback: str | None = None
    login_page: str | None = None
    origins: frozenset[str] = frozenset()


Endpoint = Callable[[Request, float], Flow[Reply]]


class Door:
    """Answers requests by one policy.

    Args:
        site: what is guarded.
        policy: who may read what.
        tokens: turns bearer tokens into callers.
        sessions: makes and reads our session cookies; None where there are none.
        entropy: gives that many random bytes.
    """

    def __init__(
        self, site: Site, policy: Policy, tokens: Tokens, sessions: Sessions | None, entropy: Callable[[int], bytes]
    ) -> None:
        self.site, self.policy, self.tokens, self.sessions = site, policy, tokens, sessions
        self._entropy = entropy
        self._in_session = Callers()
        self._vary_origin = bool(site.origins)
        self._endpoints: Mapping[bytes, tuple[str, Endpoint]] = {
            b"/-/whoami": ("GET", self._whoami),
            b"/-/explain": ("GET", self._explain),
            b"/-/session": ("POST", self._make_session),
        }

    def answer(self, request: Request, now: float) -> Flow[Serve | Reply]:
        """Decide one request.

        Args:
            request: as the door received it.
            now: epoch seconds.

        Returns:
            Serve: the caller may have this object, and nothing else; Reply: the complete answer.
        """
        try:
            answer = yield from self._answer(request, now)
        except InvalidTarget as error:
            answer = self._problem(request, 400, error.code, str(error))
        except InvalidCredential as error:
            answer = self._unauthorized(request, error)
        except Unavailable as error:
            after = ((b"retry-after", str(error.retry_after).encode()),)
            answer = self._problem(request, 503, error.code, "who you are could not be checked just now", extra=after)
        if self._vary_origin:
            answer = answer._replace(headers=answer.headers + self._cors(request))
        if request.query and credentials.in_url(request.query, self.site.places):
            answer = answer._replace(headers=(*_without_referrer(answer.headers), (b"referrer-policy", b"no-referrer")))
        return answer

    def caller(self, request: Request, now: float) -> Flow[tuple[Caller, Credential | None]]:
        """Find out who asks.

        Raises:
            InvalidCredential: the credential that decides is bad.
            Unavailable: it could not be checked.
        """
        credential = credentials.find(request.headers, request.query, self.site.places)
        if credential is None:
            return ANONYMOUS, None
        return self._known(credential, now) or (yield from self.tokens.verify(credential.value, now)), credential

    def _known(self, credential: Credential, now: float) -> Caller | None:
        """The caller of a credential that can be judged without asking anybody; None for a token not seen before."""
        if credential.kind == "pass":
            raise InvalidCredential("signed URLs and signed cookies are not active on this site", code="pass-inactive")
        if credential.kind != "session":
            return self.tokens.known(credential.value, now)
        if self.sessions is None:
            raise InvalidCredential("sessions are not active on this site", code="session-inactive")
        caller = self._in_session.get(credential.value, now)
        if caller is None:
            try:
                caller = self.sessions.verify(credential.value, now)
            except InvalidToken as error:
                raise InvalidSession(str(error), code=error.code) from error
            self._in_session.put(credential.value, caller)
        return caller

    def _answer(self, request: Request, now: float) -> Flow[Serve | Reply]:
        method = request.method
        if method == "OPTIONS":
            return self._options(request)
        if request.path.startswith(b"/-/"):
            return (yield from self._own(request, now))
        if method != "GET" and method != "HEAD":
            return self._not_allowed(request, OBJECT_METHODS)
        key = paths.object_key(paths.decode(request.path), self.site.index)
        if key is None:
            return self._problem(request, 404, "not-found", "there is nothing of this name")
        if key == "":
            return replies.redirect(f"{self.site.url}/-/gallery", "gallery")
        caller, credential = ANONYMOUS, credentials.find(request.headers, request.query, self.site.places)
        if credential is not None:
            caller = self._known(credential, now) or (yield from self.tokens.verify(credential.value, now))
        decision = self.policy.decide(caller, key)
        if isinstance(decision, Allow):
            return self._serve(request, key, caller, decision)
        return self._refuse(request, caller)

    def _serve(self, request: Request, key: str, caller: Caller, decision: Allow) -> Serve:
        fallback, public = self.site.fallback, decision.rule.who == "anyone"
        if fallback is not None:
            instead = self.policy.decide(caller, fallback)
            if isinstance(instead, Allow) and replies.is_navigation(request.method, request.headers):
                public = public and instead.rule.who == "anyone"  # either of the two may be what is sent
            else:
                fallback = None
        public = public and not credentials.in_url(request.query, self.site.places)
        return Serve(key, decision.rule.name, caller.label, public, _SAME_ORIGIN, fallback)

    def _refuse(self, request: Request, caller: Caller) -> Reply:
        """No: 403 if we know who asks, else 401, or a redirect for a browser that can go and sign in."""
        if caller.signed_in:
            detail = "you are signed in, but no rule of this site lets you read this"
            sign_in = self._sign_in(request)
            return self._problem(request, 403, "denied", detail, sign_in=sign_in, caller=caller.label)
        return self._unauthorized(request, None)

    def _unauthorized(self, request: Request, error: InvalidCredential | None) -> Reply:
        """401 with its challenge (RFC 6750 §3), or 302 to sign-in where a navigation brings nothing or an old token."""
        code = error.code if error else "no-credential"
        sign_in = self._sign_in(request)
        extra: Pairs = ()
        if isinstance(error, InvalidSession) and self.sessions is not None:
            # No script can remove this cookie, and with it the browser would be refused everything, public files too.
            extra = ((b"set-cookie", self.sessions.clear_cookie().encode()),)
        again = code in _SIGN_IN_AGAIN or isinstance(error, InvalidSession)
        if sign_in and again and replies.is_navigation(request.method, request.headers):
            return replies.redirect(sign_in, code, extra)
        if code == "pass-inactive":
            return self._problem(request, 403, code, str(error))
        challenge = 'Bearer realm="stagedoor"'
        if error:
            challenge += f', error="invalid_token", error_description="{error.code}"'
        detail = self._where(request, error) if error else "sign in, or bring a token, to read this"
        extra += ((b"www-authenticate", challenge.encode()),)
        return self._problem(request, 401, code, detail, extra=extra, sign_in=sign_in)

    def _where(self, request: Request, error: InvalidCredential) -> str:
        """Name a cookie that does not count: a forgotten one is sent with every request, and nobody sees it."""
        try:
            found = credentials.find(request.headers, request.query, self.site.places)
        except InvalidCredential:
            return str(error)
        if found is not None and found.kind == "cookie":
            return f"the cookie {self.site.places.cookie!r} does not count: {error}"
        return str(error)

    def _sign_in(self, request: Request) -> str:
        """The sign-in page with `next`: where the visitor wanted to go, byte for byte, without any credential."""
        page = self.site.login_page
        if page is None:
            return ""
        query = credentials.strip_query(request.query, self.site.places)
        target = request.path + (b"?" + query if query else b"")
        return f"{page}{'&' if '?' in page else '?'}next={quote(self.site.url.encode() + target, safe='')}"

    def _problem(
        self,
        request: Request,
        status: int,
        code: str,
        detail: str,
        *,
        extra: Pairs = (),
        sign_in: str = "",
        caller: str = "",
    ) -> Reply:
        page = replies.is_navigation(request.method, request.headers)
        return replies.problem(status, code, detail, page=page, extra=extra, sign_in=sign_in, caller=caller)

    def _not_allowed(self, request: Request, methods: str) -> Reply:
        detail = f"this address takes {methods}"
        return self._problem(request, 405, "method", detail, extra=((b"allow", methods.encode()),))

    # --- CORS (Fetch standard, "CORS protocol"); asked before anybody is authenticated, for browsers send no credential

    def _options(self, request: Request) -> Reply:
        methods = OBJECT_METHODS
        if request.path.startswith(b"/-/"):
            known = self._endpoints.get(request.path)
            methods = _methods(known[0]) if known else "OPTIONS"
        headers: Pairs = ((b"allow", methods.encode()), *replies.base_headers())
        if self._allowed_origin(request) and b"access-control-request-method" in request.headers:
            headers += (
                (b"access-control-allow-methods", methods.encode()),
                (b"access-control-allow-headers", _ASKED),
                (b"access-control-max-age", b"600"),
            )
        return Reply(204, headers, b"", "options")

    def _allowed_origin(self, request: Request) -> bytes | None:
        origin = request.headers.get(b"origin", ())
        if len(origin) == 1 and origin[0].decode("latin-1") in self.site.origins:
            return origin[0]
        return None

    def _cors(self, request: Request) -> Pairs:
        origin = self._allowed_origin(request)
        vary: Pairs = ((b"vary", b"Origin"),)
        if origin is None:
            return vary
        return (
            *vary,
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED),
        )

    # --- endpoints of our own

    def _own(self, request: Request, now: float) -> Flow[Reply]:
        known = self._endpoints.get(request.path)
        if known is None:
            gallery = request.path == b"/-/gallery"
            detail = (
                "this version has no gallery; ask for a file by its path"
                if gallery
                else "there is nothing of this name"
            )
            return self._problem(request, 404, "not-found", detail)
        method, endpoint = known
        if request.method != method and not (method == "GET" and request.method == "HEAD"):
            return self._not_allowed(request, _methods(method))
        return (yield from endpoint(request, now))

    def _whoami(self, request: Request, now: float) -> Flow[Reply]:
        caller, credential = yield from self.caller(request, now)
        if credential is None:
            return replies.document(200, {"signedIn": False}, "whoami")
        about = {
            "signedIn": True,
            "issuer": caller.issuer,
            "sub": caller.subject,
            "groups": sorted(caller.values("groups")),
            "claims": self.policy.session_claims(caller),
            "expires": int(caller.expires),
            "credential": credential.kind,
        }
        return replies.document(200, about, "whoami", caller=caller.label)

    def _explain(self, request: Request, now: float) -> Flow[Reply]:
        caller, _ = yield from self.caller(request, now)
        if not caller.signed_in:  # the rules are nobody's business who has not said who they are
            return self._unauthorized(request, None)
        asked = _parameter(request.query, b"key")
        if asked is None:
            return self._problem(request, 400, "key-missing", "name the key: /-/explain?key=courses/lesson.mp4")
        asked = asked.removeprefix("/")
        paths.check_key(asked)
        key = paths.object_key(asked, self.site.index)
        if not key:
            return self._problem(request, 404, "not-found", "no object can have this key", caller=caller.label)
        return replies.document(200, explanation(self.policy, caller, key), "explain", caller=caller.label)

    def _make_session(self, request: Request, now: float) -> Flow[Reply]:
        """Turn the bearer token that a frontend holds into our cookie; other origins only if `[cors]` lists them."""
        origin = request.headers.get(b"origin")
        if origin and origin != [self.site.url.encode()] and self._allowed_origin(request) is None:
            return self._problem(request, 403, "origin", "this origin is not listed in [cors] origins")
        credential = credentials.find(request.headers, b"", _HEADER_ONLY)
        if credential is None or credential.kind != "header":
            return self._unauthorized(request, None)
        if self.sessions is None:
            return self._problem(request, 404, "session-inactive", "sessions are not active on this site")
        caller = yield from self.tokens.verify(credential.value, now)
        try:
            cookie = self.sessions.set_cookie(caller, self.policy.session_claims(caller), self._entropy(16), now)
        except SessionTooLarge as error:
            return self._problem(request, 422, error.code, str(error), caller=caller.label)
        headers = (*replies.base_headers(), (b"set-cookie", cookie.encode()))
        return Reply(204, headers, b"", "session", caller.label)


_SAME_ORIGIN: Pairs = ((b"referrer-policy", b"same-origin"),)
_HEADER_ONLY = Places(("header",), session="")
_SIGN_IN_AGAIN = ("no-credential", "token-expired")


def _without_referrer(headers: Pairs) -> Pairs:
    return tuple(field for field in headers if field[0] != b"referrer-policy")


def _methods(method: str) -> str:
    """What an endpoint of this method takes, for `Allow`."""
    return f"{method}, {'HEAD, ' if method == 'GET' else ''}OPTIONS"


def explanation(policy: Policy, caller: Caller, key: str) -> dict[str, Any]:
    """The decision on one key and what each rule said, as plain data for JSON."""
    decision = policy.decide(caller, key)
    return {
        "key": key,
        "allowed": isinstance(decision, Allow),
        "rule": decision.rule.name if decision.rule else None,
        "reason": decision.reason,
        "caller": caller.label or "anonymous",
        "rules": [
            {
                "rule": one.rule.name,
                "path": one.rule.pattern,
                "effect": one.rule.effect,
                "applies": one.applies,
                "reason": one.reason,
            }
            for one in policy.explain(caller, key)
        ],
    }


def _parameter(query: bytes, name: bytes) -> str | None:
    for part in query.split(b"&"):
        found, _, value = part.partition(b"=")
        if unquote_to_bytes(found) == name:
            try:
                return unquote_to_bytes(value).decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidTarget("the query is not valid UTF-8 after percent-decoding") from None
    return None


def run(flow: Flow[T], ask: Callable[[Wish], Answered]) -> T:
    """Drive a flow to its end.

    Args:
        flow: what to drive.
        ask: answers its wishes; what it raises of `stagedoor.errors` is thrown into the flow.
    """
    try:
        wish = next(flow)
        while True:
            try:
                answered = ask(wish)
            except StagedoorError as error:
                wish = flow.throw(error)
            else:
                wish = flow.send(answered)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        flow.close()


async def arun(flow: Flow[T], ask: Callable[[Wish], Awaitable[Answered]], wish: Wish | None = None) -> T:
    """Drive a flow to its end without blocking the event loop.

    Args:
        flow: what to drive.
        ask: as for `run`.
        wish: what the flow waits for, if it has been started already.
    """
    try:
        wish = wish or next(flow)
        while True:
            try:
                answered = await ask(wish)
            except StagedoorError as error:
                wish = flow.throw(error)
            else:
                wish = flow.send(answered)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        flow.close()
