"""The door: one request in, one decision out. Gateway and Lambda functions all ask it here.

`Door.answer` is a flow without I/O: it yields a wish when it needs something from outside, and returns `Serve` or
`Reply`. What lies under `/-/` is in `endpoints/`; the door knows only how an endpoint is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from . import cookies, credentials, paths, replies
from .caller import ANONYMOUS, Caller
from .callers import Callers, TakenBack
from .credentials import PASSES, Credential, Sources
from .errors import (
    InvalidContent,
    InvalidCredential,
    InvalidPass,
    InvalidRequest,
    InvalidSession,
    OutdatedSession,
    Revoked,
    StoreRefused,
    Unavailable,
    WrongOrigin,
)
from .messages import Flow, Pairs, Reply, Request, Serve, Signpost
from .passes.terms import Grant
from .passes.verify import MISSING_KEY, Passes
from .policy.decide import Allow, Policy
from .policy.rules import GROUPS_LEFT_OUT, email_problem
from .tokens import Tokens

if TYPE_CHECKING:
    from .session import Sessions  # an edge function without session keys starts without it

OBJECT_METHODS = "GET, HEAD, OPTIONS"
ASKED_HEADERS = (
    *("Authorization", "Content-Type", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Range"),
    *("X-Requested-With", "X-Request-Id", "X-Correlation-Id", "Request-Id", "traceparent", "tracestate", "baggage"),
    *("sentry-trace", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"),
    *("x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-origin", "x-datadog-sampling-priority"),
    *("x-amzn-trace-id", "x-cloud-trace-context", "uber-trace-id", "newrelic", "elastic-apm-traceparent"),
)
"""Request headers that scripts of other origins may send: what we read, and what tracing adds to every request."""
EXPOSED_HEADERS = (
    b"Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Retry-After,"
    b" WWW-Authenticate"
)
"""Response headers that they may read."""


class Site(NamedTuple):
    """What the door guards.

    Attributes:
        url: the public origin, without a slash at the end; the Host header decides nothing.
        sources: where credentials may be.
        index_file: file name that stands for a folder (`/docs/` answers `docs/index.html`), or None.
        fallback: key that stands in for missing ones when a browser navigates (client-side routes), or None.
        login_page: URL of a sign-in page for navigations without a credential, or None.
        signs_in: people can sign in here, at `/-/login`; a `login_page` goes before it.
        origins: other origins whose scripts may read answers (CORS).
        asked_headers: request headers that those scripts may send, besides `ASKED_HEADERS`.
        https_only: True: browsers are told to come by https alone (RFC 6797).
    """

    url: str
    sources: Sources = Sources()
    index_file: str | None = None
    fallback: str | None = None
    login_page: str | None = None
    origins: frozenset[str] = frozenset()
    asked_headers: tuple[str, ...] = ()
    https_only: bool = False
    signs_in: bool = False


class Endpoint(NamedTuple):
    """An address of our own below `/-/`.

    Attributes:
        methods: those that it takes; with GET it takes HEAD too.
        answer: makes the reply, or raises an error that the door turns into one.
    """

    methods: tuple[str, ...]
    answer: Callable[[Door, Request, float], Flow[Reply]]

    def takes(self, method: str) -> bool:
        return method in self.methods or (method == "HEAD" and "GET" in self.methods)

    @property
    def allow(self) -> str:
        """For the header field of this name."""
        return ", ".join((*filter(self.takes, ("GET", "HEAD", "POST")), "OPTIONS"))


class Door:
    """Answers requests by one policy.

    Args:
        site: what is guarded.
        policy: who may read what.
        tokens: turns bearer tokens into callers.
        sessions: makes and reads our session cookies; None where there are none.
        passes: verifies signed URLs and signed cookies.
        endpoints: what there is under `/-/`: path -> endpoint. One that ends with a slash answers for what follows it.
        revocations: what was taken back; None where nothing can be.
    """

    def __init__(
        self,
        site: Site,
        policy: Policy,
        tokens: Tokens,
        sessions: Sessions | None = None,
        passes: Passes | None = None,
        endpoints: Mapping[bytes, Endpoint] | None = None,
        revocations: TakenBack | None = None,
    ) -> None:
        self.revocations = revocations
        self.passes = passes or Passes(site.url, {})
        if not self.passes.keys:
            site = site._replace(sources=site.sources._replace(pass_cookies=False))
        self.site, self.policy, self.tokens, self.sessions = site, policy, tokens, sessions
        self.endpoints = endpoints or {}
        self.token_removal = cookies.remove_everywhere(site.sources.cookie, site.url)
        self.name = site.url.partition("//")[2]
        self._signpost = Signpost(self.name, "/" if site.index_file else "")
        self._sign_in_path = _path_at(site.login_page, site.url)
        self.callers = Callers(site.sources, tokens, sessions, revocations)
        self._vary_origin = bool(site.origins)
        self._asked_headers = ", ".join((*ASKED_HEADERS, *site.asked_headers)).encode()

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
        except InvalidRequest as error:
            answer = self.problem(request, 400, error.code, str(error))
        except WrongOrigin as error:
            answer = self.problem(request, 403, error.code, str(error))
        except InvalidPass as error:
            answer = replies.pass_error(error, self.page(request))
        except OutdatedSession as error:
            answer = self._outdated(request, error)
        except InvalidCredential as error:
            answer = self.unauthorized(request, error)
        except Unavailable as error:
            after = ((b"retry-after", str(error.retry_after).encode()),)
            answer = self.problem(
                request,
                503,
                error.code,
                "this site could not reach something that it needs for the answer; try again in a moment",
                extra=after,
            )
        except (StoreRefused, InvalidContent) as error:
            detail = "what this site keeps its content in does not work for it; its owner must look"
            answer = self.problem(request, 502, error.code, detail)
        headers = self.dressed(request, answer.headers)
        return answer if headers is answer.headers else answer._replace(headers=headers)

    def dressed(self, request: Request, headers: Pairs) -> Pairs:
        """Add what every answer of this site carries, a driver's own too: CORS, HSTS, and no referrer with a secret.

        Args:
            request: what is answered.
            headers: header fields of the answer.
        """
        secret = request.query and headers is not _NO_REFERRER
        if secret and (request.path == _CALLBACK or credentials.in_url(request.query, self.site.sources)):
            headers = (*_without_referrer(headers), *_NO_REFERRER)
        if self.site.https_only:
            headers += _HTTPS_ONLY
        return headers + self._cors(request) if self._vary_origin else headers

    def caller(self, request: Request, now: float) -> Flow[tuple[Caller, Credential | None]]:
        """Find out who the caller of an endpoint is. A pass does not say: it opens objects.

        Raises:
            InvalidCredential: the credential that decides is bad, or a pass.
            Unavailable: it could not be checked.
        """
        caller, credential = yield from self.callers.identify(request, now)
        if credential is not None and credential.kind in PASSES:
            raise InvalidPass("a pass opens objects, and nothing of the site's own", code="pass-resource")
        return caller, credential

    def _answer(self, request: Request, now: float) -> Flow[Serve | Reply]:
        method = request.method
        if len(request.path) + len(request.query) > replies.MAX_TARGET_BYTES:
            return replies.target_too_long(self.page(request))
        if method == "OPTIONS":
            return self._options(request)
        if request.path.startswith(b"/-/"):
            return (yield from self._own(request, now))
        if method != "GET" and method != "HEAD":
            return self._not_allowed(request, OBJECT_METHODS)
        key = paths.object_key(paths.decode(request.path), self.site.index_file)
        if key is None or key == "":
            detail = replies.NOT_FOUND if key is None else "this site has no first page; ask for a file by its path"
            return self.problem(request, 404, "not-found", detail)
        if request.query:
            known = self.passes.known_url(request, now)
            if known is not None:
                return self._granted(key, known, _NO_REFERRER)
        opened = self._opened(request, key)
        if opened is not None:
            return opened
        caller, credential = yield from self.callers.identify(request, now)
        if credential is not None:
            if credential.kind == "signed-url":
                grant = self.passes.verify_url(request, credential.fields, now)
                return self._granted(key, grant, _NO_REFERRER)
            if credential.kind == "signed-cookies":
                sets = credential.fields, now, credential.other_sets
                return self._granted(key, self.passes.verify_cookies(request, *sets), _SAME_ORIGIN)
            if self.is_due(caller, credential, now) and self._shows_pages(request):
                return replies.redirect(self.renewal(request), "session-due", caller=caller.label)
            if credential.beside_bad_token:
                return self._without_token(request, self._decided(request, key, caller))
        return self._decided(request, key, caller)

    def is_due(self, caller: Caller, credential: Credential | None, now: float) -> bool:
        """Is it time to ask the issuer again who the caller of a session is, and is that done here?"""
        if credential is None or credential.kind != "session" or self.sessions is None:
            return False
        return self.site.signs_in and self.sessions.is_due(caller, now)

    @staticmethod
    def _shows_pages(request: Request) -> bool:
        """Is there a window that can go to the issuer and back?"""
        is_page = request.method == "GET" and replies.is_navigation("GET", request.headers)
        return is_page and replies.can_sign_in(request.headers)

    def _opened(self, request: Request, key: str) -> Serve | None:
        """Serve what anybody may read before credentials are looked at, so that no bad one can close it.

        None if the key is not open, if a pass in the query has to decide, or if what could stand in for the object is
        not open.
        """
        rule = self.policy.opened(key)
        if rule is None or credentials.is_signed(request.query):
            return None
        fallback = self.site.fallback
        navigates = fallback is not None and replies.is_navigation(request.method, request.headers)
        if fallback is not None and navigates and self.policy.opened(fallback) is None:
            return None
        return self._serve(request, key, ANONYMOUS, rule, public=True)

    def _without_token(self, request: Request, answer: Serve | Reply) -> Serve | Reply:
        """Remove a token cookie that was passed over, if a person navigates and no cache shares the answer."""
        if (isinstance(answer, Serve) and answer.public) or not replies.is_navigation(request.method, request.headers):
            return answer
        return answer._replace(headers=answer.headers + self.token_removal)

    def _decided(self, request: Request, key: str, caller: Caller) -> Serve | Reply:
        decision = self.policy.decide(caller, key)
        if isinstance(decision, Allow):
            return self._serve(request, key, caller, decision, public=self.policy.opened(key) is not None)
        if self.passes.keys and not self.tokens.issuers:  # only a pass can open anything here, as behind a key group
            raise InvalidPass("there is no pass", code="no-credential", aws=MISSING_KEY)
        return self.refuse(request, caller)

    def _serve(self, request: Request, key: str, caller: Caller, decision: Allow, public: bool) -> Serve:
        fallback = self.site.fallback
        if fallback is not None:
            instead = self.policy.decide(caller, fallback)
            if isinstance(instead, Allow) and replies.is_navigation(request.method, request.headers):
                public = public and self.policy.opened(fallback) is not None  # either of the two may be what is sent
            else:
                fallback = None
        public = public and not credentials.in_url(request.query, self.site.sources)
        return Serve(key, decision.rule.name, caller.label, public, _SAME_ORIGIN, fallback, signpost=self._signpost)

    def _granted(self, key: str, grant: Grant, headers: Pairs) -> Serve:
        """A pass opens its resource whatever the rules say, because they were asked when it was issued."""
        return Serve(key, f"pass {grant.key_id}", "", False, headers, None, grant.terms.expires, self._signpost)

    def refuse(self, request: Request, caller: Caller) -> Reply:
        """Refuse: 403 if we know the caller, else 401, or a redirect for a browser that can sign in."""
        if caller.signed_in:
            hint = _hint(caller, "email_verified" in self.policy.claim_names)
            detail = f"you are signed in as {who(caller)}, and no rule of this site lets you read this{hint}"
            sign_in = self.sign_in(request, prompt="login")
            return self.problem(request, 403, "denied", detail, sign_in=sign_in, caller=caller.label)
        return self.unauthorized(request, None)

    def unauthorized(self, request: Request, error: InvalidCredential | None) -> Reply:
        """401 with its challenge (RFC 6750 §3), or 302 to sign-in for a navigation with no or an old credential.

        Only to a navigation a bad cookie is removed: a late answer to a picture must not delete its successor.
        """
        code, detail = "no-credential", "not everyone may read this, and nothing in the request says who asks"
        challenge = _CHALLENGE
        other = credentials.other_scheme(request.headers, self.site.sources)
        if error:
            code, detail = error.code, self._where(error)
            challenge += f', error="invalid_token", error_description="{code}"'
        elif other:
            code = "credential-scheme"
            detail = f"the Authorization header {other}; a token comes as 'Bearer <token>'"
        renews = self.site.signs_in and isinstance(error, OutdatedSession) and error.renewable
        sign_in, extra = self.renewal(request) if renews else self.sign_in(request), Pairs()
        challenged: Pairs = ((b"www-authenticate", challenge.encode()),)
        if replies.is_navigation(request.method, request.headers):
            extra = self._removal(error)
            if sign_in and (error is None or _helps_to_sign_in(error)):
                if replies.can_sign_in(request.headers):
                    return replies.redirect(sign_in, code, extra)
                if replies.is_framed(request.headers):
                    return replies.way_out_of_frame(sign_in, self._signpost.name, code, extra + challenged)
        extra += challenged
        return self.problem(request, 401, code, detail, extra=extra, sign_in=sign_in)

    def _removal(self, error: InvalidCredential | None) -> Pairs:
        """Set-Cookie lines that remove the cookie that is bad."""
        over = isinstance(error, InvalidSession) or (isinstance(error, Revoked) and error.place == "session")
        if over and self.sessions is not None:
            return ((b"set-cookie", self.sessions.clear_cookie().encode()),)
        return self.token_removal if error is not None and error.place == "cookie" else ()

    def _outdated(self, request: Request, error: OutdatedSession) -> Reply:
        """Let a person sign in once more; if the new session is refused too, another gateway made it: 503, no loop."""
        if not error.is_new or not replies.is_navigation(request.method, request.headers):
            return self.unauthorized(request, error)
        detail = "this site is being changed just now; try again in a moment"
        return self.problem(request, 503, "rolling-out", detail, extra=((b"retry-after", b"10"),))

    def _where(self, error: InvalidCredential) -> str:
        """Name the cookie that is not valid, because a forgotten one is sent with every request without being seen."""
        if error.place == "cookie" and error.code != "credential-twice":
            return f"the cookie {self.site.sources.cookie!r} does not count: {error}"
        return str(error)

    def sign_in(self, request: Request, prompt: str = "") -> str:
        """The sign-in page with `next`: where the visitor wanted to go, byte for byte, without any credential.

        "" where there is none, and on the page itself, which would send the visitor in circles.

        Args:
            request: what they asked for.
            prompt: what the issuer is to ask, where people sign in here.
        """
        page = self.site.login_page
        if request.path == self._sign_in_path or not (page or self.site.signs_in):
            return ""
        target = self._without_credential(request)
        if page is not None:
            return f"{page}{'&' if '?' in page else '?'}next={quote(self.site.url.encode() + target, safe='')}"
        return f"{self.site.url}/-/login?next={quote(target, safe='')}" + (f"&prompt={prompt}" if prompt else "")

    def renewal(self, request: Request) -> str:
        """The address at which a session goes on, with `next` as in `sign_in`."""
        return f"{self.site.url}/-/renew?next={quote(self._without_credential(request), safe='')}"

    def _without_credential(self, request: Request) -> bytes:
        """The target of a request as it was sent, but for credentials in its query."""
        query = credentials.strip_query(request.query, self.site.sources)
        return request.path + (b"?" + query if query else b"")

    def page(self, request: Request) -> Signpost | None:
        """What the page of a refusal says about this site; None where a program asks."""
        return replies.page_for(request, self._signpost)

    def problem(
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
        page = self.page(request)
        return replies.problem(status, code, detail, page=page, extra=extra, sign_in=sign_in, caller=caller)

    def _not_allowed(self, request: Request, methods: str) -> Reply:
        detail = f"this address takes {methods}"
        return self.problem(request, 405, "method", detail, extra=((b"allow", methods.encode()),))

    # --- CORS (Fetch standard, "CORS protocol"); before authentication, because browsers send no credential

    def _options(self, request: Request) -> Reply:
        methods = OBJECT_METHODS
        if request.path.startswith(b"/-/"):
            endpoint = self._endpoint(request.path)
            methods = endpoint.allow if endpoint else "OPTIONS"
        headers: Pairs = ((b"allow", methods.encode()), *replies.base_headers())
        if self.allowed_origin(request) and b"access-control-request-method" in request.headers:
            headers += (
                (b"access-control-allow-methods", methods.encode()),
                (b"access-control-allow-headers", self._asked_headers),
                (b"access-control-max-age", b"600"),
            )
        return Reply(204, headers, b"", "options")

    def allowed_origin(self, request: Request) -> bytes | None:
        origin = request.headers.get(b"origin", ())
        if len(origin) == 1 and origin[0].decode("latin-1") in self.site.origins:
            return origin[0]
        return None

    def _cors(self, request: Request) -> Pairs:
        origin = self.allowed_origin(request)
        vary: Pairs = ((b"vary", b"Origin"),)
        if origin is None:
            return vary
        return (
            *vary,
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED_HEADERS),
        )

    # --- endpoints of our own

    def _own(self, request: Request, now: float) -> Flow[Reply]:
        endpoint = self._endpoint(request.path)
        if endpoint is None:
            gallery = request.path == b"/-/gallery"
            detail = "this version has no gallery; ask for a file by its path" if gallery else replies.NOT_FOUND
            return self.problem(request, 404, "not-found", detail)
        if not endpoint.takes(request.method):
            return self._not_allowed(request, endpoint.allow)
        return (yield from endpoint.answer(self, request, now))

    def _endpoint(self, path: bytes) -> Endpoint | None:
        """The endpoint of a path, or of the folder that it is in."""
        folder, slash, name = path.rpartition(b"/")
        return self.endpoints.get(path) or (self.endpoints.get(folder + slash) if name else None)


_SAME_ORIGIN: Pairs = ((b"referrer-policy", b"same-origin"),)
_HTTPS_ONLY: Pairs = ((b"strict-transport-security", b"max-age=31536000"),)
"""For a year, as at the edge; for this host alone, because others may not be ours."""
_NO_REFERRER: Pairs = ((b"referrer-policy", b"no-referrer"),)
_CHALLENGE = 'Bearer realm="stagedoor"'
CHALLENGE: Pairs = ((b"www-authenticate", _CHALLENGE.encode()),)
"""What every 401 carries (RFC 9110 §11.6.1)."""
_CALLBACK = b"/-/callback"
"""Its query holds a code, which is as good as a credential until it is used."""


def _helps_to_sign_in(error: InvalidCredential) -> bool:
    """Is the credential one that was good once, so that a new one is all that is missing?"""
    return error.code == "token-expired" or isinstance(error, InvalidSession | OutdatedSession | Revoked)


def who(caller: Caller) -> str:
    """The caller in words that they know, for a page that only they see."""
    known = sorted(caller.values("email")) or [caller.subject]
    return f"{known[0]} ({caller.issuer})"


def _hint(caller: Caller, asks_email: bool) -> str:
    """What in the caller's claims may be the reason for a refusal; "" for nothing."""
    if caller.groups_left_out:
        return GROUPS_LEFT_OUT
    return f" ({email_problem(caller)})" if asks_email and caller.values("email") and not caller.email else ""


def _path_at(url: str | None, origin: str) -> bytes | None:
    """The raw path of a URL of this site; None for another site's."""
    if url is None or not url.startswith(f"{origin}/"):
        return None
    return url.removeprefix(origin).partition("?")[0].encode()


def _without_referrer(headers: Pairs) -> Pairs:
    return tuple(field for field in headers if field[0] != b"referrer-policy")
