"""The three browser engines, driven alike: Chromium and Firefox by `browser.mjs`, WebKit by its WebDriver.

A profile is a browser that nobody has used before; its tabs share cookies. What an engine cannot do at the moment,
because a page is just being replaced by the next, is not an error but an empty answer: tests wait for what they expect.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.helpers import services
from tests.helpers.servers import environment, poll

PATIENCE = 40.0
"""Seconds until what must happen in a browser counts as not happening."""
ADAPTER = services.NODE_FOLDER / "browser.mjs"
NO_COOKIES = {"network.cookie.cookieBehavior": 2}
"""Firefox, told to keep no cookies at all."""


class Tab(Protocol):
    """A tab of a browser."""

    def goto(self, url: str) -> None:
        """Go somewhere, and wait until the page that comes of it has loaded."""

    def click(self, selector: str) -> None:
        """Click on the first element of a kind, as a hand with a mouse does."""

    def fill(self, selector: str, text: str) -> None: ...

    def url(self) -> str: ...

    def script(self, source: str) -> Any:
        """Evaluate an expression in the page; a promise is waited for."""

    def click_in_frame(self, selector: str) -> None: ...

    def text_in_frame(self) -> str: ...

    def close(self) -> None: ...


class Profile(Protocol):
    """A browser that nobody has used before."""

    def tab(self) -> Tab: ...

    def cookies(self) -> Mapping[str, str]:
        """All cookies, those that no script sees too; with WebKit those of the site that is shown."""

    def forget_cookie(self, name: str) -> None: ...

    def close(self) -> None: ...


class Engine(Protocol):
    def profile(self) -> Profile: ...

    def stop(self) -> None: ...


def start(name: str, folder: Path, *, cookies: bool = True) -> Engine:
    """Start an engine.

    Args:
        name: `chromium`, `firefox` or `webkit`.
        folder: where it may keep what it likes.
        cookies: False: with its own setting that no site may keep any. Chromium's shell has none: `refuse_cookies`.
    """
    if name == "webkit":
        return WebKit(folder, cookies)
    return Puppet(name, folder, {} if cookies else NO_COOKIES)


# --- Chromium and Firefox


class Puppet:
    """A browser that `browser.mjs` drives."""

    def __init__(self, name: str, folder: Path, preferences: Mapping[str, object]) -> None:
        node, program = services.program("node"), services.program(name)
        assert node
        assert program
        kind = "chrome" if name == "chromium" else name
        with (folder / f"{name}.err").open("ab") as err:
            self._process = subprocess.Popen(
                [node, str(ADAPTER), kind, program, json.dumps(preferences)],
                env=environment(folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        self._asked = 0
        self._read()

    def ask(self, do: str, *arguments: object) -> Any:
        """Let it do something.

        Raises:
            Busy: it did not come about.
        """
        assert self._process.stdin
        self._asked += 1
        self._process.stdin.write(json.dumps({"id": self._asked, "do": do, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        assert answer["id"] == self._asked
        if "error" in answer:
            raise Busy(answer["error"])
        return answer["value"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the browser has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def profile(self) -> Profile:
        return _PuppetProfile(self)

    def stop(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


def refuse_cookies(tab: Tab, beginning: str) -> None:
    """Let Chromium forget, before each request, the cookies whose names begin like this."""
    assert isinstance(tab, _PuppetTab)
    tab.refuse_cookies(beginning)


def without_script(tab: Tab) -> None:
    """Let Chromium run no scripts of pages any more; what the tests ask for works all the same."""
    assert isinstance(tab, _PuppetTab)
    tab.without_script()


class Busy(Exception):
    """A browser did not do what it was asked to."""


class _PuppetProfile:
    def __init__(self, browser: Puppet) -> None:
        self._browser, self._id = browser, browser.ask("newProfile")

    def tab(self) -> Tab:
        return _PuppetTab(self._browser, self._browser.ask("newTab", self._id))

    def cookies(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self._browser.ask("cookies", self._id)
        return found

    def forget_cookie(self, name: str) -> None:
        self._browser.ask("forgetCookie", self._id, name)

    def close(self) -> None:
        self._browser.ask("closeProfile", self._id)


class _PuppetTab:
    def __init__(self, browser: Puppet, id_: int) -> None:
        self._browser, self._id = browser, id_

    def goto(self, url: str) -> None:
        self._browser.ask("goto", self._id, url)

    def click(self, selector: str) -> None:
        self._browser.ask("click", self._id, selector)

    def fill(self, selector: str, text: str) -> None:
        self._browser.ask("fill", self._id, selector, text)

    def url(self) -> str:
        found: str = self._browser.ask("url", self._id)
        return found

    def script(self, source: str) -> Any:
        return self._browser.ask("script", self._id, source)

    def click_in_frame(self, selector: str) -> None:
        self._browser.ask("clickInFrame", self._id, selector)

    def text_in_frame(self) -> str:
        found: str = self._browser.ask("textInFrame", self._id)
        return found

    def refuse_cookies(self, beginning: str) -> None:
        self._browser.ask("refuseCookies", self._id, beginning)

    def without_script(self) -> None:
        self._browser.ask("noScript", self._id)

    def close(self) -> None:
        self._browser.ask("closeTab", self._id)


# --- WebKit


class WebKit:
    """WebKitGTK's small browser on a screen that nobody sees; each profile is a process of its own."""

    def __init__(self, folder: Path, cookies: bool) -> None:
        self._folder, self._cookies = folder, cookies
        screen = shutil.which("Xvfb")
        assert screen
        self._screen = subprocess.Popen(
            [screen, "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._screen.stdout
        self._display = f":{self._screen.stdout.readline().strip()}"
        self._open = list[_WebKitProfile]()

    def profile(self) -> Profile:
        options = webdriver.WebKitGTKOptions()
        browser = services.program("minibrowser")
        assert browser
        options.binary_location = browser
        options.add_argument("--automation")
        if not self._cookies:
            options.add_argument("--cookies-policy=never")
        options.set_capability("acceptInsecureCerts", True)
        env = environment(self._folder, DISPLAY=self._display)
        driver = webdriver.WebKitGTK(options, webdriver.WebKitGTKService(services.program("webkit"), env=env))
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        self._open.append(_WebKitProfile(driver))
        return self._open[-1]

    def stop(self) -> None:
        for profile in self._open:
            profile.close()
        self._screen.terminate()
        self._screen.wait(PATIENCE)
        assert self._screen.stdout
        self._screen.stdout.close()


class _WebKitProfile:
    def __init__(self, driver: webdriver.WebKitGTK) -> None:
        self._driver, self._used, self._closed = driver, False, False

    def tab(self) -> Tab:
        if self._used:
            self._driver.switch_to.new_window("tab")
        self._used = True
        return _WebKitTab(self._driver, self._driver.current_window_handle)

    def cookies(self) -> Mapping[str, str]:
        return {cookie["name"]: cookie["value"] for cookie in self._driver.get_cookies()}

    def forget_cookie(self, name: str) -> None:
        self._driver.delete_cookie(name)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._driver.quit()


class _WebKitTab:
    def __init__(self, driver: webdriver.WebKitGTK, handle: str) -> None:
        self._driver, self._handle = driver, handle

    @contextmanager
    def _shown(self) -> Iterator[webdriver.WebKitGTK]:
        try:
            if self._driver.current_window_handle != self._handle:
                self._driver.switch_to.window(self._handle)
            yield self._driver
        except WebDriverException as error:
            raise Busy(str(error)) from error

    def goto(self, url: str) -> None:
        with self._shown() as driver:
            driver.get(url)

    def click(self, selector: str) -> None:
        with self._shown() as driver:
            WebDriverWait(driver, PATIENCE).until(lambda _: driver.find_element(By.CSS_SELECTOR, selector)).click()

    def fill(self, selector: str, text: str) -> None:
        with self._shown() as driver:
            found = WebDriverWait(driver, PATIENCE).until(lambda _: driver.find_element(By.CSS_SELECTOR, selector))
            found.send_keys(text)

    def url(self) -> str:
        with self._shown() as driver:
            return driver.current_url

    def script(self, source: str) -> Any:
        whole = f"const done = arguments[0]; Promise.resolve({source}).then(done, error => done(String(error)))"
        with self._shown() as driver:
            return driver.execute_async_script(whole)

    def click_in_frame(self, selector: str) -> None:
        with self._framed() as driver:
            driver.find_element(By.CSS_SELECTOR, selector).click()

    def text_in_frame(self) -> str:
        with self._framed() as driver:
            return driver.find_element(By.TAG_NAME, "body").text

    @contextmanager
    def _framed(self) -> Iterator[webdriver.WebKitGTK]:
        with self._shown() as driver:
            frame = WebDriverWait(driver, PATIENCE).until(lambda _: driver.find_element(By.TAG_NAME, "iframe"))
            driver.switch_to.frame(frame)
            try:
                yield driver
            finally:
                driver.switch_to.default_content()

    def close(self) -> None:
        with self._shown() as driver:
            driver.close()


# --- waiting


def text(tab: Tab) -> str:
    """What the page shows; "" while it is replaced by the next."""
    try:
        return str(tab.script("document.body ? document.body.innerText : ''") or "")
    except Busy:
        return ""


def until(tab: Tab, question: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something is so; where it is not, the message says what the tab shows."""
    try:
        poll(question, seconds, what)
    except AssertionError as error:
        raise AssertionError(f"{error}; {tab.url()} shows: {text(tab)[:600]}") from None


def until_text(tab: Tab, wanted: str) -> str:
    """Wait until the page shows a text; returns all that it shows."""
    seen = ""

    def shown() -> bool:
        nonlocal seen
        seen = text(tab)
        return wanted in seen

    until(tab, shown, wanted)
    return seen
