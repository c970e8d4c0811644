"""Questions about tokens and sessions that must not be accepted."""

from __future__ import annotations

from collections.abc import Iterator

from . import forge
from .evidence import Evidence, SkipError
from .visit import Visit
from .wire import Fields

_TOO_LONG = "x" * 17_000
_ODD_FIELDS: tuple[Fields, ...] = (
    *((("Authorization", value),) for value in ("", "Bearer", "Bearer ", "Basic YWRtaW46YWRtaW4=", "Negotiate x")),
    (("Authorization", "bearer null"),),
    (("Authorization", f"Bearer {_TOO_LONG}"),),
    (("Authorization", "Bearer x"), ("Authorization", "Bearer y")),
)


def garbage_token(visit: Visit) -> Iterator[Evidence]:
    yield from visit.try_tokens((f"the token {word!r}", word) for word in forge.GARBAGE)
    for fields in (*_ODD_FIELDS, (("Cookie", f"{visit.subject.cookie}="),)):
        detail = "; ".join(f"{name}: {value!r}" for name, value in fields).replace(_TOO_LONG, "x…, 17 KB")
        yield from visit.try_open(visit.path, fields=fields, detail=detail)


def signature(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.token
    signed = token if token and forge.decode(token) else None
    yield from visit.try_tokens(forge.other_signatures(*visit.claims_to_forge(), signed))


def alg_none(visit: Visit) -> Iterator[Evidence]:
    yield from visit.try_tokens(forge.unsigned(*visit.claims_to_forge()))


def hmac_key(visit: Visit) -> Iterator[Evidence]:
    header, claims = visit.claims_to_forge()
    keys = visit.subject.keys
    keys = tuple(key for key in keys if key.get("kid") == header.get("kid")) or keys[:2]
    yield from visit.try_tokens(forge.hmac_signed(header, claims, keys))
    if not any(form for key in keys for form in forge.encodings(key)):
        raise SkipError(
            "only guessable words were tried, because no public key of the provider is known: "
            "--jwks FILE, or --settings FILE"
        )


def key_tricks(visit: Visit) -> Iterator[Evidence]:
    yield from visit.try_tokens(forge.key_tricks(*visit.claims_to_forge()))


def expired(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.expired
    assert token is not None
    if forge.decode(token) and not forge.expired(token):
        raise SkipError("the expired token has not expired: give an older one")
    yield from visit.try_tokens([("an expired token", token)])
    _check_owner(visit, token)


def audience(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.foreign
    assert token is not None
    if forge.expired(token):
        raise SkipError("the token for another application has expired: give a new one")
    yield from visit.try_tokens([("a token for another application", token)])
    _check_owner(visit, token)


def _check_owner(visit: Visit, token: str) -> None:
    """A refusal proves nothing if the token is not the owner's: others are refused with any token.

    Raises:
        SkipError: the token is of another person.
    """
    if forge.same_person(visit.subject.token, token) is False:
        raise SkipError("it was refused, which proves nothing: it is not a token of the same person as --token")


def session_forged(visit: Visit) -> Iterator[Evidence]:
    name, session = visit.session or ("", "")
    if (parts := forge.decode(session)) is None:
        raise SkipError("the site issued no session cookie that is a JWT")
    forged = [("its signature changed", forge.with_changed_signature(session)), *forge.unsigned(*parts)]
    forged += forge.hmac_signed(*parts, ())
    for what, value in forged:
        visit.secrets.add(value)
        yield from visit.try_open(visit.path, fields=(("Cookie", f"{name}={value}"),), detail=f"a session, {what}")
