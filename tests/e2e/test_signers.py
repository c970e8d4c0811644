"""AWS's own signers of passes and ours, asked for the same: what they sign counts here, and is what we would sign."""

from __future__ import annotations

import base64
import datetime as dt
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

import pytest
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from stagedoor.core import paths
from stagedoor.core.credentials import PASS_PARAMETERS, Sources, find, without_pass
from stagedoor.core.messages import Request
from stagedoor.core.passes.signer import EARLIEST, Signer
from stagedoor.core.passes.terms import Hash
from stagedoor.core.passes.verify import Passes
from stagedoor.keys.pass_keys import check_with, load_signer, read_public
from tests.helpers.support import SITE, VECTORS, request

KEYS: Mapping[str, Mapping[str, str]] = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
HASHES: Mapping[str, tuple[Hash, hashes.HashAlgorithm]] = {
    "SHA1": ("sha1", hashes.SHA1()),
    "SHA256": ("sha256", hashes.SHA256()),
}
PASSES = Passes(SITE, {key["id"]: check_with(read_public(key["pub"])) for key in KEYS.values()})
SEED, EACH = 20_300_101, 60
LETTERS = "abcXYZ019-._~ !'()@:;,+$&=[]{}|^`<>üÜß€🎟\u0308"


class Wish(NamedTuple):
    """A pass to be signed: by which key, for what, and when and where it is good.

    `is_raw`: the URL is not percent-encoded; AWS's signer for JavaScript sees to that itself.
    """

    key: str
    algorithm: str
    name: str
    query: str
    is_raw: bool
    expires: int
    starts: int | None = None
    network: str | None = None
    resource: str | None = None

    @property
    def url(self) -> str:
        return SITE + (f"/{self.name}" if self.is_raw else paths.encode(self.name)) + self.query

    @property
    def client(self) -> str:
        """An address that it is good for."""
        return (self.network or "192.0.2.1").partition("/")[0]

    @property
    def policy(self) -> str:
        """The text of its policy where a signer has to be given one."""
        condition: dict[str, Any] = {"DateLessThan": {"AWS:EpochTime": self.expires}}
        if self.starts:
            condition["DateGreaterThan"] = {"AWS:EpochTime": self.starts}
        if self.network:
            condition["IpAddress"] = {"AWS:SourceIp": self.network if "/" in self.network else f"{self.network}/32"}
        return json.dumps({"Statement": [{"Resource": self.resource, "Condition": condition}]}, separators=(",", ":"))

    @property
    def is_canned(self) -> bool:
        return (self.starts, self.network, self.resource) == (None, None, None)

    def ours(self, url: str) -> dict[str, str]:
        """What we sign; in a policy the `?` of a query stays bare, as AWS's signers leave it."""
        signed = signer(self.key, self.algorithm).url(
            url,
            self.expires,
            starts=self.starts,
            network=self.network,
            resource=self.resource or (None if self.is_canned else url),
        )
        assert signed.startswith(f"{url}{'&' if '?' in url else '?'}")
        return fields(signed)

    def our_cookies(self) -> dict[str, str]:
        whole = self.resource or self.url
        return signer(self.key, self.algorithm).cookies(whole, self.expires, starts=self.starts, network=self.network)


@cache
def signer(key: str, algorithm: str) -> Signer:
    return load_signer(KEYS[key]["id"], KEYS[key]["priv"], hash=HASHES[algorithm][0])


def wishes() -> Iterator[Wish]:
    """URLs with odd names, times, networks and wildcards, for each key and hash; the same in every run."""
    chance = random.Random(SEED)
    for key, algorithm in (("rsa", "SHA1"), ("rsa", "SHA256"), ("ec", "SHA1"), ("ec", "SHA256")):
        for _ in range(EACH):
            expires = chance.randrange(EARLIEST + 10, 4_000_000_000)
            names = (
                "x" + "".join(chance.choices(LETTERS, k=chance.randint(1, 9))) for _ in range(chance.randint(1, 4))
            )
            name, query = "/".join(names), chance.choice(("", "", "?w=10&h=20", "?q=a%20b&q=%C3%BC"))
            if chance.random() < 0.4:
                yield Wish(key, algorithm, name, query, chance.random() < 0.5, expires)
                continue
            starts = chance.randrange(EARLIEST, expires - 1) if chance.random() < 0.6 else None
            address = ".".join(str(chance.randrange(256)) for _ in range(4))
            network = (
                address + chance.choice(("", "/32", f"/{chance.randrange(33)}")) if chance.random() < 0.6 else None
            )
            resource = chance.choice((f"{SITE}/*", f"{SITE}/x?*", "http*://*", "*")) if chance.random() < 0.5 else None
            yield Wish(key, algorithm, name, query, False, expires, starts, network, resource)


WISHES = tuple(wishes())


def fields(url: str) -> dict[str, str]:
    """The fields of the pass in a URL."""
    return {name: value for name, value in parse_qsl(url.partition("?")[2]) if name.encode() in PASS_PARAMETERS}


def bare(url: str) -> str:
    """The URL without them."""
    path, _, query = url.partition("?")
    rest = without_pass(query.encode()).decode()
    return f"{path}?{rest}" if rest else path


def is_opened(asked: Request, wish: Wish) -> bool:
    credential = find(asked.headers, asked.query, Sources())
    assert credential is not None
    verify = PASSES.verify_url if credential.kind == "signed-url" else PASSES.verify_cookies
    granted = verify(asked._replace(client=wish.client), credential.fields, wish.expires - 1)
    return (granted.terms.expires, granted.terms.starts) == (wish.expires, wish.starts)


def same(ours: Mapping[str, str], theirs: Mapping[str, str], wish: Wish) -> bool:
    """Are all fields the same? ECDSA signs nothing twice alike."""
    signature = {name: "" for name in ours if wish.key == "ec" and name.endswith("Signature")}
    return {**ours, **signature} == {**theirs, **signature}


@pytest.fixture(scope="module")
def signed_by_javascript() -> list[Mapping[str, Any]]:
    """Everything signed by `@aws-sdk/cloudfront-signer`, in one run of node."""
    node = shutil.which("node")
    assert node
    jobs = []
    for wish in WISHES:
        job: dict[str, Any] = {"url": wish.url, "keyPairId": KEYS[wish.key]["id"], "privateKey": KEYS[wish.key]["priv"]}
        if wish.resource is None:
            moments = {"dateLessThan": wish.expires * 1000, "dateGreaterThan": (wish.starts or 0) * 1000}
            job |= {**moments, "ipAddress": wish.network}
        else:
            job |= {"policy": wish.policy}
        jobs.append({**job, "algorithm": wish.algorithm})
    command = [node, str(Path(__file__).with_name("signer.mjs"))]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    signed: list[Mapping[str, Any]] = json.loads(done.stdout)
    return signed


def test_the_wishes_are_of_every_kind() -> None:
    assert {wish.is_raw for wish in WISHES} == {True, False}
    assert {(wish.starts is None, wish.network is None, wish.resource is None) for wish in WISHES} == {
        (starts, network, resource)
        for starts in (True, False)
        for network in (True, False)
        for resource in (True, False)
    }


@pytest.mark.needs("oidc-provider")  # its npm packages stand in one lock file with the signer's
def test_a_url_signed_in_javascript_opens_and_is_what_we_would_sign(
    signed_by_javascript: list[Mapping[str, Any]],
) -> None:
    for wish, signed in zip(WISHES, signed_by_javascript, strict=True):
        assert is_opened(request(signed["url"].removeprefix(SITE)), wish), wish
        assert same(wish.ours(bare(signed["url"])), fields(signed["url"]), wish), wish


@pytest.mark.needs("oidc-provider")
def test_cookies_signed_in_javascript_open_and_are_what_we_would_sign(
    signed_by_javascript: list[Mapping[str, Any]],
) -> None:
    for wish, signed in zip(WISHES, signed_by_javascript, strict=True):
        theirs = {name: str(value) for name, value in signed["cookies"].items()}
        cookie = "; ".join(f"{name}={value}" for name, value in theirs.items())
        target = quote(wish.url.removeprefix(SITE), safe="/?%!'()@:;,+$&=[]")  # as a browser writes it
        assert is_opened(request(target, cookie=cookie), wish), wish
        if wish.resource is not None or wish.is_canned or not wish.query:  # we write the `?` of a query as `\\?`
            assert same(wish.our_cookies(), theirs, wish), wish


def test_a_url_signed_with_botocore_opens_and_is_what_we_would_sign() -> None:
    """botocore knows SHA-1 only, but leaves the private-key operation to its caller, and so the hash."""
    for wish in (wish._replace(is_raw=False) for wish in WISHES):
        theirs = CloudFrontSigner(KEYS[wish.key]["id"], private_key_operation(wish.key, wish.algorithm))
        ends = dt.datetime.fromtimestamp(wish.expires, dt.UTC)
        starts = None if wish.starts is None else dt.datetime.fromtimestamp(wish.starts, dt.UTC)
        if wish.is_canned:
            signed = theirs.generate_presigned_url(wish.url, date_less_than=ends)
        else:
            policy = theirs.build_policy(wish.resource or wish.url, ends, starts, wish.network)
            signed = theirs.generate_presigned_url(wish.url, policy=policy)
        signed += "&Hash-Algorithm=SHA256" if wish.algorithm == "SHA256" else ""
        assert is_opened(request(signed.removeprefix(SITE)), wish), wish
        ours = wish.ours(wish.url)
        if wish.is_canned:
            assert same(ours, fields(signed), wish), wish
        else:  # its conditions stand in another order
            assert policy_of(ours) == json.loads(policy), wish


@cache
def private_key_operation(key: str, algorithm: str) -> Callable[[bytes], bytes]:
    private = serialization.load_pem_private_key(KEYS[key]["priv"].encode(), None)
    digest = HASHES[algorithm][1]
    if isinstance(private, rsa.RSAPrivateKey):
        return lambda message: private.sign(message, padding.PKCS1v15(), digest)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return lambda message: private.sign(message, ec.ECDSA(digest))


def policy_of(pass_: Mapping[str, str]) -> Any:
    return json.loads(base64.b64decode(pass_["Policy"].translate(str.maketrans("-_~", "+=/"))))
