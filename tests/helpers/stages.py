"""A stage for the browser tests: one identity provider, sites that sign people in there, and a browser engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.helpers import providers, sign_in_matrix
from tests.helpers.engines import Engine, Profile, Tab, until
from tests.helpers.providers import IdentityProvider
from tests.helpers.servers import HOST, Gateway, free_port
from tests.helpers.sign_in_matrix import Cell

STATUS = "fetch({}, {{cache: 'force-cache'}}).then(answer => answer.status)"
WAITING = """<!doctype html><title>waiting</title><p>waiting<script>
  new BroadcastChannel('tabs').onmessage = () => { location.href = `/users/ann/${location.hash.slice(1)}.html`; };
</script>"""
"""A page that goes, at a word, to the page of ann whose number stands behind its `#`."""
GO = "void new BroadcastChannel('tabs').postMessage('go')"
PICTURES = 30
SECONDS_OF_PICTURES = 6
LOADING = """<!doctype html><title>pictures</title><p>Ann's pictures</p><p id=said></p><a href="0.html">on</a><script>
  const seen = {shown: 0, refused: 0};
  function count(what) {
    seen[what]++;
    document.getElementById('said').textContent = `shown ${seen.shown}, refused ${seen.refused}`;
  }
  for (let n = 0; n < $PICTURES; n++) setTimeout(() => {
    const picture = new Image();
    picture.onload = () => count('shown');
    picture.onerror = () => count('refused');
    picture.src = `p${n}.png`;
    document.body.append(picture);
  }, n * $EVERY);
</script>"""


def pictures_page() -> bytes:
    """A page that shows pictures, one after the other, and counts them."""
    every = SECONDS_OF_PICTURES * 1000 // PICTURES
    return LOADING.replace("$PICTURES", str(PICTURES)).replace("$EVERY", str(every)).encode()


def counts(said: str) -> tuple[int, int]:
    """How many pictures the page of pictures shows, and how many were refused."""
    words = said.replace(",", "").split()
    if "shown" not in words:
        return 0, 0
    return int(words[words.index("shown") + 1]), int(words[words.index("refused") + 1])


class Stage:
    """One provider, the sites that sign people in there, and a browser engine.

    Args:
        cell: which provider and engine.
        folder: of its own.
        engine: starts an engine.

    Attributes:
        KINDS: names of the sites.
        SETTINGS: of all of them, with `$SITE`, `$MORE` (for `[site]`), `$ISSUER`, `$SCOPES` and `$TLS`.
    """

    KINDS: ClassVar[Sequence[str]] = ("main",)
    SETTINGS: ClassVar[str]

    def __init__(self, cell: Cell, folder: Path, engine: Callable[..., Engine]) -> None:
        self.cell, self.folder, self._engine = cell, folder, engine
        self._ports = {kind: free_port() for kind in self.KINDS}
        self._gateways: dict[str, Gateway] = {}
        scheme = "https" if cell.provider == "cognito-local" else "http"
        self._origins = {kind: f"{scheme}://{HOST}:{port}" for kind, port in self._ports.items()}
        self.provider: IdentityProvider = providers.make(cell.provider, folder, [*self._origins.values()])
        self.provider.surroundings = self.env("provider")
        self.provider.start("key-1")
        for name, content in self.files():
            path = folder / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """What the sites show."""
        raise NotImplementedError

    def settings(self, kind: str, text: str) -> str:
        """The settings of one site, made of those of all."""
        return text

    def env(self, kind: str) -> Mapping[str, str]:
        """Environment of a site, or of the `provider`."""
        return {}

    def site(self, kind: str = "main") -> Gateway:
        """A gateway, which is started when it is first asked for."""
        if kind not in self._gateways:
            text = self.SETTINGS.replace("$SITE", self._origins[kind])
            text = text.replace("$MORE", self.provider.site).replace("$ISSUER", self.provider.settings)
            text = text.replace("$TLS", self.provider.tls)
            text = text.replace("$SCOPES", json.dumps([*self.provider.scopes]))
            env = {**self.provider.env, **self.env(kind)}
            self._gateways[kind] = Gateway(self.folder, self.settings(kind, text), env=env, port=self._ports[kind])
            self._gateways[kind].url = self._origins[kind]
        return self._gateways[kind]

    def profile(self, *, cookies: bool = True) -> Profile:
        return self._engine(self.cell.engine, cookies=cookies).profile()

    def sign_in(self, tab: Tab, url: str, person: str = "ann") -> None:
        """Ask for a page of the site, and sign in at the form that comes instead."""
        tab.goto(url)
        self.answer_form(tab, person)

    def answer_form(self, tab: Tab, person: str = "ann") -> None:
        until(tab, lambda: self.provider.asks(tab), "the provider's form")
        self.provider.sign_in(tab, person)

    def close(self) -> None:
        for gateway in self._gateways.values():
            gateway.stop()
        self.provider.stop()


def faketime() -> dict[str, str]:
    """Environment of a program whose clock `FAKETIME` or `FAKETIME_TIMESTAMP_FILE` may set."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def session_name(site: Gateway) -> str:
    return "__Host-stagedoor" if site.url.startswith("https") else f"stagedoor-{site.url.rpartition(':')[2]}"


def asked(gateway: Gateway) -> list[Mapping[str, Any]]:
    """The lines of a gateway's access log."""
    return [json.loads(line) for line in gateway.out.splitlines() if line.startswith("{")]


# --- what runs where

NEEDS = {"chromium": ("chromium",), "firefox": ("firefox",), "webkit": ("webkit", "xvfb")}


def parametrize(metafunc: pytest.Metafunc, *, faketime: bool) -> None:
    """Give a test the stages of its scenario, which is named as the test is."""
    if "stage" not in metafunc.fixturenames:
        return
    scenario = metafunc.function.__name__.removeprefix("test_")
    found = [_parameter(scenario, cell, faketime) for cell in sign_in_matrix.cells(scenario)]
    metafunc.parametrize("stage", found, indirect=True)


def _parameter(scenario: str, cell: Cell, faketime: bool) -> Any:
    needs = [*NEEDS[cell.engine], "oidc-provider", *(["faketime"] if faketime else [])]
    marks = [pytest.mark.needs(*needs)]
    if not cell.is_quick or scenario not in sign_in_matrix.QUICK:
        marks.append(pytest.mark.thorough("the same in another browser, or half a minute of waiting"))
    return pytest.param(cell, id=f"{cell.engine}-{cell.provider}", marks=marks)
