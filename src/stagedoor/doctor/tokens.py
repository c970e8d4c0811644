"""Questions about tokens: which count that must not."""

from __future__ import annotations

from collections.abc import Iterator

from . import forge
from .visit import Evidence, SkipError, Visit


def garbage(visit: Visit) -> Iterator[Evidence]:
    yield from visit.tokens_open([(f"the token {word!r}", word) for word in forge.GARBAGE])
    for value in ("", "Bearer", "Bearer ", "Basic YWRtaW46YWRtaW4=", "Negotiate x", "bearer null"):
        yield from visit.opened(visit.path, fields=(("Authorization", value),), said=f"Authorization: {value!r}")
    name = visit.subject.cookie
    yield from visit.opened(visit.path, fields=(("Cookie", f"{name}="),), said=f"an empty cookie {name!r}")


def signature(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.token
    signed = token if token and forge.read(token) else None
    yield from visit.tokens_open(forge.other_signatures(*visit.claims(), signed))


def no_algorithm(visit: Visit) -> Iterator[Evidence]:
    yield from visit.tokens_open(forge.unsigned(*visit.claims()))


def shared_secret(visit: Visit) -> Iterator[Evidence]:
    yield from visit.tokens_open(forge.hmac_signed(*visit.claims(), visit.subject.keys))


def key_tricks(visit: Visit) -> Iterator[Evidence]:
    yield from visit.tokens_open(forge.key_tricks(*visit.claims()))


def expired(visit: Visit) -> Iterator[Evidence]:
    assert visit.subject.expired is not None
    if forge.read(visit.subject.expired) and not forge.expired(visit.subject.expired):
        raise SkipError("the token given as expired has not: bring an older one")
    yield from visit.tokens_open([("an expired token", visit.subject.expired)])


def foreign(visit: Visit) -> Iterator[Evidence]:
    assert visit.subject.foreign is not None
    yield from visit.tokens_open([("a token for another application", visit.subject.foreign)])


def forged_session(visit: Visit) -> Iterator[Evidence]:
    name, session = visit.session or ("", "")
    if (parts := forge.read(session)) is None:
        raise SkipError("the site gave no session cookie that is a JWT")
    forged = [("its signature changed", forge.changed_end(session)), *forge.unsigned(*parts)]
    forged += forge.hmac_signed(*parts, ())
    for what, value in forged:
        visit.keep_secret(value)
        yield from visit.opened(visit.path, fields=(("Cookie", f"{name}={value}"),), said=f"a session, {what}")
