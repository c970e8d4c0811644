"""Questions about tokens: which count that must not."""

from __future__ import annotations

from collections.abc import Iterator

from . import forge
from .visit import Evidence, SkipError, Visit
from .wire import Fields

_TOO_LONG = "x" * 17_000
_ODD_FIELDS: tuple[Fields, ...] = (
    *((("Authorization", value),) for value in ("", "Bearer", "Bearer ", "Basic YWRtaW46YWRtaW4=", "Negotiate x")),
    (("Authorization", "bearer null"),),
    (("Authorization", f"Bearer {_TOO_LONG}"),),
    (("Authorization", "Bearer x"), ("Authorization", "Bearer y")),
)


def garbage(visit: Visit) -> Iterator[Evidence]:
    yield from visit.tokens_open([(f"the token {word!r}", word) for word in forge.GARBAGE])
    name = visit.subject.cookie
    for fields in (*_ODD_FIELDS, (("Cookie", f"{name}="),)):
        said = "; ".join(f"{field}: {value!r}" for field, value in fields).replace(_TOO_LONG, "x…, 17 KB")
        yield from visit.opened(visit.path, fields=fields, said=said)


def signature(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.token
    signed = token if token and forge.read(token) else None
    yield from visit.tokens_open(forge.other_signatures(*visit.claims(), signed))


def no_algorithm(visit: Visit) -> Iterator[Evidence]:
    yield from visit.tokens_open(forge.unsigned(*visit.claims()))


def shared_secret(visit: Visit) -> Iterator[Evidence]:
    header, claims = visit.claims()
    keys = visit.subject.keys
    keys = tuple(key for key in keys if key.get("kid") == header.get("kid")) or keys[:2]
    yield from visit.tokens_open(forge.hmac_signed(header, claims, keys))
    if not any(spelling for key in keys for spelling in forge.spelled(key)):
        raise SkipError(
            "no public key of the provider is known that could be tried, only guessable words were: "
            "--jwks FILE, or --settings FILE"
        )


def key_tricks(visit: Visit) -> Iterator[Evidence]:
    yield from visit.tokens_open(forge.key_tricks(*visit.claims()))


def expired(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.expired
    assert token is not None
    if forge.read(token) and not forge.expired(token):
        raise SkipError("the token given as expired has not: bring an older one")
    yield from visit.tokens_open([("an expired token", token)])
    _of_the_owner(visit, token)


def foreign(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.foreign
    assert token is not None
    if forge.expired(token):
        raise SkipError("the token for another application has expired: bring a new one")
    yield from visit.tokens_open([("a token for another application", token)])
    _of_the_owner(visit, token)


def _of_the_owner(visit: Visit, token: str) -> None:
    """See that a refusal shows something: whoever may not read the object is refused with any token.

    Raises:
        SkipError: it does not.
    """
    if forge.same_person(visit.subject.token, token) is False:
        raise SkipError(
            "it was refused, and shows nothing, for it is of another person than --token: bring one of theirs"
        )


def forged_session(visit: Visit) -> Iterator[Evidence]:
    name, session = visit.session or ("", "")
    if (parts := forge.read(session)) is None:
        raise SkipError("the site gave no session cookie that is a JWT")
    forged = [("its signature changed", forge.changed_end(session)), *forge.unsigned(*parts)]
    forged += forge.hmac_signed(*parts, ())
    for what, value in forged:
        visit.keep_secret(value)
        yield from visit.opened(visit.path, fields=(("Cookie", f"{name}={value}"),), said=f"a session, {what}")
