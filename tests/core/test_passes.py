"""Passes against what AWS's own signers made, every bent byte of it, and every policy that somebody could think of."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagedoor.core.credentials import COOKIE_PREFIX, PASS_PARAMETERS, Sources, find, without_pass
from stagedoor.core.errors import InvalidPass, InvalidTarget
from stagedoor.core.messages import Request
from stagedoor.core.passes import verify
from stagedoor.core.passes.signer import Signer
from stagedoor.core.passes.terms import Grant, Hash, Terms
from stagedoor.core.passes.verify import MAX_POLICY_CHARACTERS, Passes
from stagedoor.core.passes.wildcards import matches, opens
from stagedoor.keys.pass_keys import check_with, load_signer, read_public
from tests.helpers import services
from tests.helpers.counting import lines_run
from tests.helpers.support import NOW, SITE, VECTORS, request

KEYS: Mapping[str, Mapping[str, str]] = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
CHECKS = {key["id"]: check_with(read_public(key["pub"])) for key in KEYS.values()}
HASHES: Mapping[str, Hash] = {"SHA1": "sha1", "SHA256": "sha256"}
CLIENT, ELSEWHERE = "192.0.2.10", "198.51.100.1"
AWS = {
    "MissingKey": "Missing Key-Pair-Id query parameter or cookie value",
    "InvalidKey": "Unknown Key",
    "MalformedSignature": "Could not unencode Signature",
    "MalformedPolicy": "Malformed Policy",
    "AccessDenied": "Access denied",
}

Carry = Callable[[str, Mapping[str, str]], Request]
"""Make a request for a target that carries the fields of a pass."""


def in_url(target: str, fields: Mapping[str, str]) -> Request:
    query = "&".join(f"{name}={value}" for name, value in fields.items())
    return request(f"{target}{'&' if '?' in target else '?'}{query}")._replace(client=CLIENT)


def in_cookies(target: str, fields: Mapping[str, str]) -> Request:
    cookie = "; ".join(f"{COOKIE_PREFIX}{name}={value}" for name, value in fields.items())
    return request(target, cookie=cookie)._replace(client=CLIENT)


def judge(asked: Request, now: float, passes: Passes | None = None) -> Grant:
    """What comes of the pass in this request."""
    passes = passes or Passes(SITE, CHECKS)
    credential = find(asked.headers, asked.query, Sources())
    assert credential is not None
    verify = passes.verify_url if credential.kind == "signed-url" else passes.verify_cookies
    return verify(asked, credential.fields, now)


def refused(asked: Request, now: float, passes: Passes | None = None) -> tuple[str, str]:
    """What AWS would say, and what our log says."""
    with pytest.raises(InvalidPass) as caught:
        judge(asked, now, passes)
    assert AWS[caught.value.aws_code] == caught.value.aws_message
    return caught.value.aws_code, caught.value.code


# --- the vectors of others


class Sample(NamedTuple):
    """Something that one of AWS's signers signed.

    Attributes:
        given: what it was asked for.
        target: what it is for, as it is asked for, without the pass.
        resource: the same as a whole URL, or with wildcards.
        fields: of the pass, in the URL.
        cookies: the same of signed cookies; empty where that signer makes none.
    """

    name: str
    key: str
    hash: Hash
    given: Mapping[str, str]
    terms: Terms
    url: str
    target: str
    fields: Mapping[str, str]
    cookies: Mapping[str, str]

    @property
    def is_canned(self) -> bool:
        return "Expires" in self.fields

    def forms(self) -> list[tuple[Carry, Mapping[str, str]]]:
        forms: list[tuple[Carry, Mapping[str, str]]] = [(in_url, self.fields)]
        return [*forms, (in_cookies, self.cookies)] if self.cookies else forms


def read_samples(file: str) -> Iterator[Sample]:
    for one in json.loads((VECTORS / "cloudfront" / file).read_text("utf-8"))["samples"]:
        path, _, query = one["signedUrl"].removeprefix(SITE).partition("?")
        rest = without_pass(query.encode()).decode()
        target = f"{path}?{rest}" if rest else path
        yield Sample(
            f"{file.removeprefix('signed_by_').removesuffix('.json')}: {one['name']}",
            one["key"],
            HASHES[one["algorithm"]],
            one["input"],
            terms_of(one["input"], SITE + target),
            one["signedUrl"],
            target,
            {name: value for name, value in parse_qsl(query) if name.encode() in PASS_PARAMETERS},
            {name.removeprefix(COOKIE_PREFIX): str(value) for name, value in one.get("signedCookies", {}).items()},
        )


def terms_of(given: Mapping[str, str], url: str) -> Terms:
    """What a signer was asked for."""
    if "policy" in given:
        statement = json.loads(given["policy"])["Statement"][0]
        told = {name: next(iter(value.values())) for name, value in statement["Condition"].items()}
        return Terms(statement["Resource"], told["DateLessThan"], told.get("DateGreaterThan"), told.get("IpAddress"))
    starts = epoch(given["dateGreaterThan"]) if "dateGreaterThan" in given else None
    return Terms(url, epoch(given["dateLessThan"]), starts, given.get("ipAddress"))


def epoch(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp())


SAMPLES = [*read_samples("signed_by_aws_sdk_js.json"), *read_samples("signed_by_botocore.json")]
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])


def test_the_vectors_hold_every_kind() -> None:
    kinds = {(sample.key, sample.hash, sample.is_canned) for sample in SAMPLES}
    assert kinds >= set(itertools.product(("rsa", "ec"), ("sha1", "sha256"), (True, False)))
    assert any(sample.terms.starts for sample in SAMPLES)
    assert any(sample.terms.network for sample in SAMPLES)
    assert sum(len(sample.forms()) for sample in SAMPLES) == 42


@every_sample
def test_what_aws_signed_opens_what_it_is_for(sample: Sample) -> None:
    for carry, fields in sample.forms():
        granted = judge(carry(sample.target, fields), sample.terms.expires - 1)
        assert granted.key_id == KEYS[sample.key]["id"]
        assert granted.terms[1:3] == sample.terms[1:3]


@every_sample
def test_before_after_and_elsewhere_it_opens_nothing(sample: Sample) -> None:
    terms = sample.terms
    for carry, fields in sample.forms():
        asked = carry(sample.target, fields)
        assert refused(asked, terms.expires) == ("AccessDenied", "pass-expired")
        assert refused(asked, terms.expires + 1e9) == ("AccessDenied", "pass-expired")
        if terms.starts is not None:
            assert refused(asked, terms.starts) == ("AccessDenied", "pass-early")
            assert judge(asked, terms.starts + 0.5).terms.starts == terms.starts
        if terms.network not in (None, "0.0.0.0/0"):
            for client in (ELSEWHERE, "2001:db8::1", "", "-"):
                assert refused(asked._replace(client=client), terms.expires - 1) == ("AccessDenied", "pass-address")


@every_sample
def test_the_order_of_the_parameters_is_free(sample: Sample) -> None:
    path, _, query = sample.target.partition("?")
    for order in itertools.permutations(sample.fields.items()):
        judge(in_url(sample.target, dict(order)), sample.terms.expires - 1)
        judge(in_url(path, {**dict(order), **dict(parse_qsl(query))}), sample.terms.expires - 1)


SAYS = {
    "Signature": {"AccessDenied", "MalformedSignature"},
    "Policy": {"AccessDenied", "MalformedPolicy"},
    "Expires": {"AccessDenied", "MalformedPolicy"},
    "Key-Pair-Id": {"InvalidKey", "MissingKey"},
    "Hash-Algorithm": {"AccessDenied"},
}
"""What AWS may say of a field that is wrong."""


def bent(text: str) -> Iterator[str]:
    """The text with one character changed into another of base64, into none of it, or left out.

    At every place with CI=true, else at every fifth and the last.
    """
    places = range(len(text)) if services.must_be_here() else {*range(0, len(text), 5), len(text) - 1}
    for at in sorted(places):
        for other in ("A" if text[at] != "A" else "Q", "!", ""):
            yield text[:at] + other + text[at + 1 :]
    yield from ("", f"{text}A", f"{text}_", f"{text}%00")


@every_sample
def test_one_bent_character_of_a_field_and_it_opens_nothing(sample: Sample) -> None:
    passes = Passes(SITE, CHECKS)
    for carry, fields in sample.forms():
        for name, text in fields.items():
            said = {
                refused(carry(sample.target, {**fields, name: value}), sample.terms.expires - 1, passes)[0]
                for value in bent(text)
            }
            assert said <= SAYS[name]


@every_sample
def test_a_field_less_or_one_more_and_it_opens_nothing(sample: Sample) -> None:
    more = {
        "Expires": "9999999999",
        "Policy": "e30_",
        "Hash-Algorithm": "SHA1" if sample.hash == "sha256" else "SHA256",
    }
    for carry, fields in sample.forms():
        for name in fields:
            rest = {other: value for other, value in fields.items() if other != name}
            refused(carry(sample.target, rest), sample.terms.expires - 1)
        for name, value in more.items():
            refused(carry(sample.target, {**fields, name: value}), sample.terms.expires - 1)
        other_kind = {"Policy": ""} if sample.is_canned else {"Expires": ""}
        refused(carry(sample.target, {**fields, **other_kind}), sample.terms.expires - 1)


@every_sample
def test_no_other_address_is_opened(sample: Sample) -> None:
    """Every byte of path and query, and a parameter on top; what a wildcard covers the naive oracle says."""
    target, opened, reasons = sample.target, set[str](), set[str]()
    others = {
        target[:at] + other + target[at + 1 :] for at in range(1, len(target)) for other in ("x", "X", "0", "/", "")
    }
    others |= {f"{target}{'&' if '?' in target else '?'}{more}" for more in ("x=1", "download", "token=t")}
    others -= {target}
    passes = Passes(SITE, CHECKS)
    for other, (carry, fields) in itertools.product(sorted(others), sample.forms()):
        try:
            judge(carry(other, fields), sample.terms.expires - 1, passes)
        except InvalidPass as error:
            reasons.add(error.code)
        else:
            opened.add(other)
    assert reasons <= {"pass-signature", "pass-resource"}
    assert opened == {other for other in others if not sample.is_canned and naive(sample.terms.resource, SITE + other)}


@pytest.mark.parametrize("site", ["http://assets.example.com", "https://assets.example.com:8443", "https://a.example"])
@every_sample
def test_at_another_site_it_opens_nothing(sample: Sample, site: str) -> None:
    """Scheme, host and port are the site's, whatever the request says."""
    covered = naive(sample.terms.resource, site + sample.target)  # http*://…
    for carry, fields in sample.forms():
        asked = carry(sample.target, fields)
        if covered:
            judge(asked, sample.terms.expires - 1, Passes(site, CHECKS))
        else:
            assert refused(asked, sample.terms.expires - 1, Passes(site, CHECKS))[0] == "AccessDenied"


@every_sample
def test_our_signer_writes_the_same(sample: Sample) -> None:
    """The same fields; an RSA signature is the same too, an ECDSA one counts."""
    terms, url = sample.terms, SITE + sample.target
    options: dict[str, Any] = {"starts": terms.starts, "network": terms.network}
    resource = terms.resource if terms.resource != url else None
    signed = signer(sample.key, sample.hash).url(url, terms.expires, resource=resource, **options)
    assert signed.startswith(url)
    same(fields_of_url(signed), sample.fields, sample)
    judge(request(signed.removeprefix(SITE))._replace(client=CLIENT), terms.expires - 1)
    if sample.cookies and "?" not in terms.resource:
        whole = terms.resource if "policy" in sample.given else sample.given["url"]
        made = signer(sample.key, sample.hash).cookies(whole, terms.expires, **options)
        made = {name.removeprefix(COOKIE_PREFIX): value for name, value in made.items()}
        same(made, sample.cookies, sample)
        judge(in_cookies(sample.target, made), terms.expires - 1)


def same(ours: Mapping[str, str], theirs: Mapping[str, str], sample: Sample) -> None:
    if sample.key == "ec":
        ours, theirs = ({**fields, "Signature": ""} for fields in (ours, theirs))
    assert ours == theirs


def fields_of_url(url: str) -> dict[str, str]:
    return {name: value for name, value in parse_qsl(url.partition("?")[2]) if name.encode() in PASS_PARAMETERS}


# --- signing


@cache
def signer(key: str = "rsa", hash_: Hash = "sha256") -> Signer:
    return load_signer(KEYS[key]["id"], KEYS[key]["priv"], passphrase=KEYS[key].get("passphrase"), hash=hash_)


URL = f"{SITE}/a/b.txt"
LATER = int(NOW) + 600


@pytest.mark.parametrize(
    "given",
    [
        f"{SITE}/my file.pdf",
        f"{SITE}/naïve-é.txt",
        f"{SITE}/it's (1) [2] {{3}} |^`<>\".txt",
        f"{SITE}/back\\slash",
        f"{SITE}/a?w=10&h=20",
        f'{SITE}/a?say="hi"',
        f"{SITE}/a?",
        f"{SITE}/100%25",
        f"{SITE}/",
        SITE,
    ],
)
def test_a_url_is_written_as_a_request_can_have_it(given: str) -> None:
    """Signed and sent as it is, it opens."""
    signed = signer().url(given, LATER)
    assert re.fullmatch(r"[!-~]+", signed)
    assert not set(signed) & set(' "<>\\^`{|}')
    judge(request(signed.removeprefix(SITE)), NOW)


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "a fragment": ({"url": f"{URL}#top"}, "fragment"),
    "nothing": ({"url": ""}, "whole URL"),
    "a pass already": ({"url": f"{URL}?Expires=1"}, "carries a pass already"),
    "a pass, encoded": ({"url": f"{URL}?a=b&%53ignature=x"}, "carries a pass already"),
    "a wildcard": ({"url": f"{SITE}/*"}, "write %2A"),
    "a wildcard with a network": ({"url": f"{SITE}/*", "network": CLIENT}, "write %2A"),
    "a wildcard with a start": ({"url": f"{SITE}/*", "starts": 0}, "write %2A"),
    "a lone surrogate": ({"url": f"{SITE}/\ud800"}, "Unicode"),
    "a quote in the resource": ({"resource": f'{SITE}/"*'}, "quote"),
    "a backslash in the resource": ({"resource": f"{SITE}/\\*"}, "backslash"),
    "a line end in the resource": ({"resource": f"{SITE}/\n*"}, "control character"),
    "a lone surrogate in the resource": ({"resource": f"{SITE}/\ud800*"}, "Unicode"),
    "a name for a network": ({"network": "localhost"}, "no IPv4 address or network"),
    "an IPv6 network": ({"network": "2001:db8::/32"}, "no IPv4 address or network"),
    "two networks": ({"network": "192.0.2.0/24,198.51.100.0/24"}, "no IPv4 address or network"),
    "a netmask": ({"network": "192.0.2.0/255.255.255.0"}, "no IPv4 address or network"),
    "too many bits": ({"network": "192.0.2.0/33"}, "no IPv4 address or network"),
    "milliseconds": ({"expires": LATER * 1000}, "epoch seconds"),
    "before 1970": ({"expires": -1}, "epoch seconds"),
    "a fraction": ({"expires": LATER + 0.5}, "epoch seconds"),
    "a start in milliseconds": ({"starts": LATER * 1000}, "epoch seconds"),
    "true": ({"expires": True}, "epoch seconds"),
    "a lifetime in seconds": ({"expires": 3600}, r"timedelta\(seconds=3600\)"),
    "a start in seconds": ({"starts": 60}, r"timedelta\(seconds=60\)"),
    "no time zone": ({"expires": dt.datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the mistake
    "a start without time zone": ({"starts": dt.datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - likewise
    "a date": ({"expires": dt.date(2030, 1, 1)}, "epoch seconds"),
    "a text": ({"expires": "2030-01-01"}, "epoch seconds"),
    "nothing for an end": ({"expires": None}, "epoch seconds"),
    "an end before 1970": ({"expires": dt.timedelta(days=-40_000)}, "epoch seconds"),
}


@pytest.mark.parametrize(("given", "told"), REFUSED.values(), ids=REFUSED)
def test_what_no_verifier_would_take_is_not_signed(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidTarget, match=told):
        signer().url(**{"url": URL, "expires": LATER, **given})
    if "url" not in given:
        with pytest.raises(InvalidTarget, match=told):
            signer().cookies(**{"resource": URL, "expires": LATER, **given})


LATER_THERE = dt.datetime.fromtimestamp(LATER, dt.timezone(dt.timedelta(hours=5.5)))


@pytest.mark.parametrize("expires", [LATER, LATER_THERE, dt.timedelta(seconds=600)], ids=["epoch", "date", "lifetime"])
@pytest.mark.parametrize(
    "starts", [None, int(NOW) - 5, LATER_THERE - dt.timedelta(seconds=605), dt.timedelta(seconds=-5)]
)
def test_an_end_and_a_start_are_written_as_a_program_has_them(expires: Any, starts: Any) -> None:
    made = Signer(KEYS["rsa"]["id"], signer().sign, clock=lambda: NOW + 0.75)
    wanted = None if starts is None else int(NOW) - 5
    signed = made.url(URL, expires, starts=starts)
    terms = judge(request(signed.removeprefix(SITE)), NOW).terms
    assert (terms.expires, terms.starts) == (LATER, wanted)
    fields = {
        name.removeprefix(COOKIE_PREFIX): text for name, text in made.cookies(URL, expires, starts=starts).items()
    }
    terms = judge(in_cookies("/a/b.txt", fields), NOW).terms
    assert (terms.expires, terms.starts) == (LATER, wanted)


def test_a_lifetime_needs_a_clock() -> None:
    clockless = Signer("K1", signer().sign)
    with pytest.raises(InvalidTarget, match="no clock"):
        clockless.url(URL, dt.timedelta(hours=1))
    assert clockless.url(URL, LATER_THERE).startswith(f"{URL}?Expires={LATER}&")


def test_one_address_is_a_network_of_one() -> None:
    signed = signer().url(URL, LATER, network=CLIENT)
    assert judge(request(signed.removeprefix(SITE))._replace(client=CLIENT), NOW).terms.network == f"{CLIENT}/32"


def test_a_question_mark_that_is_none_is_written_out_in_a_policy() -> None:
    """`\\?` is no text of JSON, so a canned policy could not hold it."""
    made = signer().cookies(f"{SITE}/a\\?w=10", LATER)
    fields = {name.removeprefix(COOKIE_PREFIX): value for name, value in made.items()}
    assert "Policy" in fields
    judge(in_cookies("/a?w=10", fields), NOW)
    refused(in_cookies("/axw=10", fields), NOW)


def test_the_question_mark_of_a_url_is_no_wildcard_in_its_policy() -> None:
    """AWS's signers leave it bare, and then it stands for any one character."""
    fields = fields_of_url(signer().url(f"{SITE}/a?w=10", LATER, network="192.0.2.0/24"))
    judge(in_url("/a?w=10", fields), NOW)
    for other in ("/axw=10", "/a/w=10", "/a%w=10"):
        assert refused(in_url(other, fields), NOW) == ("AccessDenied", "pass-resource")
    bare = fields_of_url(signer().url(f"{SITE}/a?w=10", LATER, resource=f"{SITE}/a?w=10"))
    judge(in_url("/axw=10", bare), NOW)


def test_the_question_mark_of_a_url_is_no_wildcard_in_cookies_either() -> None:
    made = signer().cookies(f"{SITE}/a?w=10", LATER, starts=LATER - 1000)
    fields = {name.removeprefix(COOKIE_PREFIX): value for name, value in made.items()}
    judge(in_cookies("/a?w=10", fields), LATER - 1)
    for other in ("/axw=10", "/a/w=10", "/a%w=10"):
        assert refused(in_cookies(other, fields), LATER - 1) == ("AccessDenied", "pass-resource")


@pytest.mark.parametrize("options", [{}, {"network": "192.0.2.0/24"}, {"resource": f"{SITE}/it's\\?x='*"}])
def test_a_quote_in_a_query_is_signed_as_browsers_send_it(options: dict[str, Any]) -> None:
    """The URL standard has `'` in its special-query percent-encode set, and not in that of paths."""
    signed = signer().url(f"{SITE}/it's?x='1'&y=(1)!~a'", LATER, **options)
    sent = signed.removeprefix(SITE)
    assert sent.startswith("/it's?x=%271%27&y=(1)!~a%27&")
    judge(request(sent)._replace(client=CLIENT), NOW)


def test_a_signer_shows_no_key() -> None:
    shown = repr(signer())
    assert KEYS["rsa"]["id"] in shown
    assert "sign=" not in shown


# --- policies


def policy(resource: object = f"{SITE}/*", **condition: object) -> str:
    """A custom policy; `...` takes DateLessThan away."""
    told: dict[str, object] = {"DateLessThan": {"AWS:EpochTime": LATER}, **condition}
    told = {name: value for name, value in told.items() if value is not ...}
    return json.dumps({"Statement": [{"Resource": resource, "Condition": told}]})


def sealed(text: str | bytes, key: str = "rsa", hash_: Hash = "sha256") -> dict[str, str]:
    """The fields of a pass with exactly this policy, whatever it is, and a good signature."""
    raw = text if isinstance(text, bytes) else text.encode()
    made = signer(key, hash_)
    fields = {"Policy": armour(raw), "Signature": armour(made.sign(hash_, raw)), "Key-Pair-Id": made.key_id}
    return {**fields, "Hash-Algorithm": "SHA256"} if hash_ == "sha256" else fields


def armour(raw: bytes) -> str:
    return base64.b64encode(raw).decode().replace("+", "-").replace("=", "_").replace("/", "~")


def address(network: object) -> dict[str, object]:
    return {"AWS:SourceIp": network}


EPOCH = {"AWS:EpochTime": LATER}
STATEMENT = json.loads(policy())["Statement"][0]
SMALLEST = json.dumps({"Statement": [STATEMENT]}, separators=(",", ":"))

TAKEN = {
    "compact": SMALLEST,
    "white space": json.dumps({"Statement": [STATEMENT]}, indent=4).replace("\n", "\r\n\t"),
    "white space around": f"\n\t {SMALLEST} \r\n",
    "members in another order": json.dumps({"Statement": [dict(reversed(STATEMENT.items()))]}),
    "characters written as escapes": SMALLEST.replace("/", "\\/").replace("R", "\\u0052"),
    "every condition": policy(DateGreaterThan={"AWS:EpochTime": 1}, IpAddress=address("192.0.2.0/24")),
    "one address": policy(IpAddress=address(f"{CLIENT}/32")),
    "an address without bits": policy(IpAddress=address(CLIENT)),
    "bits beyond the network": policy(IpAddress=address("192.0.2.77/24")),
    "everywhere": policy(IpAddress=address("0.0.0.0/0")),
    "an end far away": policy(DateLessThan={"AWS:EpochTime": 999_999_999_999}),
    "a start at zero": policy(DateGreaterThan={"AWS:EpochTime": 0}),
    "any scheme": policy("http*://assets.example.com/*"),
    "anything": policy("*"),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("carry", [in_url, in_cookies])
def test_a_policy_may_be_written_so(text: str, carry: Carry) -> None:
    judge(carry("/a/b.txt", sealed(text)), NOW)


MALFORMED: Mapping[str, str | bytes] = {
    "nothing": " ",
    "no JSON": "{",
    "something after it": f"{SMALLEST}{{}}",
    "a byte order mark": b"\xef\xbb\xbf" + SMALLEST.encode(),
    "UTF-16": SMALLEST.encode("utf-16"),
    "no UTF-8": SMALLEST.encode().replace(b"/*", b"/\xff*"),
    "a list": f"[{SMALLEST}]",
    "a text": json.dumps(SMALLEST),
    "null": "null",
    "a member beside Statement": json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]}),
    "no Statement": "{}",
    "Statement in small letters": SMALLEST.replace("Statement", "statement"),
    "a statement that is no list": json.dumps({"Statement": STATEMENT}),
    "no statement": json.dumps({"Statement": []}),
    "two statements": json.dumps({"Statement": [STATEMENT, STATEMENT]}),
    "a statement that is a list": json.dumps({"Statement": [[STATEMENT]]}),
    "a statement that is null": json.dumps({"Statement": [None]}),
    "an effect": json.dumps({"Statement": [{"Effect": "Deny", **STATEMENT}]}),
    "no resource": json.dumps({"Statement": [{"Condition": STATEMENT["Condition"]}]}),
    "an empty resource": policy(""),
    "a list of resources": policy([f"{SITE}/*"]),
    "a number for a resource": policy(1),
    "null for a resource": policy(None),
    "no condition": json.dumps({"Statement": [{"Resource": "*"}]}),
    "a list of conditions": json.dumps({"Statement": [{"Resource": "*", "Condition": [STATEMENT["Condition"]]}]}),
    "no end": policy(DateLessThan=...),
    "no end but a start": policy(DateLessThan=..., DateGreaterThan=EPOCH),
    "a condition that is not known": policy(StringEquals={"aws:UserAgent": "x"}),
    "an end of another kind": policy(DateLessThanEquals=EPOCH),
    "an end without a moment": policy(DateLessThan={}),
    "an end with two moments": policy(DateLessThan={**EPOCH, "aws:CurrentTime": 1}),
    "an end that is a number": policy(DateLessThan=LATER),
    "an end that is null": policy(DateLessThan=None),
    "a moment as text": policy(DateLessThan={"AWS:EpochTime": str(LATER)}),
    "a moment as true": policy(DateLessThan={"AWS:EpochTime": True}),
    "a moment as null": policy(DateLessThan={"AWS:EpochTime": None}),
    "a moment with a fraction": policy(DateLessThan={"AWS:EpochTime": float(LATER)}),
    "a moment with an exponent": policy(DateLessThan={"AWS:EpochTime": 17}).replace("17", "2e10"),
    "a moment before 1970": policy(DateLessThan={"AWS:EpochTime": -1}),
    "a moment in milliseconds": policy(DateLessThan={"AWS:EpochTime": LATER * 1000}),
    "a moment without end": policy(DateLessThan={"AWS:EpochTime": 17}).replace("17", "9" * 5000),
    "not a number": policy(DateLessThan={"AWS:EpochTime": float("nan")}),
    "infinity": policy(DateLessThan={"AWS:EpochTime": float("inf")}),
    "a start as text": policy(DateGreaterThan={"AWS:EpochTime": "0"}),
    "a start that is null": policy(DateGreaterThan=None),
    "a start at null": policy(DateGreaterThan={"AWS:EpochTime": None}),
    "addresses that are null": policy(IpAddress=None),
    "no address": policy(IpAddress={}),
    "an address that is null": policy(IpAddress=address(None)),
    "an address that is a number": policy(IpAddress=address(3232235786)),
    "several networks": policy(IpAddress=address(["192.0.2.0/24", "198.51.100.0/24"])),
    "several networks in a text": policy(IpAddress=address("192.0.2.0/24,198.51.100.0/24")),
    "an IPv6 network": policy(IpAddress=address("2001:db8::/32")),
    "every IPv6 address": policy(IpAddress=address("::/0")),
    "an IPv4-mapped network": policy(IpAddress=address("::ffff:192.0.2.0/120")),
    "a name": policy(IpAddress=address("localhost")),
    "a wildcard for an address": policy(IpAddress=address("*")),
    "a netmask": policy(IpAddress=address("192.0.2.0/255.255.255.0")),
    "too many bits": policy(IpAddress=address("192.0.2.0/33")),
    "no bits after the slash": policy(IpAddress=address("192.0.2.0/")),
    "an octet too large": policy(IpAddress=address("192.0.2.256/32")),
    "three octets": policy(IpAddress=address("192.0.2/24")),
    "digits of another script": policy(IpAddress=address("\uff11\uff19\uff12.0.2.0/24")),
    "a line end after the address": policy(IpAddress=address("192.0.2.0/24\n")),
    "NotIpAddress": policy(NotIpAddress=address(ELSEWHERE)),
    "the end twice": SMALLEST.replace('"DateLessThan"', '"DateLessThan":{"AWS:EpochTime":1},"DateLessThan"'),
    "the moment twice": SMALLEST.replace('"AWS:EpochTime"', '"AWS:EpochTime":1,"AWS:EpochTime"'),
    "the resource twice": SMALLEST.replace('"Resource"', f'"Resource":"{SITE}/b","Resource"'),
    "the statement twice": SMALLEST.replace('"Statement"', '"Statement":[],"Statement"'),
    "the same name in two spellings": SMALLEST.replace('"Resource"', '"\\u0052esource":"*","Resource"'),
    "nesting": "[" * 6000,
    "nesting in a member": '{"Statement":' * 400 + "1" + "}" * 400,
    "100 KB": policy(f"{SITE}/*{'*' * 100_000}"),
    "100 KB of white space": SMALLEST + " " * 100_000,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("carry", [in_url, in_cookies])
def test_any_other_policy_is_malformed_however_well_it_is_signed(text: str | bytes, carry: Carry) -> None:
    """What is not known might be a condition that is not met."""
    assert refused(carry("/a/b.txt", sealed(text)), NOW) == ("MalformedPolicy", "pass-policy")


def test_a_long_policy_counts_to_the_bound_and_not_beyond() -> None:
    fitting = MAX_POLICY_CHARACTERS // 4 * 3 - len(SMALLEST)
    judge(in_url("/a", sealed(SMALLEST + " " * fitting)), NOW)
    assert refused(in_url("/a", sealed(SMALLEST + " " * (fitting + 1))), NOW) == ("MalformedPolicy", "pass-policy")


def test_addresses_are_compared_as_numbers() -> None:
    passes = Passes(SITE, CHECKS)
    for network, inside, outside in (
        ("192.0.2.0/24", ("192.0.2.0", "192.0.2.255", "::ffff:192.0.2.1"), ("192.0.3.0", "::ffff:192.0.3.1", "::1")),
        ("192.0.2.10/32", ("192.0.2.10", "::ffff:c000:20a"), ("192.0.2.1", "192.0.2.100", "192.0.2.010")),
        ("0.0.0.0/0", ("127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::", "2001:db8::1", "", "-", "nobody", "1")),
    ):
        asked = in_url("/a", sealed(policy(IpAddress=address(network))))
        for client in inside:
            judge(asked._replace(client=client), NOW, passes)
        for client in outside:
            assert refused(asked._replace(client=client), NOW, passes) == ("AccessDenied", "pass-address")


GOOD = sealed(SMALLEST)
CANNED = fields_of_url(signer().url(URL, LATER))
OVER = sealed(policy(DateLessThan={"AWS:EpochTime": 1}, DateGreaterThan=EPOCH, IpAddress=address("10.0.0.0/8")))
EARLY = sealed(policy(DateGreaterThan=EPOCH, IpAddress=address("10.0.0.0/8")))
NOT_HERE = sealed(policy(IpAddress=address("10.0.0.0/8")))
ELSE = sealed(policy(f"{SITE}/other/*", DateLessThan={"AWS:EpochTime": 1}))
WRONG = {"Signature": armour(b"wrong")}

ORDER: Mapping[str, tuple[Mapping[str, str], tuple[str, str]]] = {
    "no key": ({"Policy": "!", "Signature": "!"}, ("MissingKey", "pass-no-key")),
    "an empty key": ({**GOOD, "Key-Pair-Id": "", "Policy": "!"}, ("MissingKey", "pass-no-key")),
    "an unknown key": (
        {**GOOD, "Key-Pair-Id": "K", "Policy": "!", "Signature": "!"},
        ("InvalidKey", "pass-unknown-key"),
    ),
    "the key in small letters": (
        {**GOOD, "Key-Pair-Id": GOOD["Key-Pair-Id"].lower()},
        ("InvalidKey", "pass-unknown-key"),
    ),
    "neither end nor policy": (
        {"Key-Pair-Id": GOOD["Key-Pair-Id"], "Signature": "!"},
        ("MalformedPolicy", "pass-policy"),
    ),
    "end and policy": ({**GOOD, **CANNED}, ("MalformedPolicy", "pass-policy")),
    "an empty policy": ({**GOOD, "Policy": ""}, ("MalformedPolicy", "pass-policy")),
    "a policy that is no base64": ({**GOOD, "Policy": "!", "Signature": "!"}, ("MalformedPolicy", "pass-policy")),
    "a policy that is no policy": ({**GOOD, "Policy": "e30_", "Signature": "!"}, ("MalformedPolicy", "pass-policy")),
    "an end that is no number": ({**CANNED, "Expires": "soon", "Signature": "!"}, ("MalformedPolicy", "pass-policy")),
    "an end with a sign": ({**CANNED, "Expires": f"+{LATER}"}, ("MalformedPolicy", "pass-policy")),
    "an end with a zero before it": ({**CANNED, "Expires": f"0{LATER}"}, ("MalformedPolicy", "pass-policy")),
    "an end in another script": ({**CANNED, "Expires": "%D9%A1"}, ("MalformedPolicy", "pass-policy")),
    "no signature": ({**OVER, "Signature": ""}, ("MalformedSignature", "pass-signature")),
    "a signature that is no base64": (
        {**OVER, "Signature": "a+b=", "Hash-Algorithm": "x"},
        ("MalformedSignature", "pass-signature"),
    ),
    "an unknown hash": ({**OVER, **WRONG, "Hash-Algorithm": "SHA512"}, ("AccessDenied", "pass-hash")),
    "the hash in small letters": ({**GOOD, "Hash-Algorithm": "sha256"}, ("AccessDenied", "pass-hash")),
    "a wrong signature": ({**ELSE, **WRONG}, ("AccessDenied", "pass-signature")),
    "a wrong signature, canned": ({**CANNED, **WRONG, "Expires": "1"}, ("AccessDenied", "pass-signature")),
    "another resource": (ELSE, ("AccessDenied", "pass-resource")),
    "over": (OVER, ("AccessDenied", "pass-expired")),
    "too early": (EARLY, ("AccessDenied", "pass-early")),
    "another address": (NOT_HERE, ("AccessDenied", "pass-address")),
}
"""Each has the faults of what follows, too."""


@pytest.mark.parametrize(("fields", "says"), ORDER.values(), ids=ORDER)
@pytest.mark.parametrize("carry", [in_url, in_cookies])
def test_of_several_faults_the_first_of_this_order_is_told(
    carry: Carry, fields: Mapping[str, str], says: tuple[str, str]
) -> None:
    if carry is in_cookies and "%" in fields.get("Expires", ""):
        says = ("MalformedPolicy", "pass-policy")  # cookies are not percent-decoded; it is no number either way
    assert refused(carry("/a/b.txt", fields), NOW) == says


def test_a_key_that_is_not_listed_signs_for_nobody() -> None:
    fields = sealed(SMALLEST, "ec")
    only_rsa = Passes(SITE, {KEYS["rsa"]["id"]: CHECKS[KEYS["rsa"]["id"]]})
    assert refused(in_url("/a", fields), NOW, only_rsa) == ("InvalidKey", "pass-unknown-key")
    under_its_name = {**fields, "Key-Pair-Id": KEYS["rsa"]["id"]}
    assert refused(in_url("/a", under_its_name), NOW, only_rsa) == ("AccessDenied", "pass-signature")


def test_the_hash_is_part_of_what_was_signed() -> None:
    for hash_, other in (("sha1", {"Hash-Algorithm": "SHA256"}), ("sha256", {"Hash-Algorithm": "SHA1"})):
        for key in ("rsa", "ec"):
            fields = sealed(SMALLEST, key, HASHES[hash_.upper()])
            judge(in_url("/a", fields), NOW)
            assert refused(in_url("/a", {**fields, **other}), NOW) == ("AccessDenied", "pass-signature")
    judge(in_url("/a", {**sealed(SMALLEST, "rsa", "sha1"), "Hash-Algorithm": "SHA1"}), NOW)


def test_a_query_that_no_policy_can_hold_is_refused() -> None:
    """In the text of a canned policy a quote could end the resource and bring a condition of its own."""
    passes = Passes(SITE, CHECKS)
    judge(in_cookies("/a", GOOD), NOW, passes)  # from now on it is known
    for target in ('/a?"', "/a?\\", "/a?\x7f", '/a","Condition":{"DateLessThan":{"AWS:EpochTime":9}}}]}'):
        for fields in (CANNED, GOOD):
            assert refused(in_cookies(target, fields), NOW, passes) == ("AccessDenied", "pass-resource")


@pytest.mark.parametrize(
    ("written", "asked", "opens"),
    [
        ("/my file.pdf", "/my%20file.pdf", True),
        ("/my%20file.pdf", "/my%20file.pdf", True),
        ("/ü.txt", "/%C3%BC.txt", True),
        ("/ü.txt", "/%c3%bc.txt", True),
        ("/a b+c", "/a%20b%2Bc", True),
        ("/a+b", "/a%2Bb", False),  # what was signed is a URL, and this is another one
        ("/ab", "/a%62", False),
        ("/a+b", "/a%20b", False),
        ("/a%41", "/a%2541", False),  # written out it is the same text as /a%41, which names another key
        ("/a?b", "/a%3Fb", False),  # … and here it would have a query
        ("/a#b", "/a%23b", False),
        ("/a%20b", "/a%2520b", False),
        ("/a\ufffd", "/a%FF", False),
        # The same where a blank shows that it was not encoded: each of these could be read in two ways.
        ("/100% b", "/100%25%20b", False),
        ("/%41 b", "/%2541%20b", False),
        ("/a?b c", "/a%3Fb%20c", False),
        ("/a#b c", "/a%23b%20c", False),
        ("/a\ufffd c", "/a%FF%20c", False),
        ('/a"b', "/a%22b", False),
        ("/a\\b", "/a%5Cb", False),
        ("/a\x1fb", "/a%1Fb", False),
        ("/a\x7fb", "/a%7Fb", False),
    ],
)
def test_cookies_for_a_url_that_was_not_encoded_open_it_where_there_is_no_doubt(
    written: str, asked: str, opens: bool
) -> None:
    text = Terms(SITE + written, LATER).canned()
    made = signer()
    fields = {"Expires": str(LATER), "Key-Pair-Id": made.key_id, "Hash-Algorithm": "SHA256"}
    fields["Signature"] = armour(made.sign("sha256", text.encode()))
    if opens:
        judge(in_cookies(asked, fields), NOW)
    else:
        assert refused(in_cookies(asked, fields), NOW) == ("AccessDenied", "pass-signature")


# --- what is remembered


def test_a_url_that_was_seen_is_known_but_its_terms_are_asked_again() -> None:
    passes = Passes(SITE, CHECKS)
    asked = in_url("/a", sealed(policy(DateGreaterThan={"AWS:EpochTime": 10}, IpAddress=address("192.0.2.0/24"))))
    assert passes.known_url(asked, NOW) is None
    granted = judge(asked, NOW, passes)
    assert passes.known_url(asked, NOW) == granted
    assert passes.known_url(asked, LATER - 0.001) == granted
    assert passes.known_url(asked, LATER) is None
    assert passes.known_url(asked, 10) is None
    assert passes.known_url(asked._replace(client=ELSEWHERE), NOW) is None
    assert passes.known_url(asked._replace(path=b"/b"), NOW) is None
    assert passes.known_url(asked._replace(query=asked.query + b"&"), NOW) is None
    assert Passes(SITE, CHECKS).known_url(asked, NOW) is None


def test_what_was_refused_is_not_known() -> None:
    passes = Passes(SITE, CHECKS)
    for fields, _ in ORDER.values():
        asked = in_url("/a/b.txt", fields)
        refused(asked, NOW, passes)
        assert passes.known_url(asked, NOW) is None


def test_a_policy_that_was_seen_counts_with_its_own_signature_key_and_hash_alone() -> None:
    passes = Passes(SITE, CHECKS)
    judge(in_cookies("/a", GOOD), NOW, passes)
    for other in ({"Signature": CANNED["Signature"]}, {"Key-Pair-Id": KEYS["ec"]["id"]}, {"Hash-Algorithm": "SHA1"}):
        assert refused(in_cookies("/a", {**GOOD, **other}), NOW, passes) == ("AccessDenied", "pass-signature")
    judge(in_cookies("/b", GOOD), NOW, passes)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "REMEMBERED", 8)
    passes = Passes(SITE, CHECKS)
    for number in range(20):
        judge(in_url(f"/{number}", GOOD), NOW, passes)
        judge(in_cookies("/a", sealed(SMALLEST + " " * number)), NOW, passes)
    assert len(passes._urls) == len(passes._signed) == 8
    assert passes.known_url(in_url("/0", GOOD), NOW) is None
    assert passes.known_url(in_url("/19", GOOD), NOW) is not None


def test_a_long_url_is_checked_each_time() -> None:
    """Whoever has one good pass with a wildcard can write it in as many ways as they like."""
    passes = Passes(SITE, CHECKS)
    long = in_url(f"/a?{'x' * 30_000}", GOOD)
    judge(long, NOW, passes)
    assert passes.known_url(long, NOW) is None
    judge(long, NOW, passes)


# --- wildcards


def naive(pattern: str, text: str) -> bool:
    """The rule of the developer guide, word by word: `*` any characters, `?` one, `\\?` a question mark."""
    parts = re.findall(r"\\\?|[^\\]|\\", pattern)
    wild = {"*": ".*", "?": ".", "\\?": r"\?"}
    return re.fullmatch("".join(wild.get(part) or re.escape(part) for part in parts), text, re.DOTALL) is not None


@given(
    pattern=st.lists(st.sampled_from(["a", "b", "*", "?", "\\?", "\\", *"/é.+[]()^$|{}"]), max_size=9).map("".join),
    text=st.text(alphabet="ab?*\\/é.+[]()^$|{}", max_size=9),
)
@example("*.jpg", "secret.pdfpjpg")
@example("*.jpg", "a.jpg")
@example("a.b", "axb")
@example("?.b", "axb")
@example("*[ab]", "a")
@example("*(a|b)", "a")
@example("*a+", "aa")
@example("*a$", "a")
@example("*^a", "a")
@example("*a{2}", "aa")
@example("*A", "a")
@example("*a", "a\n")
@example("?*", "")
@example("", "")
@example("*", "")
@example("?", "")
@example("**", "a")
@example("a*?", "a")
@example("*a?b*", "aaab")
@example("a\\", "a\\")
@example("\\\\?", "\\?")
@example("\\**", "\\b")
@example("*\\?", "a?")
@example("*\\?", "ab")
def test_wildcards_match_as_the_naive_oracle_says(pattern: str, text: str) -> None:
    assert matches(pattern, text) is naive(pattern, text)


@given(data=st.data(), text=st.text(alphabet="ab/", min_size=1, max_size=30))
def test_what_a_pattern_was_made_from_matches(data: st.DataObject, text: str) -> None:
    """Random patterns seldom match; these always do."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=6)))
    pattern = text[: cuts[0]]
    for start, stop in itertools.pairwise(cuts):
        pattern += data.draw(st.sampled_from(["*", "?" * (stop - start), text[start:stop], "*" + text[start:stop]]))
    pattern += text[cuts[-1] :]
    assert matches(pattern, text)
    assert naive(pattern, text)


@pytest.mark.parametrize(
    ("resource", "opened", "others"),
    [
        (
            "/img/*.jpg",
            ["/img/a.jpg", "/img/a/b.jpg"],
            ["/img/secret.pdfpjpg", "/img/a.jpgx", "/img/a.JPG", "/img/ajpg"],
        ),
        ("/a/b.txt", ["/a/b.txt"], ["/a/bxtxt", "/a/b.txt/", "/a/b.txtx", "/a/b"]),
        ("/v?.ts", ["/v1.ts", "/v2.ts", "/v..ts"], ["/v.ts", "/v12.ts", "/v1xts"]),
        ("/a[1]/*", ["/a[1]/x"], ["/a1/x"]),
        ("/a(1)+/*", ["/a(1)+/x"], ["/a1/x", "/a11/x"]),
        ("/a|/b/*", ["/a|/b/x"], ["/a", "/b/x"]),
        ("/a^$/*", ["/a^$/x"], ["/a/x"]),
        ("/*/x.ts", ["/a/x.ts", "//x.ts"], ["/x.ts", "/a/xxts", "/a/x.tsx"]),
    ],
)
def test_a_resource_opens_what_it_names_and_nothing_like_it(
    resource: str, opened: list[str], others: list[str]
) -> None:
    assert [path for path in opened if not opens(SITE + resource, SITE + path)] == []
    assert [path for path in others if opens(SITE + resource, SITE + path)] == []


@given(
    resource=st.lists(st.sampled_from(["a", ".", "*", "?", "\\?", "/"]), max_size=7).map("".join),
    path=st.text(alphabet="a./", max_size=5),
    query=st.text(alphabet="a./?", max_size=4),
)
@example("*.a", "a", ".a")
@example("*?a", "a", "a")
@example("a?/", "a", "/")
def test_a_resource_with_any_query_names_the_path_before_it(resource: str, path: str, query: str) -> None:
    """The client writes the query, so what opens must name the object without it: all of it, or up to a `?`."""
    if opens(resource, f"{path}?{query}"):
        assert naive(resource, f"{path}?{query}")
        ends = [match.start() for match in re.finditer(r"\\?\?", resource)]
        assert any(naive(resource[:end], path) for end in (*ends, len(resource)))
    assert opens(resource, path) is naive(resource, path)


ADVERSARIAL = {
    "stars between the same letter": "*a" * 2000 + "*b",
    "stars and question marks": "*?" * 2000 + "b",
    "one star and a long tail": "*" + "a" * 4000 + "b",
    "stars only": "*" * 8000 + "b",
    "question marks only": "?" * 8000,
}


@pytest.mark.parametrize("pattern", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_work_grows_with_the_url_and_no_faster(pattern: str) -> None:
    """Backtracking would not end, and squares would be sixteen times the work for four times the length."""

    def work(length: int) -> int:
        text = "a" * length
        assert not matches(pattern, text) or set(pattern) == {"?"}  # and its pattern is read before the count begins
        return lines_run(lambda: matches(pattern, text))

    short, long = work(1990), work(7960)
    assert short >= 1990, "each character was looked at"
    assert long < 5 * short


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        ("/img/*.jpg", "/img/secret.pdf?.jpg"),
        ("/img/*?.jpg", "/img/secret.pdf?.jpg"),
        ("/img/*?.jpg", "/img/deep/in/secret.pdf?x.jpg"),
        ("/video?/*", "/video?/x"),
        ("/a*?w=*", "/abc?w=1"),
        ("/?*?w=1", "/ab?w=1"),
    ],
)
def test_a_query_that_the_asker_made_up_names_no_object(resource: str, url: str) -> None:
    assert matches(SITE + resource, SITE + url)
    assert not opens(SITE + resource, SITE + url)


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        ("/a.jpg?w=*", "/a.jpg?w=10"),
        ("/a.jpg?to=/b", "/a.jpg?to=/b"),
        ("/a.jpg?*", "/a.jpg?w=10"),
        ("/img/*\\?w=1", "/img/a.jpg?w=1"),
        ("/img/*", "/img/a.jpg?w=1"),
        ("/img/*?.jpg", "/img/a1.jpg"),
        ("/video?/*", "/video1/x?w=1"),
    ],
)
def test_a_query_that_the_resource_names_belongs_to_its_object(resource: str, url: str) -> None:
    assert opens(SITE + resource, SITE + url)
    assert opens(SITE.replace("https", "http*") + resource, SITE + url)
