"""Servers that several of the end-to-end tests share."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator

import pytest

from tests.helpers import engines
from tests.helpers.engines import Engine, Profile
from tests.helpers.oidc import Provider
from tests.helpers.sign_in_matrix import Cell
from tests.helpers.stages import Stage


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """An OpenID provider with its first key."""
    provider = Provider(tmp_path_factory.mktemp("provider"))
    provider.start("key-1")
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Engine]]:
    """Starts each engine when it is first asked for."""
    started: dict[tuple[str, bool], Engine] = {}

    def get(name: str, *, cookies: bool = True) -> Engine:
        cookies = cookies or name == "chromium"
        if (name, cookies) not in started:
            started[name, cookies] = engines.start(name, tmp_path_factory.mktemp(name), cookies=cookies)
        return started[name, cookies]

    yield get
    for one in started.values():
        one.stop()


@pytest.fixture(scope="module")
def stages(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, engine: Callable[..., Engine]
) -> Iterator[Callable[[Cell], Stage]]:
    """Makes each stage of a module, which says of what class they are, when it is first asked for."""
    made: dict[Cell, Stage] = {}

    def get(cell: Cell) -> Stage:
        if cell not in made:
            made[cell] = request.module.STAGE(cell, tmp_path_factory.mktemp(cell.provider), engine)
        return made[cell]

    yield get
    for stage in made.values():
        stage.close()


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, stages: Callable[[Cell], Stage], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The stage of a cell. Thirty tabs have the browsers to themselves: beside them others would wait for minutes."""
    alone = request.node.originalname == "test_thirty_tabs"
    with (tmp_path_factory.getbasetemp().parent / "browsers.lock").open("w") as lock:  # of all workers
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield stages(request.param)


@pytest.fixture
def profile(stage: Stage) -> Iterator[Profile]:
    profile = stage.profile()
    yield profile
    profile.close()
