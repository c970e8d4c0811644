"""Sessions over the wire: one browser, and gateways whose settings are not, or no longer, the same."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.helpers.serving import SITE, fresh_token, prepare, serving, settings_text

LOGIN = "https://app.example.com/login"
PAGE = f'[login]\npage = "{LOGIN}"\nsession_keys = ["file:session.key"]\n'
BANNED = '[[rules]]\npath = "team/**"\ndeny = { groups = ["banned"] }\n'
NAVIGATION = {"sec-fetch-mode": "navigate"}


class Clock:
    """Seconds that gateways are ahead of the time."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Browser:
    """Keeps cookies as a browser does, whichever of the gateways a request goes to."""

    def __init__(self, clock: Clock, client: httpx.AsyncClient) -> None:
        self.clock, self._client = clock, client

    async def get(self, port: int, target: str = "/team/a.txt", **fields: str) -> httpx.Response:
        return await self._client.get(f"http://127.0.0.1:{port}{target}", headers=fields)

    async def navigate(self, port: int, target: str = "/team/a.txt") -> httpx.Response:
        return await self.get(port, target, **NAVIGATION)

    async def sign_in(self, port: int, **claims: object) -> httpx.Response:
        """What the sign-in page does before it leads back."""
        fields = {"authorization": f"Bearer {fresh_token(**claims)}"}
        return await self._client.post(f"http://127.0.0.1:{port}/-/session", headers=fields)

    @property
    def cookies(self) -> list[str]:
        return [cookie.name for cookie in self._client.cookies.jar]

    @property
    def values(self) -> list[str]:
        return [cookie.value or "" for cookie in self._client.cookies.jar]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(headers={"connection": "close"}) as client:
        yield Browser(Clock(), client)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path, {"team/a.txt": b"team", "public/a.txt": b"hello"})
    (tmp_path / "session.key").write_bytes(b"k" * 40)
    return tmp_path


async def started(stack: AsyncExitStack, folder: Path, text: str, clock: Clock) -> int:
    return (await stack.enter_async_context(serving(folder, text, clock=clock))).port


async def test_a_new_deny_shuts_out_a_session_that_dropped_what_it_asks(folder: Path, browser: Browser) -> None:
    """The session holds no group, because no rule asked for one when it was made."""
    async with AsyncExitStack() as stack:
        before = await started(stack, folder, settings_text(more=PAGE), browser.clock)
        after = await started(stack, folder, settings_text(more=BANNED + PAGE), browser.clock)
        assert (await browser.sign_in(before, groups=["banned"])).status_code == 204
        assert (await browser.get(before)).text == "team"
        refused = await browser.get(after)
        assert (refused.status_code, refused.json()["code"]) == (401, "session-outdated")
        assert (await browser.sign_in(after, groups=["banned"])).status_code == 204
        assert (await browser.get(after)).json()["code"] == "denied"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('audience = ["my-client-id"]', 'audience = ["another-app"]'),
        ('audience = ["my-client-id"]', 'audience = ["my-client-id"]\nalgorithms = ["RS256", "ES256"]'),
        ('audience = ["my-client-id"]', 'audience = ["my-client-id"]\nclaims = { groups = "roles" }'),
    ],
    ids=["audience", "algorithms", "claims"],
)
async def test_what_was_taken_out_of_an_issuers_entry_proves_no_session_any_more(
    folder: Path, browser: Browser, old: str, new: str
) -> None:
    text = settings_text(more=PAGE)
    assert old in text
    async with AsyncExitStack() as stack:
        before = await started(stack, folder, text, browser.clock)
        after = await started(stack, folder, text.replace(old, new), browser.clock)
        await browser.sign_in(before)
        refused = await browser.get(after)
        assert (refused.status_code, refused.json()["code"]) == (401, "session-outdated")


async def test_a_browser_between_two_gateways_signs_in_once_and_is_then_told_to_wait(
    folder: Path, browser: Browser
) -> None:
    """Half-way through a change of rules the session is always made by the other gateway: that must be no loop."""
    async with AsyncExitStack() as stack:
        old = await started(stack, folder, settings_text(more=PAGE), browser.clock)
        new = await started(stack, folder, settings_text(more=BANNED + PAGE), browser.clock)
        await browser.sign_in(old)
        browser.clock.ahead = 3600.0
        led_away = await browser.navigate(new)
        assert led_away.status_code == 302
        assert led_away.headers["location"].startswith(LOGIN)
        await browser.sign_in(old)
        waits = await browser.navigate(new)
        assert (waits.status_code, waits.headers["retry-after"]) == (503, "10")
        assert "rolling-out" in waits.text
        assert (await browser.get(new)).json()["code"] == "session-outdated"
        assert browser.cookies  # no answer took the session away: the other gateway still reads it
        assert (await browser.get(old)).text == "team"
        await browser.sign_in(new)
        assert (await browser.navigate(new)).text == "team"


async def test_other_rules_that_no_session_can_get_past_sign_nobody_out(folder: Path, browser: Browser) -> None:
    more = '[[rules]]\npath = "more/**"\nallow = { groups = ["new"] }\n[[rules]]\npath = "old/**"\ndeny = "anyone"\n'
    async with AsyncExitStack() as stack:
        before = await started(stack, folder, settings_text(more=PAGE), browser.clock)
        after = await started(stack, folder, settings_text(more=more + PAGE), browser.clock)
        await browser.sign_in(before)
        assert (await browser.get(after)).text == "team"


async def test_two_sites_of_one_host_do_not_sign_each_other_out(folder: Path, browser: Browser) -> None:
    """Browsers send the cookies of a host to each of its ports."""
    text = settings_text(more=PAGE)
    other = text.replace(SITE, "http://127.0.0.1:9090").replace("session.key", "other.key")
    (folder / "other.key").write_bytes(b"o" * 40)
    async with AsyncExitStack() as stack:
        first = await started(stack, folder, text, browser.clock)
        second = await started(stack, folder, other, browser.clock)
        await browser.sign_in(first)
        await browser.sign_in(second)
        assert sorted(browser.cookies) == ["stagedoor-8080", "stagedoor-9090"]
        for _ in range(2):
            assert (await browser.navigate(first)).text == "team"
            assert (await browser.navigate(second)).text == "team"


async def test_late_refusals_of_pictures_do_not_delete_the_session_made_meanwhile(
    folder: Path, browser: Browser
) -> None:
    async with AsyncExitStack() as stack:
        port = await started(stack, folder, settings_text(more=PAGE), browser.clock)
        await browser.sign_in(port)
        (old,) = browser.values
        picture = {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
        late = [await browser.get(port, cookie=f"stagedoor-8080={old[:-4]}AAAA", **picture) for _ in range(30)]
        assert {answer.status_code for answer in late} == {401}
        assert browser.values == [old]
        gone = await browser.get(port, cookie=f"stagedoor-8080={old[:-4]}AAAA", **NAVIGATION)
        assert gone.status_code == 302
        assert browser.cookies == []
