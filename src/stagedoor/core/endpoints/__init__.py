"""The site's own addresses, under `/-/`: one file for each, and the table that lists them.

Each endpoint is a flow like the door's own, so that the gateway and a Lambda function answer alike. The caller is
known by the same credentials as at the door, except passes, which open objects and nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..door import Door, Endpoint
from ..messages import Seal
from ..policy.decide import Policy
from ..policy.reach import Reach
from . import (
    backchannel_logout,
    callback,
    contents,
    cookies,
    explain,
    login,
    logout,
    openapi,
    renew,
    revocations,
    s3objects,
    urls,
    whoami,
)
from . import (
    session as session_,
)
from .issuing import Issuing
from .login import SignIn
from .revocations import Admins


def make_endpoints(
    policy: Policy,
    *,
    entropy: Callable[[int], bytes],
    seal: Seal,
    issuing: Issuing | None = None,
    listing: bool = True,
    catalogue: bool = False,
    clock: Callable[[], float] = lambda: 0.0,
    description: Callable[[Door], Mapping[str, object]] | None = None,
    sign_in: SignIn | None = None,
    admins: Admins | None = None,
    session: float = 0.0,
) -> Mapping[bytes, Endpoint]:
    """List what there is under `/-/`: path -> endpoint, for `Door`.

    Args:
        policy: decides about whole folders here, as the door does about single keys.
        entropy: returns that many random bytes.
        seal: hides the cursors of listings.
        issuing: issues passes; None: this site issues none.
        listing: the site has a store that can be listed.
        catalogue: the site has a catalogue.
        clock: seconds, to bound the work for one page of a listing.
        description: makes the OpenAPI document for a door; None: this site shows none.
        sign_in: signs people in; None: nobody can sign in here.
        admins: who may take access back; None: nobody.
        session: seconds that a session lasts.
    """
    reach = Reach(policy)
    return {
        b"/-/whoami": whoami.endpoint(),
        b"/-/explain": explain.endpoint(),
        b"/-/session": session_.endpoint(entropy),
        b"/-/login": login.endpoint(sign_in),
        b"/-/callback": callback.endpoint(sign_in, entropy),
        b"/-/renew": renew.endpoint(sign_in),
        b"/-/logout": logout.endpoint(sign_in),
        b"/-/backchannel-logout": backchannel_logout.endpoint(sign_in, session),
        b"/-/revocations": revocations.endpoint(admins),
        b"/-/s3objects": s3objects.endpoint(reach, seal, clock, active=listing),
        b"/-/urls": urls.endpoint(issuing),
        b"/-/cookies": cookies.endpoint(issuing, reach),
        b"/-/contents/": contents.endpoint(issuing, reach, active=catalogue),
        b"/-/openapi.json": openapi.endpoint(description),
    }
