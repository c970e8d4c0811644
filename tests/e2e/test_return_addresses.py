"""Where sign-in sends a browser: thousands of hostile `next` values, judged as the URL standard judges them."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.core.return_to import resolved, return_to
from tests.helpers.support import SITE

pytestmark = pytest.mark.needs("oidc-provider")  # installed with the other npm packages

SEED, EACH = 20_301_130, 4000
STARTS = (
    "",
    "/",
    "//",
    "/\\",
    "\\",
    "\\\\",
    "///",
    "/.",
    "/..",
    "/%2e",
    "/%09/",
    "/\t/",
    "/;",
    "/@",
    "?",
    "#",
    " ",
    "\0",
)
MIDDLES = (
    *("evil.example", "evil.example:80", "user@evil.example", "@evil.example", "evil.example\\@assets.example.com"),
    *(
        "https://evil.example",
        "https:evil.example",
        "https:/evil.example",
        "HTTPS://evil.example",
        "javascript:alert(1)",
    ),
    *("data:text/html,x", "%2f%2fevil.example", "%5cevil.example", "。evil.example", "ev\u00adil.example", "[::1]"),
    *("0x7f.1", "-/login", "-/logout", "-/../-/login", "./-/login", "%2e/-/login", "-/%2e/callback", "x/../-/renew"),
)
ENDS = (
    "",
    "/",
    "/..",
    "/../..",
    "/%2e%2e/",
    "?next=//evil.example",
    "#//evil.example",
    "\r\nLocation: x",
    "%0d%0a",
    "é",
)
LETTERS = "/\\.:@?#%2e5cEaAlogin-\t\r\n \0\u200bé。"


def hostile() -> Iterator[str]:
    """Values that have been used against return addresses, put together in every way, and random ones."""
    for start, middle, end in itertools.product(STARTS, MIDDLES, ENDS):
        yield start + middle + end
    dice = random.Random(SEED)
    for _ in range(EACH):
        yield "".join(dice.choices(LETTERS, k=dice.randrange(1, 30)))
    for text in ("/a", "/-/login", "//evil.example"):
        yield SITE + text
        yield f"{SITE}.evil.example{text}"
        yield f"{SITE}@evil.example{text}"
        yield SITE.replace("https", "http") + text


def as_browsers_read(urls: list[str]) -> list[tuple[str, str] | None]:
    node = shutil.which("node")
    assert node
    script = Path(__file__).with_name("urls.mjs")
    done = subprocess.run([node, script], input=json.dumps(urls), capture_output=True, text=True, check=True)
    return [tuple(one) if one else None for one in json.loads(done.stdout)]


def test_no_value_leaves_the_site_or_comes_back_to_sign_in() -> None:
    asked = [*dict.fromkeys(hostile())]
    assert len(asked) > 7000
    locations = [SITE + return_to(text, SITE) for text in asked]
    for text, location, read in zip(asked, locations, as_browsers_read(locations), strict=True):
        assert read is not None, (text, location)
        origin, rest = read
        assert origin == SITE, (text, location)
        path = rest.partition("?")[0].partition("#")[0]
        assert not any(f"{path}/".startswith(f"/-/{name}/") for name in ("login", "callback", "renew", "logout")), text
        sent = location.removeprefix(SITE).partition("?")[0].partition("#")[0]
        assert path == resolved(sent), (text, location)
