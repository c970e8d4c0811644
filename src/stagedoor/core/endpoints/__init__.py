"""The site's own addresses, under `/-/`: one file for each, and the table that lists them.

Each endpoint is a flow like the door's own, so that the gateway and a Lambda function answer alike. The caller is
known by the same credentials as at the door, except passes, which open objects and nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..door import Door, Endpoint
from ..policy.decide import Policy
from ..policy.reach import Reach
from . import contents, cookies, explain, openapi, s3objects, session, urls, whoami
from .issuing import Issuing
from .s3objects import Seal


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
    """
    reach = Reach(policy)
    return {
        b"/-/whoami": whoami.endpoint(),
        b"/-/explain": explain.endpoint(),
        b"/-/session": session.endpoint(entropy),
        b"/-/s3objects": s3objects.endpoint(reach, seal, clock, active=listing),
        b"/-/urls": urls.endpoint(issuing),
        b"/-/cookies": cookies.endpoint(issuing, reach),
        b"/-/contents/": contents.endpoint(issuing, reach, active=catalogue),
        b"/-/openapi.json": openapi.endpoint(description),
    }
