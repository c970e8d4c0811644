"""Answers the wishes of flows, one after the other, with the standard library and the runtime's own botocore."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from ...catalogue import Catalogue, open_catalogue
from ...core.errors import CatalogueUnavailable, StagedoorError, StateUnavailable, StoreRefused, StoreUnavailable
from ...core.messages import Answered, Content, Fetch, Fetched, Keep, List, Listed, Lookup, Recall, Recalled, Wish
from ...outside import aws
from ...outside.fetch_sync import fetch
from ...outside.trust import context_for
from ...settings import Settings
from ...state.dynamodb import DynamoState
from ...state.port import PAGE
from ...store.s3_listing import Listing, limit_region_redirects, store_error

FETCH_WITHIN = 2.0
"""Seconds for an issuer to answer."""
ASK_WITHIN = 3.0
"""Seconds into a request after which AWS and issuers are asked nothing more. The last question may take another 8 s
(two attempts of 4 s at DynamoDB), so a function with a timeout of 15 s always gives an answer of its own.
"""

_KINDS = {
    List: StoreUnavailable,
    Lookup: CatalogueUnavailable,
    Keep: StateUnavailable,
    Recall: StateUnavailable,
}
"""Wish -> what is raised if it is not asked."""

_log = logging.getLogger("stagedoor")


class Outside:
    """Answers the wishes of a flow. Clients are made when they are first needed, and kept.

    Args:
        settings: for the store, the catalogue, the state and the region.

    Attributes:
        state: what the site remembers; None if it remembers nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ends, self._now = math.inf, 0.0
        self._s3: Any = None
        self._catalogue: Catalogue | None = None
        if settings.catalogue is not None:
            self._catalogue = open_catalogue(settings.catalogue, region=settings.aws_region)
        self.state: DynamoState | None = None
        if settings.state is not None:
            self.state = DynamoState(urlsplit(settings.state).netloc, region=settings.aws_region)

    def begin(self, now: float) -> None:
        """Start the time of a request, at `now` in epoch seconds."""
        self._ends, self._now = time.monotonic() + ASK_WITHIN, now

    def __call__(self, wish: Wish) -> Answered:
        late = time.monotonic() > self._ends
        if isinstance(wish, Fetch):
            if late:
                return Fetched(b"", "there was no time left to ask")
            return fetch(wish, min(wish.timeout, FETCH_WITHIN), context_for(self._settings.ca))
        try:
            if late:
                raise _KINDS[type(wish)](f"the request has taken {ASK_WITHIN:g} s already, so this was not asked")
            if isinstance(wish, Keep):
                self._remembering().put(wish.name, wish.text, wish.ends, self._now)
                return None
            if isinstance(wish, Recall):
                page = self._remembering().after(wish.after)
                return Recalled(tuple(page), len(page) >= PAGE)
            return self._listed(wish) if isinstance(wish, List) else self._found(wish.id)
        except StagedoorError as error:
            _log.error("%s: %s", error.code, error)
            raise

    def warm(self) -> None:
        """Make the S3 client, which takes a whole processor a tenth of a second; nothing is sent yet."""
        if (self._settings.store or "").startswith("s3:"):
            with contextlib.suppress(BotoCoreError, ValueError):  # the first listing reports it
                self._connected()

    def close(self) -> None:
        """Close the connections."""
        if self._s3 is not None:
            self._s3.close()
        if self._catalogue is not None:
            self._catalogue.close()
        if self.state is not None:
            self.state.close()

    def _remembering(self) -> DynamoState:
        if self.state is None:
            raise StateUnavailable("this site remembers nothing: [state] url is not set")
        return self.state

    def _found(self, content_id: str) -> Content | None:
        return None if self._catalogue is None else self._catalogue.find(content_id)

    def _listed(self, wish: List) -> Listed:
        parts = urlsplit(self._settings.store or "")
        prefix = parts.path.strip("/")
        listing = Listing(parts.netloc, f"{prefix}/" if prefix else "", wish)
        arguments = listing.arguments()
        if arguments is None:
            return Listed(())
        try:
            answer = self._connected().list_objects_v2(**arguments)
        except ClientError as error:
            raise store_error(aws.refusal(error), listing.subject) from error
        except NoCredentialsError as error:
            raise StoreRefused("there are no AWS credentials; does the function have a role?") from error
        except (BotoCoreError, ValueError) as error:
            raise StoreUnavailable(f"{listing.subject}: {type(error).__name__}: {error}") from error
        return listing.read(answer)

    def _connected(self) -> Any:
        if self._s3 is None:
            endpoint = self._settings.endpoint
            region = self._settings.region or ("us-east-1" if endpoint else None)
            style = self._settings.addressing
            addressing = {"addressing_style": "path" if endpoint and style == "auto" else style}
            self._s3 = aws.client(
                "s3", region, endpoint=endpoint, **aws.REQUEST_LIMITS, signature_version="s3v4", s3=addressing
            )
            self._s3.meta.events.register_last("before-parameter-build.s3", limit_region_redirects)
        return self._s3
