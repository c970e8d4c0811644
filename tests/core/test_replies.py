"""Answers of our own: pages for people, problem+json for programs, and none of them may be stored."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core.cookies import remove_everywhere
from stagedoor.core.messages import Signpost
from stagedoor.core.replies import document, is_navigation, phrase, problem, redirect
from tests.helpers.support import field, fields_of, says_nothing_twice

SITE = Signpost("assets.example.com:8443")


@pytest.mark.parametrize(
    ("method", "fields", "navigation"),
    [
        ("GET", {"sec_fetch_mode": "navigate", "accept": "text/html"}, True),
        ("HEAD", {"sec_fetch_mode": "navigate"}, True),
        ("GET", {"accept": "text/html,application/xhtml+xml"}, True),
        ("GET", {"accept": ["application/json", "text/html"]}, True),
        ("POST", {"sec_fetch_mode": "navigate"}, False),
        ("PUT", {"accept": "text/html"}, False),
        ("GET", {"sec_fetch_mode": "cors", "accept": "text/html"}, False),
        ("GET", {"sec_fetch_mode": "no-cors", "accept": "text/html"}, False),
        ("GET", {"sec_fetch_mode": "same-origin", "accept": "text/html"}, False),
        ("GET", {"sec_fetch_mode": "websocket"}, False),
        ("GET", {"sec_fetch_mode": "", "accept": "text/html"}, False),
        ("GET", {"accept": "*/*"}, False),
        ("GET", {"accept": "image/avif,image/webp,*/*"}, False),
        ("GET", {}, False),
    ],
)
def test_who_is_a_person_going_to_a_page(method: str, fields: dict[str, str], navigation: bool) -> None:
    assert is_navigation(method, fields_of(**fields)) is navigation


@pytest.mark.parametrize(
    ("origin", "domains"),
    [
        ("https://assets.example.com", ["", "assets.example.com", "example.com"]),
        ("https://a.b.example.co.uk:8443", ["", "a.b.example.co.uk", "b.example.co.uk", "example.co.uk", "co.uk"]),
        ("https://example.com", ["", "example.com"]),
        ("http://localhost:8080", [""]),
        ("http://127.0.0.1:8080", [""]),
        ("http://[::1]:8080", [""]),
        ("https://192.0.2.7", [""]),
    ],
)
def test_a_cookie_is_removed_wherever_a_page_could_have_put_it(origin: str, domains: list[str]) -> None:
    """Browsers pass over what is a public suffix, such as co.uk."""
    lines = [value.decode() for name, value in remove_everywhere("token", origin) if name == b"set-cookie"]
    assert [re.sub(r".*; Domain=([^;]*).*|.*", r"\1", line, count=1) for line in lines] == domains
    for line in lines:
        assert line.startswith("token=; Path=/; ")
        assert "; Max-Age=0" in line
        assert line.endswith("; Secure") is origin.startswith("https:")


def test_a_program_gets_problem_json() -> None:
    reply = problem(403, "denied", "no rule lets you read this", extra=((b"x-more", b"1"),), caller="staff:ann")
    assert (reply.status, reply.reason, reply.caller) == (403, "denied", "staff:ann")
    assert field(reply.headers, "content-type") == "application/problem+json"
    assert field(reply.headers, "x-more") == "1"
    assert json.loads(reply.body) == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "code": "denied",
        "detail": "no rule lets you read this",
    }


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 412, 414, 416, 422, 500, 502, 503])
def test_a_person_gets_a_page(status: int) -> None:
    reply = problem(status, "some-code", "what went wrong", page=SITE)
    page = reply.body.decode()
    assert reply.status == status
    assert field(reply.headers, "content-type") == "text/html; charset=utf-8"
    assert f'<p class="status">{status}' in page
    assert f'<p class="site">{SITE.name}</p>' in page
    says_nothing_twice(page)
    assert "What went wrong" in page
    assert "some-code" in page
    assert "{" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL), "a placeholder was left over"


def test_the_page_runs_no_script_and_loads_nothing_but_its_own_style() -> None:
    reply = problem(404, "not-found", "there is nothing", page=SITE)
    policy = field(reply.headers, "content-security-policy") or ""
    assert policy.startswith("default-src 'none'; ")
    assert "script" not in policy
    for directive in ("base-uri 'none'", "frame-ancestors 'none'"):
        assert directive in policy
    style = re.search(r"<style>(.*)</style>", reply.body.decode(), re.DOTALL)
    assert style
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()}'" in policy
    assert "style=" not in reply.body.decode()


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_whatever_becomes_markup(detail: str, url: str, name: str) -> None:
    usable = url.encode("utf-8", "replace").decode()
    page = problem(401, "code", detail, page=Signpost(name), sign_in=usable).body.decode()
    plain = problem(401, "code", "x", page=SITE, sign_in="y" if usable else "").body.decode()
    assert re.findall(r"<[^>]*>?", re.sub(r'href="[^"]*"', "", page)) == re.findall(
        r"<[^>]*>?", re.sub(r'href="[^"]*"', "", plain)
    )


def test_the_button_to_sign_in_is_there_if_there_is_somewhere_to_go() -> None:
    with_it = problem(401, "c", "d", page=SITE, sign_in='https://login.example/?a=1&b="x"').body.decode()
    assert '<a class="button" href="https://login.example/?a=1&amp;b=&quot;x&quot;">' in with_it
    without = problem(401, "c", "d", page=SITE).body.decode()
    assert "<a " not in without
    assert "This site has no page for that." in without


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 414, 416, 502, 503])
@pytest.mark.parametrize("sign_in", ["", "https://login.example/"])
def test_a_page_leads_to_the_first_page_if_there_is_one(status: int, sign_in: str) -> None:
    link = '<a href="/">Go to the first page</a>'
    assert link in problem(status, "c", "d", page=SITE._replace(home="/"), sign_in=sign_in).body.decode()
    assert link not in problem(status, "c", "d", page=SITE, sign_in=sign_in).body.decode()


@pytest.mark.parametrize(("status", "again"), [(500, True), (502, True), (503, True), (404, False), (416, False)])
def test_a_failure_that_may_pass_can_be_asked_again(status: int, again: bool) -> None:
    page = problem(status, "c", "d", page=SITE).body.decode()
    assert ('<a class="button" href="">Reload this page</a>' in page) is again


@given(st.text(max_size=30))
def test_any_text_can_stand_in_json(text: str) -> None:
    for reply in (problem(400, "c", text), document(200, {"x": text}, "r")):
        assert json.loads(reply.body)
        assert reply.body.endswith(b"}\n")


def test_nothing_of_ours_is_stored_sniffed_or_told_on() -> None:
    for reply in (
        problem(403, "c", "d"),
        problem(403, "c", "d", page=SITE),
        document(200, {}, "whoami"),
        redirect("https://a.example/", "r"),
    ):
        assert field(reply.headers, "cache-control") == "no-store"
        assert field(reply.headers, "x-content-type-options") == "nosniff"
        assert field(reply.headers, "referrer-policy") in ("same-origin", "no-referrer")
        assert all(name == name.lower() for name, _ in reply.headers)


def test_a_redirect_is_found_elsewhere_and_tells_nobody_from_where() -> None:
    reply = redirect("https://login.example/?next=x", "no-credential")
    assert (reply.status, reply.body) == (302, b"")
    assert field(reply.headers, "location") == "https://login.example/?next=x"
    assert field(reply.headers, "referrer-policy") == "no-referrer"


def test_a_document_is_json() -> None:
    reply = document(200, {"name": "ü"}, "whoami", caller="staff:ann")
    assert field(reply.headers, "content-type") == "application/json"
    assert reply.body == '{"name":"ü"}\n'.encode()
    assert reply.caller == "staff:ann"


def test_phrases_are_those_of_the_standard() -> None:
    renamed = {414: "URI Too Long"}  # by RFC 9110; older Pythons have the older name
    for status in HTTPStatus:
        assert phrase(status) == renamed.get(status, status.phrase)
