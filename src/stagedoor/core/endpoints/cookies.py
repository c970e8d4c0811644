"""`POST /-/cookies`: signed cookies that open whole folders, a set for each folder's own path."""

from __future__ import annotations

from functools import partial

from .. import paths, replies
from ..caller import Caller
from ..door import Door, Endpoint
from ..errors import InvalidRequest
from ..messages import Flow, Pairs, Reply, Request
from ..policy.reach import Reach
from . import arguments
from .arguments import check_origin, json_body
from .issuing import Issuing, check_renewed, inactive
from .logout import remember_paths

MAX_PREFIXES = 8
"""Folders for which one answer sets cookies: three or four for each, and browsers keep 180 a site at most."""
MAX_PATH = 1024
"""Browsers ignore a longer Path, and the cookie would then not belong to the folder (RFC 6265bis §5.6)."""
MAX_BYTES = 32_768
"""Set-Cookie lines of one answer; proxies take less unless they are configured for it."""


def endpoint(issuing: Issuing | None, reach: Reach) -> Endpoint:
    return Endpoint(("POST",), partial(_answer, issuing, reach))


def folders_of(asked: object) -> list[str]:
    """Read the folders that cookies are wanted for, each with its slash; none may lie in another.

    Raises:
        InvalidRequest: anything else, and a folder whose name holds `*`: browsers ask for it as it is, and in a pass
            it would open others.
    """
    folders = arguments.folders(asked, most=MAX_PREFIXES, max_path=MAX_PATH)
    starred = next((folder for folder in folders if "*" in folder), None)
    if starred is not None:
        problem = f"no cookies can be made for {starred[:40]!r}, because '*' is a wildcard in them"
        raise InvalidRequest(f"{problem}; ask for /-/urls of single files", code="body")
    return folders


def _answer(issuing: Issuing | None, reach: Reach, door: Door, request: Request, now: float) -> Flow[Reply]:
    if issuing is None:
        return inactive(door, request)
    check_origin(door, request)
    caller, credential = yield from door.caller(request, now)
    check_renewed(door, caller, credential, now)
    asked = json_body(request, "prefix", "?expires_in")
    folders = folders_of(asked["prefix"])
    for folder in folders:
        if reach.below(caller, folder) != "all":
            return _refusal(reach, door, request, caller, folder)
    lifetime = issuing.lifetime(asked.get("expires_in", issuing.max_lifetime))
    refused = issuing.too_many(door, request, caller, now)
    if refused is not None:
        return refused
    spellings = [path for folder in folders for path in paths.spellings(folder)]
    if len({_path_of(path) for path in spellings}) < len(spellings):
        raise InvalidRequest("ask for folders with ';' in their names one at a time", code="body")
    fields = tuple(field for path in spellings for field in _set_cookies(issuing, door, path, lifetime, int(now)))
    if sum(len(value) for _, value in fields) > MAX_BYTES:
        raise InvalidRequest("the cookies of so many folders are too large for one answer", code="body")
    fields += remember_paths(door, request, [_path_of(path) for path in spellings])
    return Reply(204, (*replies.base_headers(), *fields), b"", "pass-issued", caller.label)


def _refusal(reach: Reach, door: Door, request: Request, caller: Caller, folder: str) -> Reply:
    if not caller.signed_in:
        return door.unauthorized(request, None)
    rule = reach.exception(caller, folder) if reach.below(caller, folder) == "some" else None
    why = f" ({rule.name} denies {rule.pattern!r})" if rule else ""
    detail = f"you may not read all of {folder!r}{why}; ask for /-/urls of single files"
    return door.problem(request, 403, "denied", detail, caller=caller.label)


def _path_of(path: str) -> str:
    """The Path of a folder's cookies: the folder, or the one around it, because a `;` would end the attribute."""
    around, semicolon, _ = path.partition(";")
    return (around.rpartition("/")[0] or "/") if semicolon else path


def _set_cookies(issuing: Issuing, door: Door, path: str, lifetime: int, now: int) -> Pairs:
    secure = "; Secure" if door.site.url.startswith("https:") else ""
    attributes = f"Path={_path_of(path)}; Max-Age={lifetime}; HttpOnly; SameSite=Lax{secure}"
    signed = issuing.signer.cookies(f"{door.site.url}{path}*", now + lifetime)
    return tuple((b"set-cookie", f"{name}={value}; {attributes}".encode()) for name, value in signed.items())
