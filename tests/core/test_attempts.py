"""Sign-ins that have begun: what their cookies hold, how many there are, and that nobody else can use them."""

from __future__ import annotations

import hashlib
import json

import pytest

from stagedoor.core.attempts import LIFETIME, MAX_BYTES, MAX_IN_STATE, SLOTS, Attempt, Attempts
from stagedoor.core.messages import Headers, Pairs
from stagedoor.keys.sealing import Seal
from tests.helpers.support import NOW, SESSION_KEY, SITE, VECTORS, fields_of

COOKIE = "__Host-stagedoor"


class Dice:
    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(str(self._count).encode()).digest(size)


def attempts(key: bytes = SESSION_KEY, site: str = SITE) -> Attempts:
    return Attempts(site, Seal(key), Dice(), COOKIE, True)


def kept(fields: Pairs, before: dict[str, str] | None = None) -> dict[str, str]:
    """The cookies of a browser after an answer."""
    jar = dict(before or {})
    for name, value in fields:
        assert name == b"set-cookie"
        pair, *attributes = value.decode().split("; ")
        cookie, _, text = pair.partition("=")
        if "Max-Age=0" in attributes:
            jar.pop(cookie, None)
        else:
            assert f"Max-Age={LIFETIME}" in attributes
            jar[cookie] = text
    return jar


def headers(jar: dict[str, str]) -> Headers:
    return fields_of(cookie="; ".join(f"{name}={value}" for name, value in jar.items()))


def test_an_attempt_is_found_by_its_state() -> None:
    made = attempts()
    attempt, state, fields = made.begin({}, "issuer", "/a?b", NOW)
    found = made.find(headers(kept(fields)), state, NOW + 1)
    assert found is not None
    assert (found.attempt, found.next, found.issuer, found.restarts) == (attempt, "/a?b", "issuer", 0)


def test_a_state_without_its_cookie_still_says_where_to_begin_again() -> None:
    made = attempts()
    _, state, _ = made.begin({}, "issuer", "/a?b", NOW, restarts=2)
    found = made.find({}, state, NOW)
    assert found is not None
    assert (found.attempt, found.next, found.restarts) == (None, "/a?b", 2)
    _, state, fields = made.begin({}, "issuer", "/" + "a" * MAX_IN_STATE, NOW)
    displaced, mine = made.find({}, state, NOW), made.find(headers(kept(fields)), state, NOW)
    assert displaced is not None
    assert displaced.next == "/"
    assert mine is not None
    assert mine.attempt is not None
    assert len(mine.attempt.next) > MAX_IN_STATE


def test_nothing_of_an_attempt_can_be_read_in_its_cookie_or_state() -> None:
    attempt, state, fields = attempts().begin({}, "issuer", "/secret-project", NOW)
    (value,) = kept(fields).values()
    for text in (attempt.secret, attempt.verifier, attempt.nonce, "secret-project", attempt.id):
        assert text not in state + value
    assert len({attempt.secret, attempt.verifier, attempt.nonce, attempt.challenge, attempt.id}) == 5


def test_no_two_attempts_share_anything_that_binds_them() -> None:
    made = attempts()
    one, other = (made.begin({}, "issuer", "/", NOW)[0] for _ in range(2))
    for name in ("id", "secret", "verifier", "challenge", "nonce"):
        assert getattr(one, name) != getattr(other, name)


def test_pkce_is_that_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7636, Appendix B."""
    example = json.loads((VECTORS / "oidc_rp" / "pkce-appendix-b.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(Attempt, "verifier", example["code_verifier"])
    assert Attempt("", "", "", "", 0).challenge == example["code_challenge"]
    monkeypatch.undo()
    assert 43 <= len(Attempt("", "s", "", "", 0).verifier) <= 128


@pytest.mark.parametrize("spoiled", ["", "x", "A" * 400])
def test_spoiled_cookies_are_overwritten_or_removed(spoiled: str) -> None:
    made = attempts()
    jar = {f"{COOKIE}-try-{slot}": spoiled for slot in range(SLOTS)}
    _, state, fields = made.begin(headers(jar), "issuer", "/", NOW)
    jar = kept(fields, jar)
    assert len(jar) == 1
    found = made.find(headers(jar), state, NOW)
    assert found is not None
    assert found.attempt is not None


def test_there_are_eight_at_most_and_the_oldest_goes_first() -> None:
    made, jar, states = attempts(), dict[str, str](), []
    for number in range(SLOTS + 1):
        _, state, fields = made.begin(headers(jar), "issuer", f"/{number}", NOW + number)
        states.append(state)
        jar = kept(fields, jar)
    assert len(jar) == SLOTS
    found = [made.find(headers(jar), state, NOW + 20) for state in states]
    assert [one is not None and one.attempt is not None for one in found] == [False, *[True] * SLOTS]


def test_long_addresses_make_room_for_themselves() -> None:
    made, jar = attempts(), dict[str, str]()
    for number in range(SLOTS):
        _, state, fields = made.begin(headers(jar), "issuer", f"/{'x' * 1000}{number}", NOW + number)
        jar = kept(fields, jar)
        assert sum(len(name) + len(value) for name, value in jar.items()) <= MAX_BYTES
        found = made.find(headers(jar), state, NOW + number)
        assert found is not None
        assert found.attempt is not None
    assert 1 < len(jar) < SLOTS


def test_an_attempt_is_over_after_ten_minutes_and_one_of_the_future_is_none() -> None:
    made = attempts()
    _, state, fields = made.begin({}, "issuer", "/", NOW)
    for now, alive in ((NOW + LIFETIME - 1, True), (NOW + LIFETIME, False), (NOW - LIFETIME, False)):
        found = made.find(headers(kept(fields)), state, now)
        assert found is not None
        assert (found.attempt is not None) is alive


def test_keys_rotate_and_other_keys_and_other_sites_do_not_count() -> None:
    old = attempts(b"o" * 40)
    _, state, fields = old.begin({}, "issuer", "/", NOW)
    both = Attempts(SITE, Seal(SESSION_KEY, b"o" * 40), Dice(), COOKIE, True)
    found = both.find(headers(kept(fields)), state, NOW)
    assert found is not None
    assert found.attempt is not None
    assert attempts().find(headers(kept(fields)), state, NOW) is None
    assert attempts(b"o" * 40, "https://other.example").find(headers(kept(fields)), state, NOW) is None


def test_what_is_cut_or_changed_is_none() -> None:
    made = attempts()
    _, state, fields = made.begin({}, "issuer", "/", NOW)
    (name, value), *_ = kept(fields).items()
    for changed in (value[:-1], value[1:], value + "A", value[:-2] + ("AA" if value[-2:] != "AA" else "BB")):
        found = made.find(headers({name: changed}), state, NOW)
        assert found is not None
        assert found.attempt is None
    for changed in (state[:-1], state[1:], state + "A", value):
        assert made.find(headers({name: value}), changed, NOW) is None


def test_on_loopback_cookies_need_no_tls() -> None:
    made = Attempts("http://127.0.0.1:8080", Seal(SESSION_KEY), Dice(), "stagedoor-8080", False)
    _, _, fields = made.begin({}, "issuer", "/", NOW)
    line = fields[0][1].decode()
    assert line.startswith("stagedoor-8080-try-")
    assert line.endswith("; HttpOnly; SameSite=Lax")
