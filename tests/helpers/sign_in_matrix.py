"""Which scenario of sign-in and renewal is tried with which engine at which provider, and what is not, and why.

The tests take their parameters from here; `python -m tests.helpers.sign_in_matrix` writes the page of the docs from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ENGINES = ("chromium", "firefox", "webkit")
PROVIDERS = ("oidc-provider", "cognito-local", "demo")
NAMES = {"chromium": "Chromium", "firefox": "Firefox", "webkit": "WebKit"}
PAGE = Path(__file__).parents[2] / "docs/reference/sign-in-matrix.md"

SCENARIOS: Mapping[str, str] = {
    "first_sign_in": "Somebody who was never here opens a page, signs in, and sees it",
    "deep_link": "A deep link with odd characters and a query is still itself after sign-in",
    "thirty_tabs": "Thirty tabs at once: each ends at its own page",
    "expiry": "The session ends while a page loads 30 pictures: those get 401, no loop; the next page signs in again",
    "sign_out": "Sign-out here and at the provider: the next visit asks who one is",
    "another_person": "Another person at the same browser sees nothing of the first",
    "no_cookies": "Cookies are blocked: a page says so, no loop",
    "foreign_frame": "In another site's frame: one link, which signs in in the whole window",
    "back_after_sign_out": "The back button after sign-out shows nothing",
    "wrong_clock": "The site's clock is off by an hour: a page names the clocks, or it does no harm",
    "provider_down": "The provider is down: 503 and a page, and known sessions go on",
    "key_rotation": "The provider changes its key: known sessions go on, new ones begin",
    "renewal_tabs": "Ten tabs are restored at once while claims are due: each shows its page, one asks the provider",
    "renewal_silent_tabs": "The same with stale claims and no refresh tokens: each asks the provider unseen",
    "renewal_pictures": "Claims fall due while a page loads 30 pictures: all load, and the next page renews",
    "renewal_film": "A film plays on, in ranges, while its session is renewed twice",
    "renewal_script": "A single-page app renews by itself, even stale claims, and its fetches work again",
    "renewal_navigation": "Without a refresh token it is told to navigate, and a navigation renews unseen",
    "renewal_fragment": "What stands behind `#` is still there after a renewal, by refresh token or unseen",
    "renewal_provider_down": "The provider is down: the session goes on until its claims are stale, then 503",
    "renewal_lost_group": "Who has lost a group gets 403 for its files from the next renewal on",
    "renewal_other_person": "Somebody else is signed in at the provider by now: the session ends",
    "renewal_no_script": "Without script (Chromium), or where its script gives up, a button renews",
}
"""Name of the test -> what happens."""
AT_THE_SERVER = "the engine has no part in it"
NOT_TRIED: Mapping[tuple[str, str, str], str] = {
    **{(name, engine, "*"): AT_THE_SERVER for name in ("wrong_clock", "key_rotation") for engine in ENGINES[1:]},
    **{
        ("no_cookies", engine, "oidc-provider"): "it needs a cookie itself, and these engines block all or none"
        for engine in ENGINES[1:]
    },
    **{
        (name, engine, provider): "it has no session in the browser"
        for name in ("renewal_silent_tabs", "renewal_navigation", "renewal_other_person")
        for engine in ENGINES
        for provider in ("cognito-local", "demo")
    },
    **{("renewal_lost_group", engine, "demo"): "its people stay as they are" for engine in ENGINES},
}
"""Scenario, engine, provider (`*`: all) -> why it is not tried."""
QUICK = (
    *("first_sign_in", "deep_link", "sign_out", "no_cookies", "foreign_frame"),
    *("renewal_tabs", "renewal_navigation"),
)
"""Scenarios that run on each call of `./test`, with Chromium and oidc-provider; the others with CI=true."""


class Cell(NamedTuple):
    engine: str
    provider: str

    @property
    def is_quick(self) -> bool:
        return self == ("chromium", "oidc-provider")


def cells(scenario: str) -> Iterator[Cell]:
    """Where a scenario is tried; neighbours share a browser."""
    for engine in ENGINES:
        for provider in PROVIDERS:
            if not why_not(scenario, engine, provider):
                yield Cell(engine, provider)


def why_not(scenario: str, engine: str, provider: str) -> str:
    """Why something is not tried; "" if it is."""
    return NOT_TRIED.get((scenario, engine, provider)) or NOT_TRIED.get((scenario, engine, "*"), "")


def page() -> str:
    """The page of the docs."""
    head = [f"{NAMES[engine]}, {provider}" for engine in ENGINES for provider in PROVIDERS]
    reasons = sorted(set(NOT_TRIED.values()))
    rows = []
    for scenario, words in SCENARIOS.items():
        found = [why_not(scenario, engine, provider) for engine in ENGINES for provider in PROVIDERS]
        marks = [f"[{reasons.index(why) + 1}]" if why else "yes" for why in found]
        rows.append(f"| {words} | {' | '.join(marks)} |")
    lines = [
        f"| | {' | '.join(head)} |",
        f"|---|{'---|' * len(head)}",
        *rows,
        "",
        *(f"[{number}] not tried: {why}." for number, why in enumerate(reasons, 1)),
    ]
    return _PAGE.replace("$TABLE", "\n".join(lines))


def outcomes(reports: Mapping[str, Sequence[object]]) -> list[str]:
    """The lines that say what came of the tests that ran; none if there were none.

    Args:
        reports: pytest's, by outcome.
    """
    found: dict[tuple[str, str], str] = {}
    for outcome in ("skipped", "passed", "error", "failed"):
        for report in reports.get(outcome, ()):
            if test := _TEST.search(getattr(report, "nodeid", "")):
                found[test[1], test[2]] = outcome
    if not {"passed", "failed", "error"}.intersection(found.values()):
        return []
    columns = [(engine, provider) for engine in ENGINES for provider in PROVIDERS]
    return [
        _line("", [engine for engine, _ in columns]),
        _line("", [provider for _, provider in columns]),
        *(_line(name, [found.get((name, "-".join(column)), "-") for column in columns]) for name in SCENARIOS),
    ]


def _line(name: str, words: Sequence[str]) -> str:
    return f"{name:24}" + "".join(f"{word:14}" for word in words).rstrip()


_TEST = re.compile(r"e2e/test_(?:sign_in|renewal)\.py::test_(\w+)\[([a-z-]+)\]")
_PAGE = """# Sign-in and renewal, tried

What [tests/e2e/test_sign_in.py](../../tests/e2e/test_sign_in.py) and
[test_renewal.py](../../tests/e2e/test_renewal.py) do with real browsers, a real `stagedoor serve` and real providers,
all on one machine. `yes`: a test does it, and all of them pass in CI; they print this table with their outcomes. This
page is made from the list that the tests take their parameters from
(`python -m tests.helpers.sign_in_matrix`).

$TABLE

The engines: Chromium (Debian's headless shell), Firefox ESR, and WebKitGTK, which is Safari's engine without Safari.
Cookies are blocked by the engine's own setting in Firefox and WebKit; Chromium is made to forget those of the site
before each request. Clocks are changed with `faketime`: for renewal those of the site and its provider together, so
that claims fall due, and grow stale, without waiting.

The providers:

- npm's [oidc-provider](https://www.npmjs.com/package/oidc-provider), a certified OpenID provider, with a session of its
  own, consent and RP-initiated logout; the site is http on 127.0.0.1. Its refresh tokens count once; one that comes
  twice ends its grant. A second client gets none.
- npm's [cognito-local](https://www.npmjs.com/package/cognito-local) behind the issuer URL of a real user pool: its
  form, codes, PKCE, refresh tokens, claims and groups. The discovery document, the nonce, the keys, `prompt=none` and
  `/logout` are [ours](../../tests/e2e/cognito.mjs), because it has none that sign-in could use. It has no session in
  the browser. All of it is https, the site too, with cookies as in production.
- The provider of `stagedoor demo`, without a session, with refresh tokens; the site is http.

None of them is a real Cognito, Entra or Keycloak.

## What was found, and stands

- At a provider without a session of its own, with more than eight forms open at once, the first ones ask twice, because
  their sign-ins were displaced ([why](../how-to/sign-in.md#many-tabs-at-once)).
- A site whose clock is an hour ahead signs people in where id tokens live for an hour or longer; no harm comes of it.
- Hidden tabs go on when their engine has time for them: thirty at once took some seconds, and half a minute in a busy
  Firefox.
- WebKit obeys `Clear-Site-Data` on pages, not on redirects. So when somebody else signs in where nobody signed out, its
  back button can still show a page of the person before, as the open tab did.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
