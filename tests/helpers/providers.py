"""The identity providers at which the browser tests sign people in, and what a person does there with mouse and keys.

Each runs in a process of its own that can be ended and started again, with the same or another key.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import httpx

from tests.helpers import engines, services
from tests.helpers.engines import Tab
from tests.helpers.oidc import AUDIENCE, private_key
from tests.helpers.servers import HOST, Server, environment, free_port, poll
from tests.helpers.serving import certificate

CLIENT = "web"
SILENT = "silent"
"""A client that gets no refresh tokens; oidc-provider's alone."""
GROUPS = {"ann": ["students"], "ben": ["students"], "tess": ["teachers"]}


class IdentityProvider(ABC):
    """A provider for some sites.

    Attributes:
        origin: of the pages that people see there.
        settings: `[[issuers]]` of stagedoor.toml.
        site: further lines for `[site]`.
        tls: for `[gateway]`, where its sites speak https.
        scopes: for `[login]`.
        env: environment of the gateway, so that it reaches the provider.
        surroundings: further environment of its own.
        remembers: it knows a browser again, and lets it pass without a form.
        confirms: the button of its question whether one wants to sign out; "" if it does not ask.
    """

    origin: str
    settings: str
    site = tls = ""
    scopes: Sequence[str]
    env: Mapping[str, str] = MappingProxyType({})
    surroundings: Mapping[str, str] = MappingProxyType({})
    remembers = False
    confirms = ""

    def __init__(self, folder: Path, sites: Sequence[str]) -> None:
        self._folder, self._sites = folder, sites
        self._port = free_port()
        self._server: Server | None = None
        self._starts = 0

    @abstractmethod
    def start(self, key: str) -> None:
        """Begin to sign with, and publish, this key alone."""

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def questions(self) -> Sequence[str]:
        """Method and path of what it was asked, as far as it prints that, since it was last started."""
        assert self._server is not None
        return [line for line in self._server.out.splitlines() if line.startswith(("GET ", "POST "))]

    def set_groups(self, person: str, groups: Sequence[str]) -> None:
        """Change the groups of a person, who is in those of `GROUPS` at first."""
        raise NotImplementedError

    @abstractmethod
    def asks(self, tab: Tab) -> bool:
        """Does a tab show the form that asks who one is?"""

    @abstractmethod
    def sign_in(self, tab: Tab, person: str) -> None:
        """Fill in the form, and agree to everything."""

    def agree_to_sign_out(self, tab: Tab) -> None:
        """Answer the question whether one wants to sign out, if there is one."""
        if self.confirms:
            tab.click(self.confirms)

    def _run(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._starts += 1
        server = Server(command, self._folder, {**env, **self.surroundings}, f"provider-{self._starts}")
        server.until(lambda: "ready" in server.out)
        self._server = server

    def _run_node(self, program: str, key: str, **env: str) -> None:
        node = services.program("node")
        assert node
        callbacks = [f"{site}/-/callback" for site in self._sites]
        clients = {CLIENT: callbacks, SILENT: callbacks}
        env = {"PORT": str(self._port), "KEY": str(self._key(key)), "CLIENTS": json.dumps(clients), **env}
        self._run([node, str(services.NODE_FOLDER / program)], environment(self._folder, **env))

    def _key(self, kid: str) -> Path:
        file = self._folder / f"{kid}.json"
        if not file.exists():
            file.write_text(json.dumps(private_key(kid)), encoding="utf-8")
        return file


def _shows(tab: Tab, selector: str) -> bool:
    try:
        return tab.script(f"document.querySelector({json.dumps(selector)}) !== null") is True
    except engines.Busy:
        return False


class OidcProvider(IdentityProvider):
    """npm's oidc-provider: a form for the name, a page that asks for consent, a session of its own, sign-out."""

    scopes, remembers, confirms = ("openid", "groups"), True, "[name=logout]"

    def __init__(self, folder: Path, sites: Sequence[str]) -> None:
        super().__init__(folder, sites)
        self.origin = f"http://{HOST}:{self._port}"
        self.settings = f'issuer = "{self.origin}"\naudience = ["{CLIENT}"]'

        self._groups = folder / "groups.json"
        self._groups.write_text(json.dumps(GROUPS), encoding="utf-8")

    def start(self, key: str) -> None:
        more = {"REFRESHES": json.dumps([CLIENT]), "GROUPS": str(self._groups)}
        self._run_node("provider.mjs", key, AUDIENCE=AUDIENCE, **more)

    def set_groups(self, person: str, groups: Sequence[str]) -> None:
        all_ = json.loads(self._groups.read_text(encoding="utf-8"))
        self._groups.write_text(json.dumps({**all_, person: groups}), encoding="utf-8")

    def asks(self, tab: Tab) -> bool:
        return _shows(tab, "[name=login]")

    def sign_in(self, tab: Tab, person: str) -> None:
        tab.fill("[name=login]", person)
        tab.fill("[name=password]", "any")
        tab.click("[type=submit]")
        consent = "[name=prompt][value=consent]"
        poll(lambda: not tab.url().startswith(self.origin) or _shows(tab, consent), engines.PATIENCE, "consent")
        if tab.url().startswith(self.origin):
            tab.click("[type=submit]")


JSON_1_1 = "application/x-amz-json-1.1"


class CognitoLocal(IdentityProvider):
    """npm's cognito-local behind the issuer URL of a real user pool: a form, no session, Cognito's own sign-out."""

    scopes = ("openid", "email")

    def __init__(self, folder: Path, sites: Sequence[str]) -> None:
        super().__init__(folder, sites)
        self._tunnel = free_port()
        self.origin = f"https://{HOST}:{self._port}"
        host = "cognito-idp.eu-central-1.amazonaws.com"
        self._issuer = f"https://{host}/eu-central-1_Example"
        self.settings = f'issuer = "{self._issuer}"\naudience = ["{CLIENT}"]'
        certificate(folder, host)
        self.site = 'ca = "file:cert.pem"'
        self.tls = 'tls = { certificate = "cert.pem", key = "key.pem" }'
        self.env = {"HTTPS_PROXY": f"http://{HOST}:{self._tunnel}"}

    def start(self, key: str) -> None:
        files = {"CERTIFICATE": str(self._folder / "cert.pem"), "CERTIFICATE_KEY": str(self._folder / "key.pem")}
        self._run_node("cognito.mjs", key, ISSUER=self._issuer, TUNNEL=str(self._tunnel), **files)

    def set_groups(self, person: str, groups: Sequence[str]) -> None:
        for group in {group for some in GROUPS.values() for group in some}:
            do = "AdminAddUserToGroup" if group in groups else "AdminRemoveUserFromGroup"
            fields = {"x-amz-target": f"AWSCognitoIdentityProviderService.{do}", "content-type": JSON_1_1}
            asked = {"UserPoolId": self._issuer.rpartition("/")[2], "Username": person, "GroupName": group}
            httpx.post(self.origin, json=asked, headers=fields, verify=False, trust_env=False).raise_for_status()

    def asks(self, tab: Tab) -> bool:
        return _shows(tab, "[name=username]")

    def sign_in(self, tab: Tab, person: str) -> None:
        tab.fill("[name=username]", person)
        tab.fill("[name=password]", "any")
        tab.click("[type=submit]")


DEMO = """
import socket, sys, uvicorn
from stagedoor.demo.provider import Provider
port, first, *others = sys.argv[1:]
provider = Provider(f"http://127.0.0.1:{port}", first, others=others)
listening = socket.create_server(("127.0.0.1", int(port)))
async def app(scope, receive, send):
    if scope["type"] == "http":
        print(scope["method"], scope["path"], flush=True)
    await provider(scope, receive, send)
print("ready", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
"""


class Demo(IdentityProvider):
    """The provider of `stagedoor demo`: people to click on, no session, no question at sign-out."""

    scopes = ("openid", "email", "profile")

    def __init__(self, folder: Path, sites: Sequence[str]) -> None:
        super().__init__(folder, sites)
        self.origin = f"http://{HOST}:{self._port}"
        self.settings = f'issuer = "{self.origin}"\naudience = ["stagedoor-demo"]'

    def start(self, key: str) -> None:
        """It makes a new key whenever it starts, whatever this one is called."""
        self._run([sys.executable, "-c", DEMO, str(self._port), *self._sites], environment(self._folder))

    def asks(self, tab: Tab) -> bool:
        return _shows(tab, "[name=person]")

    def sign_in(self, tab: Tab, person: str) -> None:
        tab.click(f"[name=person][value={person}]")


def make(name: str, folder: Path, sites: Sequence[str]) -> IdentityProvider:
    """Make a provider.

    Args:
        name: `oidc-provider`, `cognito-local` or `demo`.
        folder: of its own.
        sites: origins from which people come.
    """
    kinds: Mapping[str, Callable[[Path, Sequence[str]], IdentityProvider]] = {
        "oidc-provider": OidcProvider,
        "cognito-local": CognitoLocal,
        "demo": Demo,
    }
    return kinds[name](folder, sites)
