"""What the core and its drivers say to each other.

A door turns what reached it into a `Request`. The core answers with a flow: a generator that yields a wish when it
needs something from outside (`Fetch` a URL, `List` keys, `Lookup` a content id), is sent the result, and returns
`Serve` or `Reply`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from .errors import without_credentials

T = TypeVar("T")

Headers: TypeAlias = Mapping[bytes, Sequence[bytes]]
"""Request header fields: lower-case name -> the values in the order they came, each field line on its own."""

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Response header fields, lower-case names."""


class Request(NamedTuple):
    """One HTTP request, as every door sees it.

    Attributes:
        method: as sent, case kept (methods are case-sensitive, RFC 9110 §9.1).
        path: the raw path of the request target, still percent-encoded, without `?` and what follows.
        query: the raw query, without the `?`.
        headers: see `Headers`.
        body: the content, for the few endpoints that take one.
        client: address of the client, as far as it can be trusted; "" where it is not known.
    """

    method: str
    path: bytes
    query: bytes
    headers: Headers
    body: bytes = b""
    client: str = ""


class Signpost(NamedTuple):
    """What pages for people say about the site.

    Attributes:
        name: its host, and its port if it has one of its own.
        home: path of its first page; "" if there is none to go to.
    """

    name: str
    home: str = ""


class Serve(NamedTuple):
    """The caller may have this object: fetch exactly `key` and send it.

    Attributes:
        key: the key that was authorised, and the only one that may be fetched.
        rule: name of the rule that allowed it, for the log.
        caller: `issuer:subject` for the log; "" for an anonymous caller.
        public: True if anyone may read it without signing in, so that shared caches may keep it.
        headers: header fields that go with the object (CORS, referrer policy).
        fallback: a key that this caller may read too and that stands in if `key` does not exist.
        until: epoch seconds at which the pass that opened it ends; no copy may be kept longer. None: no such end.
        signpost: for the page of a driver that cannot send the object.
    """

    key: str
    rule: str
    caller: str
    public: bool
    headers: Pairs = ()
    fallback: str | None = None
    until: int | None = None
    signpost: Signpost | None = None


class Reply(NamedTuple):
    """An answer that is complete without the store.

    Attributes:
        status: HTTP status code.
        headers: all header fields but Content-Length.
        body: the content; for HEAD the driver leaves it out and keeps its length.
        reason: short stable code for the log.
        caller: as in `Serve`.
    """

    status: int
    headers: Pairs
    body: bytes
    reason: str
    caller: str = ""


class Fetch(NamedTuple):
    """A wish for the content of a URL, which comes from the settings or an issuer's metadata and never from a token.

    Attributes:
        url: `https:` (or loopback `http:`) or `file:`. A redirect counts as a failure.
        timeout: seconds for the whole exchange.
        limit: bytes; a longer body counts as a failure.
        form: content of a POST, `application/x-www-form-urlencoded`; None: a GET.
        authorization: value of the header field of this name; "" for none.
        shared: those who send the same form at about the same time get one answer; without a form they always do.
    """

    url: str
    timeout: float = 5.0
    limit: int = 1_048_576
    form: bytes | None = None
    authorization: str = ""
    shared: bool = False

    def __repr__(self) -> str:
        """Without what may be secret: the query, the form and the authorization."""
        method = "GET" if self.form is None else "POST"
        return f"<Fetch {method} {without_credentials(self.url)}>"


class Fetched(NamedTuple):
    """The answer to a `Fetch`: a body, or `error` in words for a log line.

    A refused POST has both, because OAuth says in the body why (RFC 6749 §5.2).
    """

    body: bytes
    error: str = ""


class List(NamedTuple):
    """A wish for names of objects, in the order of their UTF-8 bytes.

    Attributes:
        prefix: what the keys start with; it may end within a segment.
        after: only names that sort after this one; "" for the first page.
        limit: how many names at most, from 1 to 1000.
        folders: True: keys with a slash after the prefix are grouped, one folder for each group.
    """

    prefix: str
    after: str = ""
    limit: int = 1000
    folders: bool = False


class Item(NamedTuple):
    """An object in a listing.

    Attributes:
        key: its name.
        etag: entity tag with its quotes.
        modified: epoch seconds.
        size: bytes.
        storage_class: as S3 names it.
    """

    key: str
    etag: str
    modified: float
    size: int
    storage_class: str = "STANDARD"


class Listed(NamedTuple):
    """The answer to a `List`.

    Attributes:
        found: objects, and folders as texts that end with a slash, in order. Names that no request can ask for are
            left out, and the log names them.
        resume: `after` of the next page; None if there is nothing more.
    """

    found: tuple[Item | str, ...]
    resume: str | None = None


class Lookup(NamedTuple):
    """A wish for the catalogue's entry of a content id."""

    id: str


class Content(NamedTuple):
    """An entry of the catalogue.

    Attributes:
        id: what applications call it; stays when the object moves.
        key: the object.
        title: for people; may be empty.
        content_type: media type; may be empty.
        attributes: what the application keeps with it.
    """

    id: str
    key: str
    title: str = ""
    content_type: str = ""
    attributes: Mapping[str, str] = {}


class Keep(NamedTuple):
    """A wish that something be remembered, for every gateway of the site.

    Attributes:
        name: what there is one entry of at a time.
        text: the content.
        ends: epoch seconds after which it may be forgotten.
    """

    name: str
    text: str
    ends: float


class Recall(NamedTuple):
    """A wish for what is remembered, from the oldest entry after a sequence number on."""

    after: int = 0


class Entry(NamedTuple):
    """Something remembered.

    Attributes:
        sequence: grows with every entry, and is given once.
        name, text, ends: as in `Keep`.
    """

    sequence: int
    name: str
    text: str
    ends: float


class Recalled(NamedTuple):
    """The answer to a `Recall`: entries in order, and whether there may be more."""

    found: tuple[Entry, ...]
    more: bool = False


Wish: TypeAlias = Fetch | List | Lookup | Keep | Recall
Answered: TypeAlias = Fetched | Listed | Content | Recalled | None

Flow: TypeAlias = Generator[Wish, Answered, T]
"""A conversation with the outside, written once; `drivers.run` and `drivers.arun` drive it.

A driver that cannot answer throws one of `stagedoor.core.errors` into the flow; a `Fetch` always has an answer.
"""


def fetch(wish: Fetch) -> Flow[Fetched]:
    """Ask for a URL."""
    answer = yield wish
    assert isinstance(answer, Fetched)
    return answer


def list_keys(wish: List) -> Flow[Listed]:
    """Ask for names of objects."""
    answer = yield wish
    assert isinstance(answer, Listed)
    return answer


def look_up(wish: Lookup) -> Flow[Content | None]:
    """Ask for an entry of the catalogue; None if there is no such id."""
    answer = yield wish
    assert answer is None or isinstance(answer, Content)
    return answer


def keep(wish: Keep) -> Flow[None]:
    """Have something remembered; a driver that cannot throws `StateUnavailable`."""
    yield wish


def recall(wish: Recall) -> Flow[Recalled]:
    """Ask for what is remembered."""
    answer = yield wish
    assert isinstance(answer, Recalled)
    return answer


def collect(pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Group header field lines by name; names must already be lower-case (as ASGI and HTTP/2 have them)."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        if name in fields:
            fields[name].append(value)
        else:
            fields[name] = [value]
    return fields


class Seal(Protocol):
    """Hides what a client keeps for us: nobody else can read or make what `seal` returns."""

    def seal(self, plain: str, purpose: str) -> str: ...

    def unseal(self, sealed: str, purpose: str) -> str | None:
        """What was sealed for this purpose; None for anything else."""
        ...
