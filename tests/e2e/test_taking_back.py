"""What was taken back stays out (invariant 9), tried as Jepsen tries databases.

Three real gateways share keys and a state. People, sessions and tokens are taken back in every way that there is, while
gateways are killed, cut off from the state, or have wrong clocks; and those whose access was taken back try every way
in at the gateways that may not know yet. A model keeps what was taken back when; what gateways answer must fit.
"""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.helpers import fleet
from tests.helpers.fleet import LEEWAY, STALE, Fleet
from tests.helpers.partition import SLOW, WAYS, Way
from tests.helpers.servers import poll
from tests.helpers.serving import fresh_token

WITHIN = 5.0
"""Seconds after which a revocation counts at every gateway that can reach the state (invariant 9)."""
MONTH = 30 * 86_400.0
LATER = LEEWAY + 3.0
"""Seconds that new tokens of people who come back are from the future, so that no gateway takes them for old."""
FAR = 3600
CLOCKS = (0, 1, -1, FAR, -FAR)
"""Seconds by which a gateway is ahead: less than the leeway, or so much that claims are due there, and people
must not be taken back there."""
PEOPLE = ("ann", "ben", "cleo", "dora", "eve", "finn", "gus", "hilda")
NAVIGATION = {"sec-fetch-mode": "navigate", "accept": "text/html"}


@dataclass(eq=False)
class Credential:
    """A token or a session, and what the model knows of it.

    Attributes:
        names: what there could be a revocation of: `person …`, `token …`, `session …`.
        proved: epoch seconds of what it goes back to; whose person is revoked later than this, it does not count.
        taken: when the call returned that took it back; infinity: nobody did.
        unsure: somebody tried, and heard that it may have failed.
        renews: it is a session of somebody who signed in here.
    """

    fields: dict[str, str]
    person: str
    names: frozenset[str]
    proved: float
    token: str = ""
    taken: float = math.inf
    unsure: bool = False
    renews: bool = False

    @property
    def shown(self) -> str:
        return f"{'token' if self.token else 'session'} of {self.person}, {sorted(self.names)}"


class Done(NamedTuple):
    """A revocation.

    Attributes:
        name: as in `Credential.names`.
        returned: when the call returned.
        before: epoch seconds; of people.
        sure: the call said that it was done.
    """

    name: str
    returned: float
    before: float
    sure: bool

    def concerns(self, one: Credential) -> bool:
        """Has it to take this back?"""
        return self.name in one.names and (not self.name.startswith("person ") or one.proved <= self.before)

    def may_concern(self, one: Credential) -> bool:
        """May it take this back, because the clock of whoever did it was ahead?"""
        return self.name in one.names and one.proved <= self.before + LATER


@dataclass
class Reach:
    """What the model knows of a gateway.

    Attributes:
        cut: when it was cut off from the state, None if it is not.
        lags: when it could reach the state again, and may have missed something.
        busy: when it last lost its connection, its process or its clock, and may be closed for a time.
        told: it has begun to read the whole list at this moment, or will before it lets anybody in.
        knows: it has read the list since it was started.
        ahead: seconds of its clock.
    """

    cut: float | None = None
    lags: float = -math.inf
    busy: float = -math.inf
    told: float = -math.inf
    knows: bool = True
    ahead: int = 0

    def mend(self, *, slow: bool = False) -> None:
        """Note that it can reach the state again; over a slow wire some ten pieces go to and fro before it asks."""
        if self.cut is None:
            return
        self.cut, self.lags = None, time.monotonic() + 10 * SLOW * slow
        self.busy = self.lags
        if not self.knows:
            self.told, self.knows = self.lags, True

    def over(self, taken: float) -> float:
        """From when on nothing must open that was taken back at a moment."""
        if not self.knows or taken <= self.told:
            return -math.inf
        return max(taken, self.lags) + WITHIN if self.cut is None else max(taken + WITHIN, self.cut + STALE)

    @property
    def calm(self) -> float:
        """From when on it must be open to those from whom nothing was taken back, or closed to all."""
        return self.busy + WITHIN if self.cut is None else self.cut + STALE


class Model:
    """The fleet, those who use it, and what has to hold.

    Args:
        fleet: whose gateways all work.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.issuer = fleet, fleet.idp.url
        self.nodes = {node.name: node for node in fleet.nodes}
        self.reach = {name: Reach() for name in self.nodes}
        self.credentials: list[Credential] = []
        self.done: list[Done] = []
        self.said: list[str] = []
        self.people = {name: f"{name}-{secrets.token_hex(4)}" for name in PEOPLE}
        self.begun = time.monotonic()
        admin = fresh_token(iss=self.issuer, sub="root", groups=["admins"], exp=time.time() + MONTH)
        self.admin = {"authorization": f"Bearer {admin}"}

    def say(self, text: str) -> None:
        self.said.append(f"{time.monotonic() - self.begun:6.2f}  {text}")

    # --- what people do

    def token(self, person: str, **claims: Any) -> Credential:
        """A new token, from an issuer where they can still sign in."""
        ids = {"jti": secrets.token_urlsafe(6), "sid": secrets.token_urlsafe(6)}
        later = LATER if any(one.name == f"person {person}" for one in self.done) else 0.0
        made = {"iat": time.time() + later, "exp": time.time() + MONTH, **ids, **claims}
        text = fresh_token(iss=self.issuer, sub=person, **made)
        proved = min(made["iat"] if made["iat"] is not ... else 0.0, made.get("auth_time", math.inf))
        names = {f"person {person}", f"token {ids['jti']}", f"session {self.issuer} {ids['sid']}"}
        found = Credential({"authorization": f"Bearer {text}"}, person, frozenset(names), proved, token=text)
        for one in self.done:
            self._apply(one, found)
        self.credentials.append(found)
        self.say(f"new {found.shown}")
        return found

    def session(self, token: Credential, name: str) -> Credential | None:
        """Make a session from a token at a gateway; None if it was refused."""
        asked = time.monotonic()
        answer = self.nodes[name].client.post("/-/session", headers=token.fields)
        self.say(f"{name}: {answer.status_code} for a session from {token.shown}")
        self._judge(token, name, asked, answer.status_code, answer.text)
        if answer.status_code != 204:
            return None
        cookies = _cookies(answer)
        names = token.names | {f"session  {_sid(cookies)}"}
        return self._also(replace(token, fields=_sent(cookies), names=names, token=""))

    def sign_in(self, person: str, name: str) -> Credential:
        """Sign in at the issuer, from a gateway and back to it."""
        client = self.nodes[name].client
        begun = client.get("/-/login", headers=NAVIGATION)
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        op_sid, proved = secrets.token_urlsafe(6), time.time()
        about = {"sub": person, "iat": int(proved), "sid": op_sid}
        self.fleet.idp.answer_next({**about, "nonce": asked["nonce"][0]})
        back = {"code": "x", "state": asked["state"][0]}
        answer = client.get("/-/callback", params=back, headers={**NAVIGATION, **_sent(_cookies(begun))})
        self.say(f"{name}: {answer.status_code} for the sign-in of {person}")
        assert answer.status_code == 302, answer.text
        cookies = _cookies(answer)
        names = {f"person {person}", f"session  {_sid(cookies)}", f"session {self.issuer} {op_sid}"}
        return self._also(Credential(_sent(cookies), person, frozenset(names), int(proved), renews=True))

    def renew(self, session: Credential, name: str) -> Credential | None:
        """Renew a session of somebody who is still signed in at the issuer; None if it stays as it was."""
        op_sid = next(one for one in session.names if one.startswith(f"session {self.issuer}")).rpartition(" ")[2]
        self.fleet.idp.answer_next({"sub": session.person, "iat": time.time(), "sid": op_sid})
        asked = time.monotonic()
        answer = self.nodes[name].client.post("/-/renew", headers=session.fields)
        cookies = _cookies(answer)
        self.say(f"{name}: {answer.status_code} and {len(cookies)} cookies for the renewal of {session.shown}")
        self._judge(session, name, asked, answer.status_code, answer.text)
        if answer.status_code != 204 or not cookies:
            return None
        return self._also(replace(session, fields=_sent(cookies)))

    def _also(self, credential: Credential) -> Credential:
        self.credentials.append(credential)
        return credential

    def read(self, credential: Credential, name: str) -> None:
        """Ask for a file, and for a pass to it."""
        client = self.nodes[name].client
        asked = time.monotonic()
        answer = client.get("/team/a.txt", headers=credential.fields)
        self._judge(credential, name, asked, answer.status_code, answer.text)
        if credential.renews and self.reach[name].ahead == FAR:
            return  # passes are issued to nobody whose claims are due
        asked = time.monotonic()
        answer = client.post("/-/urls", headers=credential.fields, json={"file": "team/a.txt", "expires_in": 5})
        self._judge(credential, name, asked, answer.status_code, answer.text)

    def launder(self, name: str) -> int:
        """All whose access was taken back try to get a session, or to renew theirs, and to read with it.

        Returns:
            How many cookies they got.
        """
        got = 0
        for one in [one for one in self.credentials if one.taken < math.inf]:
            made = self.session(one, name) if one.token else self.renew(one, name) if one.renews else None
            self.read(made or one, name)
            got += made is not None
        return got

    # --- what is taken back

    def revoke(self, name: str, asked: dict[str, Any], concerned: str) -> None:
        """Take something back: over HTTP at a gateway, or by the command (`name` is "")."""
        if name:
            answer = self.nodes[name].client.post("/-/revocations", headers=self.admin, json=asked)
            done = answer.status_code == 201
            assert done or answer.status_code == 503, answer.text
        else:
            done = self.fleet.revoke(*_arguments(asked))
            assert done
        self.note(concerned, done, name or "the command", until=asked.get("until", 0.0))

    def note(self, name: str, sure: bool, where: str, until: float = 0.0) -> None:
        """Keep that something was taken back just now, or may have been."""
        self.done.append(Done(name, time.monotonic(), max(time.time(), until), sure))
        self.say(f"{where}: {'took' if sure else 'may have taken'} back {name}{' for an hour' * bool(until)}")
        for one in self.credentials:
            self._apply(self.done[-1], one)

    def _apply(self, done: Done, one: Credential) -> None:
        if done.sure and done.concerns(one):
            one.taken = min(one.taken, done.returned)
        elif done.may_concern(one):
            one.unsure = True

    def sign_out(self, session: Credential, name: str) -> None:
        """End a session. Browsers forget the cookie in any case; whether a copy counts, the answer does not say."""
        reach = self.reach[name]
        sure = reach.cut is None and time.monotonic() > reach.lags + WITHIN
        answer = self.nodes[name].client.post("/-/logout", headers=session.fields)
        assert answer.status_code == 200, answer.text
        self.note(next(one for one in session.names if one.startswith("session  ")), sure, name)

    # --- what goes wrong

    def cut(self, name: str, way: Way) -> None:
        wire, reach = self.nodes[name].wire, self.reach[name]
        assert wire is not None
        wire.cut(way)
        if way == "slow":
            reach.mend(slow=True)
        elif reach.cut is None:
            reach.cut = time.monotonic()
        self.say(f"{name}: {way}")

    def heal(self, name: str) -> None:
        wire = self.nodes[name].wire
        if wire is not None:
            wire.heal()
        self.reach[name].mend()
        self.say(f"{name}: healed")

    def restart(self, name: str) -> None:
        node, reach = self.nodes[name], self.reach[name]
        node.kill()
        begun = time.monotonic()
        node.start()
        reach.busy, reach.told, reach.knows = time.monotonic(), begun, reach.cut is None
        self.say(f"{name}: killed, and started again")

    def reload(self, name: str) -> None:
        """Let a gateway read its settings again: it goes on with the list that it has."""
        self.nodes[name].process.reload()
        self.say(f"{name}: reloaded")

    def set_clock(self, name: str, ahead: int) -> None:
        self.nodes[name].set_clock(ahead)
        self.reach[name].ahead = ahead
        self.reach[name].busy = time.monotonic()
        self.say(f"{name}: clock {ahead:+d} s")

    def restart_state(self) -> None:
        assert self.fleet.redis
        self.fleet.redis.kill()
        self.fleet.redis.start()
        for reach in self.reach.values():
            reach.lags = reach.busy = time.monotonic()
        self.say("the state was killed, and started again")

    def lose_state(self) -> None:
        """What was taken back before is forgotten, sooner or later; what comes after that is not."""
        assert self.fleet.redis
        self.fleet.redis.lose_everything()
        self.done = [one._replace(sure=False) for one in self.done]
        for one in self.credentials:
            one.unsure, one.taken = one.unsure or one.taken < math.inf, math.inf
        self.say("the state lost everything")

    # --- what has to hold

    def _judge(self, credential: Credential, name: str, asked: float, status: int, text: str) -> None:
        """Does an answer to a question that was asked at this moment fit what was taken back?"""
        opened, reach = status in (200, 201, 204), self.reach[name]
        story = f"{name}: {status} {text[:90]!r} at {asked - self.begun:.2f} for {credential.shown}"
        story = "\n".join([*self.said, story, *self.nodes[name].process.err.splitlines()[-3:]])
        assert opened or status in (401, 503), story
        if asked > reach.over(credential.taken):
            assert not opened, f"it was taken back, and opens:\n{story}"
        if asked > reach.calm:
            assert (status == 503) == (reach.cut is not None), f"the state can be asked, or not:\n{story}"
            if reach.cut is None and credential.taken == math.inf and not credential.unsure:
                assert opened, f"nobody took it back:\n{story}"

    def settle(self) -> None:
        """Wait until all that was taken back has to be known, and try everything everywhere."""
        moments = [reach.over(one.taken) for one in self.credentials for reach in self.reach.values()]
        moments += [reach.calm for reach in self.reach.values()]
        time.sleep(max(0.01, max(one for one in moments if one < math.inf) - time.monotonic() + 0.01))
        self.say("all is tried")
        for name, node in self.nodes.items():
            assert node.client.get("/public/a.txt").status_code == 200
            for credential in self.credentials:
                self.read(credential, name)
            self.launder(name)

    def mend_all(self) -> None:
        """Make the fleet as good as new, and wait until it is."""
        for name in self.nodes:
            self.heal(name)
            self.set_clock(name, 0)
        self.fleet.wait_until_open(self.admin)


def _cookies(answer: httpx.Response) -> dict[str, str]:
    """What an answer sets, without what it removes."""
    lines = [line for line in answer.headers.get_list("set-cookie") if "Max-Age=0" not in line]
    return dict(line.partition(";")[0].split("=", 1) for line in lines)


def _sent(cookies: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def _sid(cookies: dict[str, str]) -> str:
    payload = cookies["stagedoor-8080"].split(".")[1]
    sid: str = json.loads(base64.urlsafe_b64decode(payload + "=="))["sid"]
    return sid


def _arguments(asked: dict[str, Any]) -> list[str]:
    """The same for `stagedoor revoke`."""
    sub, until = asked.get("sub", ""), asked.get("until")
    more = {"--until": until and "1h", "--sid": asked.get("sid"), "--jti": asked.get("jti")}
    named = [
        text for option, value in {**more, "--issuer": asked.get("issuer")}.items() if value for text in (option, value)
    ]
    return [*([sub] if sub else []), *named]


NODES = st.sampled_from("abc")
ANY = st.integers(0, 99)
"""Which credential, of as many as there are."""


class Machine(RuleBasedStateMachine):
    """Does anything at any time."""

    fleet: Fleet

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(self.fleet)
        self.people = [self.model.people[name] for name in ("ann", "ben", "cleo")]

    @initialize()
    def begin(self) -> None:
        self.model.mend_all()
        for person in self.people:
            self.model.session(self.model.token(person), "a")
        self.model.sign_in(self.people[0], "b")

    def one(self, number: int, *, session: bool | None = None) -> Credential:
        fit = [one for one in self.model.credentials if session in (None, not one.token)]
        return fit[number % len(fit)]

    def clock_is_right(self, name: str) -> bool:
        return abs(self.model.reach[name].ahead) < LEEWAY

    # --- people

    @rule(number=ANY, kind=st.sampled_from(("usual", "without iat", "by an old sign-in")))
    def come(self, number: int, kind: str) -> None:
        old = {"auth_time": time.time() - 60} if kind == "by an old sign-in" else {}
        self.model.token(self.people[number % 3], **old, **({"iat": ...} if kind == "without iat" else {}))

    @rule(number=ANY, name=NODES)
    def make_session(self, number: int, name: str) -> None:
        self.model.session(self.one(number, session=False), name)

    @rule(number=ANY, name=NODES)
    def read(self, number: int, name: str) -> None:
        self.model.read(self.one(number), name)

    @rule(name=NODES)
    def launder(self, name: str) -> None:
        self.model.launder(name)

    @rule(number=ANY, name=NODES)
    def renew(self, number: int, name: str) -> None:
        fit = [one for one in self.model.credentials if one.renews]
        self.model.renew(fit[number % len(fit)], name)

    # --- taking back

    @rule(number=ANY, name=st.sampled_from(["", *"abc"]), bar=st.booleans())
    def revoke_person(self, number: int, name: str, bar: bool) -> None:
        person = self.people[number % 3]
        name = name if name and self.clock_is_right(name) else ""
        until = {"until": time.time() + 3600} if bar else {}
        self.model.revoke(name, {"sub": person, **until}, f"person {person}")

    @rule(number=ANY, name=st.sampled_from(["", *"abc"]))
    def revoke_token(self, number: int, name: str) -> None:
        fit = [one for one in self.model.credentials if not one.renews]
        known = next(one for one in fit[number % len(fit)].names if one.startswith("token "))
        self.model.revoke(name, {"jti": known.partition(" ")[2]}, known)

    @rule(number=ANY, name=st.sampled_from(["", *"abc"]), ours=st.booleans())
    def revoke_session(self, number: int, name: str, ours: bool) -> None:
        start = "session  " if ours else f"session {self.model.issuer} "
        known = next(one for one in self.one(number, session=ours or None).names if one.startswith(start))
        self.model.revoke(name, {"sid": known[len(start) :], **({} if ours else {"issuer": "staff"})}, known)

    @rule(number=ANY, name=NODES)
    def sign_out(self, number: int, name: str) -> None:
        self.model.sign_out(self.one(number, session=True), name)

    # --- what goes wrong

    @precondition(lambda self: self.fleet.redis)
    @rule(name=NODES, way=st.sampled_from(WAYS))
    def cut(self, name: str, way: Way) -> None:
        self.model.cut(name, way)

    @precondition(lambda self: self.fleet.redis)
    @rule(name=NODES)
    def heal(self, name: str) -> None:
        self.model.heal(name)

    @rule(name=NODES)
    def restart(self, name: str) -> None:
        self.model.restart(name)

    @rule(name=NODES)
    def reload(self, name: str) -> None:
        self.model.reload(name)

    @rule(name=NODES, ahead=st.sampled_from(CLOCKS))
    def set_clock(self, name: str, ahead: int) -> None:
        self.model.set_clock(name, ahead)

    @precondition(lambda self: self.fleet.redis)
    @rule()
    def restart_state(self) -> None:
        self.model.restart_state()

    @precondition(lambda self: self.fleet.redis)
    @rule()
    def lose_state(self) -> None:
        self.model.lose_state()

    # --- what has to hold

    @rule()
    def settle(self) -> None:
        self.model.settle()

    def teardown(self) -> None:
        self.model.settle()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three gateways and Redis."""
    with fleet.running(tmp_path_factory.mktemp("site"), redis=True) as running:
        yield running


@pytest.fixture(scope="module")
def three_of_one_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three gateways and SQLite."""
    with fleet.running(tmp_path_factory.mktemp("site"), redis=False) as running:
        yield running


def everybody(model: Model) -> dict[str, tuple[Credential, Credential]]:
    """People with a token and a session each, which they use at all gateways; Gus and Hilda sign in here."""
    model.mend_all()
    people = {}
    for number, (name, person) in enumerate(model.people.items()):
        token, at = model.token(person), "abc"[number % 3]
        session = model.sign_in(person, "a") if name in ("gus", "hilda") else model.session(token, at)
        assert session
        people[name] = token, session
        for gateway in model.nodes:
            model.read(token, gateway)
            model.read(session, gateway)
    return people


def take_back(model: Model, people: dict[str, tuple[Credential, Credential]]) -> None:
    """In each way over HTTP once; nobody takes anything back from Finn."""
    model.revoke("a", {"sub": model.people["ann"]}, f"person {model.people['ann']}")
    model.revoke("a", {"sub": model.people["gus"]}, f"person {model.people['gus']}")
    sid = _id(people["cleo"][1], "session  ")
    model.revoke("b", {"sid": sid}, f"session  {sid}")
    of_issuer = f"session {model.issuer} "
    sid = _id(people["hilda"][1], of_issuer)
    model.revoke("b", {"sid": sid, "issuer": "staff"}, of_issuer + sid)
    model.sign_out(people["dora"][1], "b")
    model.revoke("b", {"sub": model.people["eve"], "until": time.time() + 3600}, f"person {model.people['eve']}")


def take_back_by_command(model: Model, people: dict[str, tuple[Credential, Credential]]) -> None:
    jti = _id(people["ben"][0], "token ")
    model.revoke("", {"jti": jti}, f"token {jti}")
    model.revoke("", {"sub": model.people["eve"]}, f"person {model.people['eve']}")  # does not lift the bar


def _id(credential: Credential, start: str) -> str:
    return next(one for one in credential.names if one.startswith(start)).removeprefix(start)


def launder(model: Model, name: str) -> int:
    """Whose access was taken back tries it at a gateway, also with new tokens. Returns how many cookies they got."""
    for person in ("ann", "eve"):
        model.token(model.people[person], auth_time=time.time() - 60)
        model.token(model.people[person], iat=...)
    return model.launder(name)


@pytest.mark.needs("redis", "faketime")
def test_a_gateway_that_is_cut_off_lets_nobody_in_for_long_and_makes_nothing_that_counts_elsewhere(
    three: Fleet,
) -> None:
    model = Model(three)
    people = everybody(model)
    model.set_clock("c", FAR)  # claims are due there
    three.wait_until_open(model.admin)
    model.cut("c", "held")
    take_back(model, people)
    assert launder(model, "c") > 5
    take_back_by_command(model, people)
    model.settle()
    model.heal("c")
    model.restart("b")
    model.token(model.people["ann"])
    model.settle()


@pytest.mark.needs("redis", "faketime")
@pytest.mark.thorough("waits for five seconds, again")
def test_a_state_that_lost_everything_is_obeyed_within_five_seconds_again(three: Fleet) -> None:
    model = Model(three)
    people = everybody(model)
    for number in range(20):
        model.revoke("a", {"jti": f"of nobody {number}"}, f"token of nobody {number}")
    model.revoke("a", {"sub": model.people["finn"]}, f"person {model.people['finn']}")
    for node in three.nodes:  # so that all have read more than is there afterwards
        poll(partial(node.refuses, people["finn"][0].fields), 40, f"gateway {node.name} that knows")
    model.lose_state()
    take_back(model, people)
    take_back_by_command(model, people)
    model.settle()


@pytest.mark.needs("faketime")
@pytest.mark.thorough("does with a file what the test above does with Redis")
def test_three_gateways_of_one_file(three_of_one_file: Fleet) -> None:
    model = Model(three_of_one_file)
    people = everybody(model)
    model.set_clock("c", -1)
    take_back(model, people)
    launder(model, "c")
    take_back_by_command(model, people)
    model.restart("b")
    model.token(model.people["ann"])
    model.settle()


@pytest.mark.needs("redis", "faketime")
@pytest.mark.thorough("two minutes")
def test_whatever_happens(three: Fleet) -> None:
    _try(three, stories=8)


@pytest.mark.needs("faketime")
@pytest.mark.thorough("half a minute")
def test_whatever_happens_to_those_of_one_file(three_of_one_file: Fleet) -> None:
    _try(three_of_one_file, stories=2)


def _try(site: Fleet, stories: int) -> None:
    class OfThisSite(Machine):
        fleet = site

    how = settings(
        max_examples=stories,
        stateful_step_count=25,
        deadline=None,
        database=None,
        phases=(Phase.generate,),  # a shorter story would take an hour to find
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(OfThisSite, settings=how)
