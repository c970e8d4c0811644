"""Most tests of the doctor ask a faulty site in their own process without the network, which takes half the time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stagedoor.doctor.wire import Wire
from tests.helpers import services
from tests.helpers.faulty_sites import FaultySite


class Direct:
    """As much of a connection as the doctor uses, to a site that answers each request at once."""

    def __init__(self, site: FaultySite) -> None:
        self._site, self._answer = site, io.BytesIO()

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, request: bytes) -> None:
        self._answer = io.BytesIO(self._site.answer(io.BytesIO(request)))

    def recv_into(self, buffer: bytearray) -> int:
        return self._answer.readinto(buffer)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken back is refused at once by a site without a fault; others have a clock of their own."""
    monkeypatch.setattr("stagedoor.doctor.taken_back.sleep", lambda _: None)


@pytest.fixture(autouse=True)
def _without_the_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the command ask over TCP all the same, and with CI=true every test does."""
    if "doctor" in request.fixturenames or services.must_be_here():
        return
    over_tcp = Wire._connection

    @contextmanager
    def connection(wire: Wire) -> Iterator[Any]:
        site = FaultySite.running.get(wire.origin.port)
        if site is None or wire.origin.scheme != "http":
            with over_tcp(wire) as connected:
                yield connected
        else:
            yield Direct(site)

    monkeypatch.setattr(Wire, "_connection", connection)
