"""Servers that several of the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.oidc import Provider


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """An OpenID provider with its first key."""
    provider = Provider(tmp_path_factory.mktemp("provider"))
    provider.start("key-1")
    yield provider
    provider.stop()
