"""What a program does with `import stagedoor`, and the examples of its reference page: they are run here."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.metadata
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import stagedoor
from stagedoor import (
    ANONYMOUS,
    Allow,
    Caller,
    Deny,
    Fetcher,
    Guard,
    InvalidToken,
    MemoryStore,
    Reply,
    Request,
    Serve,
    StagedoorError,
    Store,
    Unavailable,
    arun,
    compile_rules,
    fetch,
    load_settings,
    load_signer,
    make_door,
    run,
)
from stagedoor.core.errors import Revoked, StateUnavailable
from stagedoor.core.messages import Fetch, Fetched, Wish
from stagedoor.core.revocations import Revocation, to_text
from stagedoor.keys.pass_keys import new_pair
from stagedoor.state import open_state
from tests.helpers.issuer_server import IssuerServer, serving
from tests.helpers.servers import poll
from tests.helpers.support import CLIENT, NOW, bearer, claims, ec_signer, key_set, rsa_signer, token

HOUR = 3600.0
PAGE = (Path(__file__).parents[1] / "docs/reference/python.md").read_text(encoding="utf-8")
SETTINGS = """
[site]
url = "https://assets.example.com"

[[issuers]]
name = "staff"
issuer = "$ISSUER"
audience = ["my-client-id"]
jwks = "$ISSUER/keys"

[[rules]]
path = "public/**"
allow = "anyone"

[[rules]]
path = "users/{sub}/**"
allow = "signed-in"
"""


# --- deciding


def test_a_decision_can_be_asked_for_its_truth() -> None:
    policy = compile_rules([{"path": "public/**", "allow": "anyone"}])
    allowed, denied = policy.decide(ANONYMOUS, "public/a"), policy.decide(ANONYMOUS, "secret")
    assert isinstance(allowed, Allow)
    assert isinstance(denied, Deny)
    assert (bool(allowed), bool(denied)) == (True, False)


@pytest.mark.parametrize("text", ["public/../secret", "/public/a", "public//../a", "-/whoami", "", "public/%2e%2e\\a"])
def test_what_is_not_a_key_is_denied(text: str) -> None:
    assert not compile_rules([{"path": "**", "allow": "anyone"}]).decide(ANONYMOUS, text)


def test_the_version_is_that_of_the_installation() -> None:
    assert stagedoor.__version__ == importlib.metadata.version("stagedoor")
    assert {*stagedoor.__all__} <= {*dir(stagedoor)}
    with pytest.raises(AttributeError, match="no_such_name"):
        stagedoor.no_such_name  # type: ignore[attr-defined]  # noqa: B018 - looked up to fail


# --- the short way


class Program:
    """A guard in a program, an issuer on this machine, and a clock that the test sets, and that goes on from there."""

    def __init__(self, issuer: IssuerServer, folder: Path, more: str = "") -> None:
        self.issuer, self.now, self.began = issuer, NOW, time.monotonic()
        self.publish(key_set(rsa_signer()))
        file = folder / "stagedoor.toml"
        file.write_text(SETTINGS.replace("$ISSUER", issuer.url) + more, encoding="utf-8")
        self.guard = Guard(load_settings(file, {}), clock=lambda: self.now + time.monotonic() - self.began)

    def publish(self, body: bytes, status: int = 200, wait: float = 0.0) -> None:
        self.issuer.pages = {"/keys": (status, body, wait)}

    def token(self, signer: Any = None, **more: Any) -> str:
        return token(claims(**{"iss": self.issuer.url, "exp": NOW + 24 * HOUR, **more}), signer)

    def refusal(self, text: str) -> str:
        with pytest.raises(InvalidToken) as caught:
            self.guard.verify(text)
        return caught.value.code

    def was_asked(self, times: int) -> bool:
        return len(self.issuer.asked) >= times

    def goes_on_and_was_asked(self, times: int) -> bool:
        return self.guard.verify(self.token()).subject == "ann" and self.was_asked(times)

    def lets_in(self, signer: Any) -> bool:
        with contextlib.suppress(InvalidToken, Revoked):
            return self.guard.verify(self.token(signer, iat=NOW)).subject == "ann"
        return False

    def lets_in_of(self, sub: str) -> bool:
        with contextlib.suppress(StateUnavailable):
            return self.guard.verify(self.token(sub=sub)).subject == sub
        return False

    def has_come(self, signer: Any, wrong: list[str]) -> bool:
        """Does a new key count, now that the issuer may be asked again? After a fault nothing is waited for."""
        self.now += 11
        return bool(wrong) or self.lets_in(signer)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with serving() as issuer:
        yield Program(issuer, tmp_path)


def test_a_token_is_verified_and_its_caller_reads_what_the_rules_say(program: Program) -> None:
    guard, good = program.guard, program.token()
    caller = guard.verify(good)
    assert (caller.issuer, caller.subject, caller.signed_in) == ("staff", "ann", True)
    assert guard.may_read(caller, "users/ann/photo.png")
    assert not guard.may_read(caller, "users/ben/photo.png")
    assert not guard.may_read(caller, "public/../users/ben/photo.png")
    assert guard.may_read(ANONYMOUS, "public/a")
    assert not guard.may_read(ANONYMOUS, "users/ann/photo.png")
    assert asyncio.run(guard.averify(good)) == caller == guard.verify(good)
    assert program.issuer.asked == ["/keys"]


# --- what was taken back


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Program]:
    """A program whose site has a state, in a file."""
    with serving() as issuer:
        yield Program(issuer, tmp_path, '[state]\nurl = "sqlite:///state.db"\nstale = "60s"\n')


def revoke(program: Program, folder: Path) -> None:
    one = Revocation("person", program.issuer.url, "ann", program.now + 3600, program.now + 9e5)
    with closing(open_state(f"sqlite://{folder}/state.db")) as state:
        state.put(one.name, to_text(one), one.ends, program.now)


async def test_a_guard_obeys_what_was_taken_back(following: Program, tmp_path: Path) -> None:
    """Before it was made, so that the first question waits for the list; and while it runs."""
    guard, ben = following.guard, following.token(sub="ben", iat=NOW)
    assert (await guard.averify(following.token(iat=NOW))).subject == "ann"
    revoke(following, tmp_path)
    assert await asyncio.to_thread(poll, lambda: not following.lets_in(None), 20, "it is refused")
    asked = Request("GET", b"/users/ann/x", b"", {b"authorization": [f"Bearer {following.token(iat=NOW)}".encode()]})
    for answer in (guard.answer(asked), await guard.aanswer(asked)):
        assert isinstance(answer, Reply)
        assert (answer.status, answer.reason) == (401, "revoked-person")
    assert guard.verify(ben).subject == "ben"
    newer = Guard(guard.settings, clock=lambda: NOW)
    with pytest.raises(Revoked):
        newer.verify(following.token(iat=NOW))


def test_without_its_state_a_guard_goes_on_for_a_while_and_then_knows_nobody(
    following: Program, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    revoke(following, tmp_path)
    ben = following.token(sub="ben")
    assert following.guard.verify(ben).subject == "ben"
    (tmp_path / "state.db").write_bytes(b"this is no database" * 100)
    poll(lambda: "state: " in caplog.text, 20, "it is said")
    assert following.guard.verify(ben).subject == "ben"
    following.now += 61
    with pytest.raises(StateUnavailable):
        following.guard.verify(ben)
    (tmp_path / "state.db").write_text("")
    poll(lambda: following.lets_in_of("ben"), 20, "it is read again")
    assert not following.lets_in(None), "the file has lost it, and the list has not"


def test_a_guard_in_a_fork_reads_the_list_itself(following: Program, tmp_path: Path) -> None:
    assert following.guard.verify(following.token(iat=NOW)).subject == "ann"
    child = os.fork()
    if child == 0:
        revoke(following, tmp_path)
        ends = time.monotonic() + 20
        while following.lets_in(None) and time.monotonic() < ends:
            time.sleep(0.05)
        os._exit(not time.monotonic() < ends)
    assert os.waitpid(child, 0)[1] == 0


def test_signing_out_at_a_guard_ends_the_cookie_alone(following: Program) -> None:
    fields = {b"authorization": [f"Bearer {following.token()}".encode()]}
    session = following.guard.answer(Request("POST", b"/-/session", b"", fields))
    assert isinstance(session, Reply)
    cookie = dict(session.headers)[b"set-cookie"].partition(b";")[0]
    answer = following.guard.answer(Request("POST", b"/-/logout", b"", {b"cookie": [cookie]}))
    assert isinstance(answer, Reply)
    assert (answer.status, answer.reason) == (200, "signed-out")


# --- tokens


def test_a_token_that_proves_nothing_is_refused(program: Program) -> None:
    assert program.refusal(program.token(exp=NOW - 1)) == "token-expired"
    assert program.refusal(program.token(aud="another")) == "token-audience"
    assert program.refusal(program.token(iss="https://elsewhere.example.com")) == "token-issuer"
    assert program.refusal(program.token(signer=ec_signer())) == "token-algorithm"
    assert program.refusal(program.token()[:-8] + "AAAAAAAA") == "token-signature"
    assert program.refusal("Bearer " + program.token()).startswith("token")
    assert program.refusal("") == program.refusal("a.b") == program.refusal("a.b.c")
    program.guard.verify(program.token(exp=NOW + 60))
    program.now += 61
    assert program.refusal(program.token(exp=NOW + 60)) == "token-expired"


async def test_a_token_is_refused_in_a_coroutine_too(program: Program) -> None:
    with pytest.raises(InvalidToken):
        await program.guard.averify(program.token(aud="another"))
    program.publish(b"", 500)
    program.now += 3 * HOUR
    assert (await program.guard.averify(program.token())).subject == "ann", "the last good keys count"


def test_an_unknown_key_makes_the_issuer_be_asked_once_in_a_while(program: Program) -> None:
    program.guard.verify(program.token())
    new = rsa_signer(kid="rsa-2")
    for _ in range(20):
        assert program.refusal(program.token(new)) == "token-key"
    assert len(program.issuer.asked) == 1, "asked a moment ago"
    program.now += 10
    for _ in range(20):
        assert program.refusal(program.token(new)) == "token-key"
    assert len(program.issuer.asked) == 2
    program.publish(key_set(rsa_signer(), new))
    program.now += 10
    assert program.guard.verify(program.token(new)).subject == "ann"
    assert program.guard.verify(program.token()).subject == "ann"
    assert len(program.issuer.asked) == 3


def test_an_issuer_that_does_not_answer_lets_nobody_in(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    program.publish(b"", 500)
    for _ in range(3):
        with pytest.raises(Unavailable, match="500") as caught:
            program.guard.verify(program.token())
    assert isinstance(caught.value, StagedoorError)
    assert caught.value.retry_after > 0
    assert len(program.issuer.asked) == 1
    program.publish(key_set(rsa_signer()))
    program.now += 10
    assert program.guard.verify(program.token()).subject == "ann"
    said = [line for line in caplog.messages if "keys of issuer" in line]
    assert len(said) == 2, "that it is away, and that it is here again: once each"


# --- keys that are renewed


def test_a_withdrawn_key_stops_to_count_and_no_request_waits_for_that(program: Program) -> None:
    program.guard.verify(program.token())
    program.publish(key_set(rsa_signer(kid="rsa-2")))
    program.now += HOUR - 60
    program.guard.verify(program.token())
    assert len(program.issuer.asked) == 1
    program.now += 60
    assert program.guard.verify(program.token()).subject == "ann", "the keys are fetched beside it"
    poll(lambda: not program.lets_in(rsa_signer()), 30, "a refusal", 0.01)
    assert len(program.issuer.asked) == 2


def test_a_program_that_slept_fetches_the_keys_before_it_believes_a_token(program: Program) -> None:
    program.guard.verify(program.token())
    program.publish(key_set(rsa_signer(kid="rsa-2")))
    program.now += 2 * HOUR
    assert program.refusal(program.token()) == "token-key"
    assert len(program.issuer.asked) == 2


def test_while_an_issuer_is_away_its_last_keys_count(program: Program) -> None:
    program.guard.verify(program.token())
    program.publish(b"", 500)
    for hours in (1, 2, 3, 5):
        program.now = NOW + hours * HOUR
        # Verified each time, because the thread of the question before may not have ended yet.
        poll(partial(program.goes_on_and_was_asked, 1 + min(hours, 2)), 30, "a question", 0.01)


# --- threads and tasks


def test_threads_that_verify_at_once_share_one_exchange(program: Program) -> None:
    program.publish(key_set(rsa_signer()), wait=0.3)
    texts = [program.token(sub=f"person-{number}") for number in range(24)]
    with ThreadPoolExecutor(24) as threads:
        callers = list(threads.map(program.guard.verify, texts))
    assert [caller.subject for caller in callers] == [f"person-{number}" for number in range(24)]
    assert program.issuer.asked == ["/keys"]


def test_nobody_waits_for_what_another_thread_is_waiting_for(program: Program) -> None:
    known, new = program.token(), program.token(rsa_signer(kid="rsa-2"))
    program.guard.verify(known)
    program.now += 10
    program.publish(key_set(rsa_signer()), wait=3.0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(program.refusal, new)
        poll(partial(program.was_asked, 2), 30, "a question", 0.01)
        assert program.guard.verify(known).subject == "ann"
        assert program.guard.answer(ask("/public/a")) == program.guard.answer(ask("/public/a"))
        assert not waiting.done()
        assert waiting.result() == "token-key"


async def test_a_task_that_is_cancelled_leaves_the_guard_in_order(program: Program) -> None:
    program.publish(key_set(rsa_signer()), wait=0.3)
    tasks = [asyncio.create_task(program.guard.averify(program.token(sub=name))) for name in ("ann", "ben", "eve")]
    while not program.issuer.asked:  # noqa: ASYNC110 - another thread fills it
        await asyncio.sleep(0.01)
    tasks[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await tasks[0]
    assert [(await task).subject for task in tasks[1:]] == ["ben", "eve"]
    assert (await program.guard.averify(program.token())).subject == "ann"
    assert program.issuer.asked == ["/keys"]


def test_threads_may_share_all_of_it_while_keys_change(program: Program) -> None:
    """Nothing raises but refusals, and whoever is let in is who they say."""
    signers = [rsa_signer(), rsa_signer(kid="rsa-2")]
    texts = {f"person-{number}": [program.token(one, sub=f"person-{number}") for one in signers] for number in range(6)}
    stop, wrong, let_in = threading.Event(), list[str](), [0]

    def verify(name: str) -> None:
        while not stop.is_set():
            for text in texts[name]:
                try:
                    caller = program.guard.verify(text)
                except InvalidToken:
                    continue
                except Exception as error:
                    wrong.append(repr(error))
                    return
                let_in[0] += 1
                if caller.subject != name or not program.guard.may_read(caller, f"users/{name}/a"):
                    wrong.append(f"{name} was {caller}")

    threads = [threading.Thread(target=verify, args=(name,)) for name in texts]
    for thread in threads:
        thread.start()
    try:
        for turn in range(40):
            program.publish(key_set(signers[turn % 2]))
            poll(partial(program.has_come, signers[turn % 2], wrong), 30, "the new key", 0.001)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert let_in[0] > 0


# --- a door of one's own


def ask(target: str, method: str = "GET", **fields: str) -> Request:
    path, _, query = target.encode().partition(b"?")
    return Request(method, path, query, {name.encode(): [text.encode()] for name, text in fields.items()})


async def test_a_guard_answers_whole_requests(program: Program) -> None:
    guard, good = program.guard, bearer(program.token())
    for answer in (guard.answer, lambda asked: asyncio.run(guard.aanswer(asked))):
        mine = await asyncio.to_thread(answer, ask("/users/ann/a%20b", authorization=good))
        assert isinstance(mine, Serve)
        assert (mine.key, mine.caller) == ("users/ann/a b", "staff:ann")
        for target, status in (("/users/ben/a", 403), ("/users/ann/../ben/a", 400), ("/-/whoami", 200)):
            reply = await asyncio.to_thread(answer, ask(target, authorization=good))
            assert isinstance(reply, Reply)
            assert reply.status == status
        nothing = await asyncio.to_thread(answer, ask("/-/s3objects", authorization=good))
        assert isinstance(nothing, Reply)
        assert nothing.status == 404, "a guard has no store to list"


def test_a_store_and_a_catalogue_in_the_settings_are_left_alone(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "whole.toml"
    more = '[catalogue]\nurl = "sqlite:///catalogue.db"\n'
    text = SETTINGS.replace("$ISSUER", program.issuer.url).replace("[[issuers]]", 'store = "memory:"\n[[issuers]]', 1)
    file.write_text(text + more, encoding="utf-8")
    guard = Guard(load_settings(file, {}), clock=lambda: NOW)
    for target in ("/-/s3objects", "/-/contents/1"):
        reply = guard.answer(ask(target, authorization=bearer(program.token())))
        assert isinstance(reply, Reply)
        assert reply.status == 404
    assert not (tmp_path / "catalogue.db").exists()


async def test_a_door_can_be_driven_with_the_ready_made_drivers(program: Program) -> None:
    wanted = ask("/users/ann/a", authorization=bearer(program.token()))

    def wait(wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        return fetch(wish)

    door = make_door(program.guard.settings)
    assert isinstance(await asyncio.to_thread(lambda: run(door.answer(wanted, NOW), wait)), Serve)
    door, fetcher = make_door(program.guard.settings), Fetcher()

    async def later(wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        return await fetcher(wish)

    assert isinstance(await arun(door.answer(wanted, NOW), later), Serve)
    await fetcher.aclose()


async def test_both_drivers_read_files(tmp_path: Path) -> None:
    (tmp_path / "keys file.json").write_bytes(b"{}")
    wish, fetcher = Fetch((tmp_path / "keys file.json").as_uri()), Fetcher()
    assert fetch(wish) == await fetcher(wish) == Fetched(b"{}")
    missing = Fetch((tmp_path / "missing").as_uri())
    assert fetch(missing).error
    assert (await fetcher(missing)).error
    await fetcher.aclose()


def test_the_store_in_memory_is_a_store() -> None:
    store: Store = MemoryStore()
    asyncio.run(store.ready())


# --- passes


def test_a_signer_takes_time_as_a_program_has_it() -> None:
    signer = load_signer("shop", new_pair("ec").private)
    later = datetime.now(UTC) + timedelta(hours=1)
    for expires in (timedelta(hours=1), later, int(later.timestamp())):
        url = signer.url("https://assets.example.com/a", expires)
        assert abs(int(url.partition("Expires=")[2].partition("&")[0]) - later.timestamp()) < 600
        assert len(signer.cookies("https://assets.example.com/a/*", expires)) == 4
    with pytest.raises(StagedoorError, match=r"timedelta\(seconds=3600\)"):
        signer.url("https://assets.example.com/a", 3600)


# --- the examples of the page


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples open."""
    (settings,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "stagedoor.toml").write_text(settings, encoding="utf-8")
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))
    (tmp_path / "private.pem").write_bytes(new_pair("ec").private)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STAGEDOOR_")]:
        monkeypatch.delenv(name)
    return tmp_path


def example(words: str) -> dict[str, Any]:
    """The names of the one example on the page that holds these words, after it was run."""
    (text,) = (text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if words in text)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(text, "python.md", "exec"), names)
    return names


def token_of(name: str, **more: Any) -> str:
    expires = int(datetime.now(UTC).timestamp()) + 600
    return token(claims(**{"iss": "https://id.example.com/tenant", "aud": CLIENT, "sub": name, "exp": expires, **more}))


@pytest.mark.parametrize("words", ["policy = compile_rules", "def film(", "door = make_door("])
def test_the_examples_work(home: Path, words: str) -> None:
    example(words)


def test_all_examples_are_run() -> None:
    assert PAGE.count("```python\n") == 6


@pytest.fixture
def own_door(home: Path) -> Iterator[Callable[..., tuple[int, dict[str, str], bytes]]]:
    """The example of a door of one's own, served; asked with raw targets."""
    names = example("BaseHTTPRequestHandler")
    handler = names["Handler"]
    handler.log_message = lambda *_: None
    server = names["ThreadingHTTPServer"](("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()

    def send(target: str, name: str = "", method: str = "GET", **fields: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        with contextlib.closing(connection):
            given = {**fields, **({"Authorization": bearer(token_of(name))} if name else {})}
            connection.putrequest(method, target, skip_accept_encoding=True)
            for field, text in given.items():
                connection.putheader(field, text)
            connection.endheaders()
            heard = connection.getresponse()
            return heard.status, {key.lower(): value for key, value in heard.getheaders()}, heard.read()

    yield send
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_own_door_serves_a_caller_their_own_object_and_nothing_else(own_door: Any) -> None:
    status, fields, body = own_door("/users/ann/hello.txt", "ann")
    assert (status, body) == (200, b"hello, ann\n")
    assert fields["content-type"] == "text/plain; charset=utf-8"
    assert fields["cache-control"] == "private, no-cache"
    assert own_door("/users/ann/hello.txt", Cookie=f"token={token_of('ann')}")[0] == 200
    assert own_door("/users/ann/h%65llo.txt", "ann")[2] == b"hello, ann\n"
    assert own_door("/users/ann/hello.txt", "ben")[0] == 403
    assert own_door("/users/ann/hello.txt")[0] == 401
    assert own_door("/users/ann/missing.txt", "ann")[0] == 404
    assert own_door("/users/ann/hello.txt", Authorization=bearer(token_of("ann", exp=NOW)))[0] == 401


@pytest.mark.parametrize(
    "target",
    [
        "//users/ann/hello.txt",
        "/users/ben/../ann/hello.txt",
        "/users/ann/%2e%2e/ben/a",
        "/users/ann%2fhello.txt",
        "/users/ann\\hello.txt",
        "http://elsewhere.example.com/users/ann/hello.txt",
    ],
)
def test_the_own_door_refuses_targets_that_two_programs_could_read_differently(own_door: Any, target: str) -> None:
    assert own_door(target, "ann")[0] == 400


def test_the_own_door_answers_head_and_its_own_addresses(own_door: Any) -> None:
    status, fields, body = own_door("/users/ann/hello.txt", "ann", "HEAD")
    assert (status, fields["content-length"], body) == (200, "11", b"")
    assert own_door("/-/whoami", "ann")[0] == 200
    assert own_door("/users/ann/hello.txt", "ann", "DELETE")[0] == 501


def test_many_clients_of_the_own_door_at_once(own_door: Any) -> None:
    with ThreadPoolExecutor(8) as threads:
        names = ["ann", "ben"] * 20
        heard = list(threads.map(lambda name: own_door("/users/ann/hello.txt", name)[0], names))
    assert heard == [200, 403] * 20


class Answered(SimpleNamespace):
    """Stands in for Django's answers."""

    def __init__(self, content: object = b"", status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(content=content, status=status, headers=headers or {})


def test_the_view_of_django(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs: Any = ModuleType("django.http")
    theirs.HttpRequest, theirs.HttpResponse = object, Answered
    theirs.HttpResponseRedirect = lambda url, headers: Answered(url, 302, headers)
    monkeypatch.setitem(sys.modules, "django", ModuleType("django"))
    monkeypatch.setitem(sys.modules, "django.http", theirs)
    file = example("from django.http")["file"]

    def view(key: str, authorization: str | None = None) -> Answered:
        answer = file(SimpleNamespace(headers={"Authorization": authorization} if authorization else {}), key)
        assert isinstance(answer, Answered)
        return answer

    sent = view("users/ann/a b.png", bearer(token_of("ann")))
    assert (sent.status, sent.headers) == (302, {"Cache-Control": "no-store"})
    assert str(sent.content).startswith("https://assets.example.com/users/ann/a%20b.png?Expires=")
    assert view("users/ben/a.png", bearer(token_of("ann"))).status == 403
    assert view("users/ben/../ann/a.png", bearer(token_of("ann"))).status == 403
    assert view("users/ann/a.png").status == 403
    assert view("users/ann/a.png", bearer(token_of("ann", exp=NOW))).status == 401
    assert view("users/ann/a.png", "Basic YW5uOmFubg==").status == 401


async def test_the_dependency_of_fastapi(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class HTTPException(Exception):
        def __init__(self, status_code: int, detail: object = None, headers: dict[str, str] | None = None) -> None:
            self.status_code, self.detail, self.headers = status_code, detail, headers

    theirs: Any = ModuleType("fastapi")
    security: Any = ModuleType("fastapi.security")
    theirs.Depends, theirs.HTTPException = lambda made: made, HTTPException
    theirs.FastAPI = lambda: SimpleNamespace(get=lambda path: lambda made: made)
    security.HTTPBearer, security.HTTPAuthorizationCredentials = SimpleNamespace, SimpleNamespace
    monkeypatch.setitem(sys.modules, "fastapi", theirs)
    monkeypatch.setitem(sys.modules, "fastapi.security", security)
    names = example("from fastapi import")
    ann: Caller = await names["signed_in"](SimpleNamespace(credentials=token_of("ann")))
    assert await names["note"]("users/ann/a", ann) == {"note": "a note on users/ann/a, for ann"}
    with pytest.raises(HTTPException) as caught:
        await names["note"]("users/ben/a", ann)
    assert caught.value.status_code == 403
    with pytest.raises(HTTPException) as caught:
        await names["signed_in"](SimpleNamespace(credentials=token_of("ann", exp=NOW)))
    assert (caught.value.status_code, caught.value.detail) == (401, "token-expired")
