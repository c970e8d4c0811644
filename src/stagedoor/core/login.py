"""Sign-in at an issuer: the authorization code flow of OpenID Connect with PKCE, as a relying party.

`Login` asks an issuer where its endpoints are, makes the address that starts a sign-in, trades the code that comes
back for an id token, and says who that is. What the browser keeps meanwhile is in `attempts`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import quote_plus, urlencode

from .attempts import Attempt, tag
from .caller import Caller
from .errors import InvalidToken, IssuerUnavailable, LoginFailed, Unavailable
from .issuers import COOL_DOWN, DISCOVERY_MAX_AGE, Issuer, discover, endpoint, is_cognito
from .jose import Jws, json_object, split
from .messages import Fetch, Fetched, Flow, Wish, fetch
from .tokens import Tokens, check_claims, check_identifiers, check_signature, number_of_seconds

T = TypeVar("T")

WITHIN = 5.0
"""Seconds for all that one sign-in asks of an issuer."""
LEEWAY = 60.0
"""Seconds of clock difference that are forgiven at sign-in: the token was made a moment ago."""
MAX_ANSWER_BYTES = 262_144
MAX_HINT = 4096
"""Bytes of an id token that is repeated in an address."""
MAX_ID_TOKEN_BYTES = 65_536
"""More than clients may bring, because the issuer alone makes us read it, and some people are in 500 groups."""
_ID_TOKEN_TYPES = ("", "jwt", "application/jwt")
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
PASSING = ("temporarily_unavailable", "server_error")
"""Errors of an issuer that has not judged the code (RFC 6749 §4.1.2.1)."""
CALLBACK, LOGOUT = "/-/callback", "/-/logout"


class Client(NamedTuple):
    """This site as it is registered at one issuer.

    Attributes:
        issuer: where people sign in.
        id: `client_id`.
        secret: "" for a public client.
        scopes: what is asked for.
    """

    issuer: Issuer
    id: str
    secret: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")

    def __repr__(self) -> str:
        return f"Client({self.issuer.url!r}, {self.id!r})"


class Metadata(NamedTuple):
    """What an issuer says about its endpoints (OpenID Connect Discovery 1.0 §3).

    Attributes:
        authorization, token: URLs of the endpoints.
        end_session: URL of the one for sign-out (RP-Initiated Logout 1.0 §2.1); "" if there is none.
        methods: how clients may prove who they are at the token endpoint.
        names_itself: its answers carry `iss` (RFC 9207 §3).
    """

    authorization: str
    token: str
    end_session: str = ""
    methods: tuple[str, ...] = ("client_secret_basic",)
    names_itself: bool = False


class SignedIn(NamedTuple):
    """Who has signed in.

    Attributes:
        caller: by the claims of the id token.
        op_sid: the issuer's name of its own session; "" if it gives none.
        auth_time: when they proved who they are, in epoch seconds; None if the issuer does not say.
        refresh_token: with which the issuer can be asked again; "" if it gives none.
        id_token: that says so.
    """

    caller: Caller
    op_sid: str = ""
    auth_time: int | None = None
    refresh_token: str = ""
    id_token: str = ""

    def __repr__(self) -> str:
        return f"SignedIn({self.caller!r})"


class Login:
    """Signs people in at issuers.

    Args:
        site: the site's origin.
        clients: the site at each issuer where people can sign in.
        tokens: has the keys of these issuers.
        clock: seconds, to bound what a sign-in may take.
    """

    def __init__(self, site: str, clients: Sequence[Client], tokens: Tokens, clock: Callable[[], float]) -> None:
        self.clients = {tag(client.issuer.url): client for client in clients}
        self._site, self._tokens, self._clock = site, tokens, clock
        self._known = {client.issuer.url: _Known(client.issuer) for client in clients}

    def address(self, client: Client, attempt: Attempt, state: str, extra: Mapping[str, str], now: float) -> Flow[str]:
        """Make the URL at which a sign-in begins (OpenID Connect Core 1.0 §3.1.2.1, RFC 7636 §4.3).

        Args:
            client: at which issuer.
            attempt, state: from `Attempts.begin`.
            extra: further parameters (`prompt`, …).
            now: epoch seconds.

        Raises:
            IssuerUnavailable: the issuer does not say where.
        """
        metadata = yield from self._in_time(self._known[client.issuer.url].metadata(now))
        return _with_query(
            metadata.authorization,
            {
                "response_type": "code",
                "response_mode": "query",
                "client_id": client.id,
                "redirect_uri": self._site + CALLBACK,
                "scope": " ".join(client.scopes),
                "state": state,
                "nonce": attempt.nonce,
                "code_challenge": attempt.challenge,
                "code_challenge_method": "S256",
                **extra,
            },
        )

    def redeem(self, client: Client, attempt: Attempt, answer: Mapping[str, str], now: float) -> Flow[SignedIn]:
        """Find out who came back from the issuer.

        Args:
            client: at which issuer.
            attempt: that came back.
            answer: `code`, `iss`, `error` and `error_description`, as far as they were in the query.
            now: epoch seconds.

        Raises:
            LoginFailed: nobody has signed in; the message says why.
            Unavailable: the issuer could not be asked.
        """
        return (yield from self._in_time(self._redeem(client, attempt, answer, now)))

    def renew(self, client: Client, refresh_token: str, now: float) -> Flow[SignedIn | None]:
        """Ask an issuer again who somebody is (OpenID Connect Core 1.0 §12).

        Args:
            client: at which issuer.
            refresh_token: from it; an issuer that rotates them takes each once.
            now: epoch seconds.

        Returns:
            Who they are; the caller of this compares that with who they were. The refresh token is the one to keep.
            None: the token does not count any more, or brings no id token.

        Raises:
            LoginFailed: the answer does not count.
            Unavailable: the issuer could not be asked.
        """
        return (yield from self._in_time(self._renew(client, refresh_token, now)))

    def _redeem(self, client: Client, attempt: Attempt, answer: Mapping[str, str], now: float) -> Flow[SignedIn]:
        metadata = yield from self._known[client.issuer.url].metadata(now)
        _check_response(client.issuer, metadata, answer)
        yield from self._have_keys(client.issuer, now)
        form = {  # OpenID Connect Core 1.0 §3.1.3.1, RFC 7636 §4.5
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": self._site + CALLBACK,
            "code_verifier": attempt.verifier,
        }
        tokens = _read_tokens((yield from fetch(_token_request(client, metadata, form))), metadata.token)
        if "id_token" not in tokens:
            problem = "the issuer's answer has no id token; the scopes of [login] must hold openid"
            raise LoginFailed(problem, code="login-answer")
        return (yield from self._signed_in(client, tokens, now, nonce=attempt.nonce, c_hash=answer["code"]))

    def _renew(self, client: Client, refresh_token: str, now: float) -> Flow[SignedIn | None]:
        metadata = yield from self._known[client.issuer.url].metadata(now)
        yield from self._have_keys(client.issuer, now)  # a token that is spent for an answer nobody can check is lost
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        fetched = yield from fetch(_token_request(client, metadata, form, shared=True))
        try:
            tokens = _read_tokens(fetched, metadata.token)
        except LoginFailed as error:
            if error.code == "login-code":
                return None
            raise
        if "id_token" not in tokens:
            return None
        signed_in = yield from self._signed_in(client, tokens, now)
        return signed_in._replace(refresh_token=signed_in.refresh_token or refresh_token)

    def _signed_in(
        self, client: Client, tokens: Mapping[str, str], now: float, *, nonce: str = "", c_hash: str = ""
    ) -> Flow[SignedIn]:
        """Who a token answer is about. That to a refresh has neither nonce nor code (OpenID Connect Core 1.0 §12.2)."""
        try:
            jws = split(tokens["id_token"], MAX_ID_TOKEN_BYTES)
            claims = yield from self._id_token(client, jws, now)
            _check_binding(client, nonce, claims)
            hashed = {"at_hash": tokens.get("access_token", ""), **({"c_hash": c_hash} if c_hash else {})}
            _check_hashes(jws.algorithm, claims, hashed)
            auth_time = None if claims.get("auth_time") is None else number_of_seconds(claims, "auth_time")
        except InvalidToken as error:
            if error.code in ("token-expired", "token-early"):  # it is new, so a clock must be wrong
                raise _clocks(str(error)) from error
            raise LoginFailed(f"the issuer's id token does not count: {error}", code="login-token") from error
        issuer = client.issuer
        caller = Caller(issuer.name or issuer.url, issuer.url, claims, issuer.claims)
        if not caller.subject:
            raise LoginFailed("the issuer does not say who has signed in (sub)", code="login-token")
        op_sid = claims.get("sid")
        return SignedIn(
            caller,
            op_sid if isinstance(op_sid, str) else "",
            None if auth_time is None else int(auth_time),
            tokens.get("refresh_token", ""),
            tokens["id_token"],
        )

    def _have_keys(self, issuer: Issuer, now: float) -> Flow[None]:
        """Fetch the issuer's keys if there are none: without them no id token counts, and no code is traded twice."""
        keys = self._tokens.issuers[issuer.url]
        if not keys.keys:
            yield from keys.refresh(now)
        if not keys.keys:
            raise IssuerUnavailable(keys.failure)

    def _id_token(self, client: Client, jws: Jws, now: float) -> Flow[Mapping[str, object]]:
        """The claims of an id token that is for this site (OpenID Connect Core 1.0 §3.1.3.7)."""
        issuer = client.issuer
        if str(jws.header.get("typ", "")).lower() not in _ID_TOKEN_TYPES or jws.algorithm not in issuer.algorithms:
            raise LoginFailed("the id token's typ or alg is not accepted (algorithms)", code="login-token")
        yield from check_signature(jws, self._tokens.issuers[issuer.url], now, is_new=True)
        claims = json_object(jws.payload, "payload")
        uses = frozenset(("id",)) if issuer.token_use else frozenset[str]()
        here = issuer._replace(audience=frozenset((client.id,)), token_use=uses, leeway=max(LEEWAY, issuer.leeway))
        check_claims(claims, here, now)
        check_identifiers(claims, issuer.claims)
        made = number_of_seconds(claims, "iat")
        if made is None:
            raise LoginFailed("the id token has no iat", code="login-token")
        if made > now + here.leeway:
            raise _clocks(f"the id token is made {math.ceil(made - now)} s from now")
        return claims

    def end_session(self, client: Client, now: float, *, refresh_token: str = "") -> Flow[str]:
        """Make the URL that ends the session at the issuer; "" if it has none, or cannot be asked.

        Source: OpenID Connect RP-Initiated Logout 1.0 §2; for Cognito its "Logout endpoint".

        Args:
            client: at which issuer.
            now: epoch seconds.
            refresh_token: is spent for an id token that says whose session it is; without one some issuers ask.
        """
        try:
            metadata = yield from self._in_time(self._known[client.issuer.url].metadata(now))
        except Unavailable:
            return ""
        if not metadata.end_session:
            return ""
        asked = {"client_id": client.id}
        if is_cognito(client.issuer.url):
            return _with_query(metadata.end_session, {**asked, "logout_uri": self._site + LOGOUT})
        hint = (yield from self._hint(client, refresh_token, now)) if refresh_token else {}
        back = {"post_logout_redirect_uri": self._site + LOGOUT}
        return _with_query(metadata.end_session, {**asked, **hint, **back})

    def _hint(self, client: Client, refresh_token: str, now: float) -> Flow[Mapping[str, str]]:
        try:
            found = yield from self.renew(client, refresh_token, now)
        except (LoginFailed, Unavailable):
            return {}
        return {"id_token_hint": found.id_token} if found and len(found.id_token) <= MAX_HINT else {}

    def _in_time(self, flow: Flow[T]) -> Flow[T]:
        """The same flow, all of whose fetches together take no longer than `WITHIN`."""
        ends = self._clock() + WITHIN
        answer = None
        try:
            wish: Wish = next(flow)
            while True:
                if isinstance(wish, Fetch):
                    left = ends - self._clock()
                    wish = wish._replace(timeout=min(wish.timeout, left))
                    answer = (yield wish) if left > 0 else Fetched(b"", "no answer in time")
                else:
                    answer = yield wish
                wish = flow.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            flow.close()


class _Known:
    """The metadata of one issuer: asked for again when they are old, and once in a cool-down at most."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._metadata: Metadata | None = None
        self._loaded = self._asked = -math.inf
        self._asking = 0
        self._failure = ""

    def metadata(self, now: float) -> Flow[Metadata]:
        """The metadata; the last good ones if newer ones cannot be had.

        Raises:
            IssuerUnavailable: there are none.
        """
        recent = 0 <= now - self._loaded < DISCOVERY_MAX_AGE
        if not recent and (self._asking or not 0 <= now - self._asked < COOL_DOWN):
            yield from self._ask(now)
        if self._metadata is None:
            raise IssuerUnavailable(self._failure)
        return self._metadata

    def _ask(self, now: float) -> Flow[None]:
        self._asked = now
        self._asking += 1
        within = WITHIN if self._metadata is None else WITHIN / 2  # what is known will do; the code must be traded, too
        try:
            document = yield from discover(self._issuer, within)
            self._metadata = read_metadata(document, self._issuer)
            self._loaded, self._failure = now, ""
        except IssuerUnavailable as error:
            self._failure = f"issuer {self._issuer.url}: {error}"
        except GeneratorExit:  # a client that goes away must not close sign-in to the next one
            self._asked = -math.inf
            raise
        finally:
            self._asking -= 1


def read_metadata(document: Mapping[str, object], issuer: Issuer) -> Metadata:
    """Read what sign-in needs of a discovery document.

    Raises:
        IssuerUnavailable: an endpoint is missing, or is no https address.
    """
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Metadata(
        endpoint(document, "authorization_endpoint", issuer),
        endpoint(document, "token_endpoint", issuer),
        endpoint(document, "end_session_endpoint", issuer) if document.get("end_session_endpoint") else "",
        tuple(filter(_is_text, methods)) if isinstance(methods, list) else (),
        document.get("authorization_response_iss_parameter_supported") is True,
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}"


# --- what comes back


def _check_response(issuer: Issuer, metadata: Metadata, answer: Mapping[str, str]) -> None:
    """Check the answer to the authorization request (RFC 6749 §4.1.2, RFC 9207 §2.4)."""
    named = answer.get("iss")
    if named != issuer.url if named is not None else metadata.names_itself:
        raise LoginFailed("the answer does not come from the issuer that was asked (iss)", code="login-issuer")
    error = answer.get("error")
    if error is not None:
        said = answer.get("error_description", "")
        problem = f"{issuer.name or issuer.url} says: {shown(error)}" + (f" ({shown(said)})" if said else "")
        raise LoginFailed(problem, code="login-refused")
    if not answer.get("code"):
        raise LoginFailed("the answer holds neither a code nor an error", code="login-answer")


def shown(text: str) -> str:
    """What a stranger wrote, for a message: one line, and not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= 200 else f"{plain[:200]}…"


def _token_request(client: Client, metadata: Metadata, form: dict[str, str], *, shared: bool = False) -> Fetch:
    """Ask the token endpoint, and prove which client asks (RFC 6749 §2.3.1)."""
    authorization = ""
    if client.secret and _by_basic(client, metadata):
        pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"  # RFC 6749 §2.3.1, Appendix B
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form["client_id"] = client.id
        if client.secret:
            form["client_secret"] = client.secret
    content = urlencode(form).encode()
    return Fetch(metadata.token, WITHIN, MAX_ANSWER_BYTES, content, authorization, shared)


def _by_basic(client: Client, metadata: Metadata) -> bool:
    """Prove who we are by Basic? Not if an issuer could misread its encoding, and takes the other way too."""
    if "client_secret_post" not in metadata.methods:
        return True
    is_plain = quote_plus(client.id + client.secret) == client.id + client.secret
    return "client_secret_basic" in metadata.methods and is_plain


def _read_tokens(fetched: Fetched, url: str) -> Mapping[str, str]:
    """The texts of a token answer (RFC 6749 §5.1)."""
    try:
        answer = json_object(fetched.body, "token answer")
    except InvalidToken:
        answer = None
    texts = {name: value for name, value in (answer or {}).items() if isinstance(value, str)}
    error, said = texts.get("error"), texts.get("error_description")
    if error is not None and error not in PASSING:
        why = shown(error) + (f": {shown(said)}" if said else "")
        if error in ("invalid_client", "unauthorized_client"):
            problem = f"the issuer does not accept this site's client id or secret ({why})"
            raise LoginFailed(f"{problem}; the owner of this site must look", code="login-client")
        raise LoginFailed(f"the issuer does not accept the code ({why})", code="login-code")
    if fetched.error or error is not None:
        raise IssuerUnavailable(f"{url}: {fetched.error or error}")
    if answer is None:
        raise LoginFailed("the issuer's answer is not JSON as it should be", code="login-answer")
    return texts


def _check_binding(client: Client, nonce: str, claims: Mapping[str, object]) -> None:
    """Check that an id token is of this sign-in, and for this client (OpenID Connect Core 1.0 §3.1.3.7).

    Args:
        client: that asked.
        nonce: of the sign-in; "" where the client proved itself with a refresh token.
        claims: of the id token.
    """
    found = claims.get("nonce")
    if nonce and (not isinstance(found, str) or not hmac.compare_digest(_octets(found), _octets(nonce))):
        raise LoginFailed("the id token is of another sign-in (nonce)", code="login-token")
    audience, party = claims.get("aud"), claims.get("azp")
    several = isinstance(audience, list) and len(audience) > 1
    if party != client.id if party is not None else several:
        raise LoginFailed("the id token was issued to another client (azp)", code="login-token")


def _check_hashes(algorithm: str, claims: Mapping[str, object], texts: Mapping[str, str]) -> None:
    """Check that an id token belongs to what it came with, as far as it says so (OpenID Connect Core 1.0 §3.1.3.8).

    Args:
        algorithm: of the id token.
        claims: of the id token.
        texts: name of the claim -> what it is the hash of.
    """
    for name, text in texts.items():
        stated = claims.get(name)
        if stated is not None and stated != _half_hash(algorithm, text):
            raise LoginFailed(f"the id token was issued with another token or code ({name})", code="login-token")


def _half_hash(algorithm: str, text: str) -> str:
    """`at_hash`, `c_hash`: the left half of a digest by the id token's algorithm (OpenID Connect Core 1.0 §3.1.3.6)."""
    digest = _HASHES.get(algorithm[2:], hashlib.sha512)(_octets(text)).digest()  # EdDSA, with Ed25519: SHA-512
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _octets(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # JSON can hold half a character


def _clocks(evidence: str) -> LoginFailed:
    problem = f"the clocks of this site and of the issuer differ ({evidence})"
    return LoginFailed(f"{problem}; the owner of this site must set them", code="login-clock")
