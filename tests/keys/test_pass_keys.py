"""Keys of passes in every common form; errors say what is wrong and hold nothing of the key."""

from __future__ import annotations

import datetime as dt
import json
import re
import textwrap
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from stagedoor.core.credentials import Sources, find
from stagedoor.core.errors import InvalidKey, SettingsError, StoreRefused
from stagedoor.core.passes.verify import Passes
from stagedoor.keys.pass_keys import (
    PassSettings,
    PrivateKey,
    PublicKey,
    check_with,
    load_signer,
    new_pair,
    open_passes,
    read_private,
    read_public,
    read_public_keys,
    sign_with,
)
from stagedoor.outside import aws
from stagedoor.settings import Settings, parse
from tests.helpers.serving import prepare, settings_text
from tests.helpers.support import NOW, SITE, VECTORS, request

VECTOR_KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
RSA, EC = VECTOR_KEYS["rsa"], VECTOR_KEYS["ec"]
PASSPHRASE = "correct horse, battery"
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8, TRADITIONAL = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
SPKI, PKCS1 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1
OPEN = serialization.NoEncryption()
LOCKED = serialization.BestAvailableEncryption(PASSPHRASE.encode())


@cache
def private(kind: str) -> PrivateKey:
    return read_private({"rsa": RSA, "ec": EC}[kind]["priv"])


def public(kind: str) -> PublicKey:
    return private(kind).public_key()


# --- forms

FORMS: Mapping[str, tuple[serialization.Encoding, serialization.PrivateFormat, bool]] = {
    "PKCS#8": (PEM, PKCS8, False),
    "PKCS#1 or SEC 1": (PEM, TRADITIONAL, False),
    "PKCS#8 behind a passphrase": (PEM, PKCS8, True),
    "PKCS#1 or SEC 1 behind a passphrase": (PEM, TRADITIONAL, True),
    "PKCS#8 in DER": (DER, PKCS8, False),
    "PKCS#1 or SEC 1 in DER": (DER, TRADITIONAL, False),
    "PKCS#8 in DER behind a passphrase": (DER, PKCS8, True),
}

WAYS: Mapping[str, Callable[[str], str]] = {
    "as it was": str,
    "line ends of Windows": lambda pem: pem.replace("\n", "\r\n"),
    "line ends of an old Mac": lambda pem: pem.replace("\n", "\r"),
    "spaces for line ends": lambda pem: pem.replace("\n", " "),
    "line ends written out": lambda pem: pem.replace("\n", "\\n"),
    "line ends of Windows written out": lambda pem: pem.replace("\n", "\\r\\n"),
    "line ends written out twice": lambda pem: pem.replace("\n", "\\\\n"),
    "line ends written out, and there": lambda pem: pem.replace("\n", "\\n\n"),
    "no line end after the last line": lambda pem: pem.rstrip("\n"),
    "indented": lambda pem: textwrap.indent(pem, "    "),
    "tabs": lambda pem: pem.replace("\n", "\n\t"),
    "empty lines around": lambda pem: f"\n\n{pem}\n\n",
    "a byte order mark": lambda pem: f"\ufeff{pem}",
    "words before and after": lambda pem: f"Bag Attributes\n    friendlyName: key\n{pem}# end\n",
    "in a JSON document": lambda pem: json.dumps({"privateKey": pem}),
    "quoted in a shell": lambda pem: f"'{pem}'",
}


def written(kind: str, form: str) -> bytes:
    encoding, format_, locked = FORMS[form]
    return private(kind).private_bytes(encoding, format_, LOCKED if locked else OPEN)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_private_key_is_read_in_every_form(kind: str, form: str) -> None:
    key = written(kind, form)
    secret = PASSPHRASE if FORMS[form][2] else None
    assert read_private(key, secret and secret.encode()).private_numbers() == private(kind).private_numbers()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", [form for form, how in FORMS.items() if how[0] is PEM])
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_pem_survives_what_shells_and_consoles_do_to_it(kind: str, form: str, way: str) -> None:
    key = WAYS[way](written(kind, form).decode())
    passphrase = PASSPHRASE if FORMS[form][2] else None
    assert read_private(key, passphrase).public_key() == public(kind)


def test_the_legacy_form_is_the_one_that_openssl_wrote() -> None:
    """Its two header lines are part of it, and lines of their own."""
    assert b"Proc-Type: 4,ENCRYPTED\nDEK-Info: " in written("rsa", "PKCS#1 or SEC 1 behind a passphrase")


def test_parameters_before_an_ec_key_are_passed_over() -> None:
    """`openssl ecparam -genkey` writes both."""
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    both = parameters + written("ec", "PKCS#1 or SEC 1").decode()
    for way in WAYS.values():
        assert read_private(way(both)).public_key() == public("ec")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "format_"), [("rsa", SPKI), ("rsa", PKCS1), ("ec", SPKI)])
def test_a_public_key_is_read_in_every_form(kind: str, format_: serialization.PublicFormat, way: str) -> None:
    pem = WAYS[way](public(kind).public_bytes(PEM, format_).decode())
    for content in (pem, pem.encode(), public(kind).public_bytes(DER, format_)):
        assert read_public(content) == public(kind)


def test_the_passphrase_of_the_vectors_opens_theirs() -> None:
    key = VECTOR_KEYS["rsa_enc"]
    assert read_private(key["priv"], key["passphrase"]).public_key() == read_public(key["pub"])


# --- what cannot be used


@cache
def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a certificate")])
    key = private("ec")
    begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    first, last = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2020, 2040))
    dated = begun.serial_number(1).not_valid_before(first).not_valid_after(last)
    return dated.sign(key, hashes.SHA256()).public_bytes(PEM)


def pem_of(key: Any) -> bytes:
    made: bytes = key.private_bytes(PEM, PKCS8, OPEN)
    return made


def public_pem(key: Any) -> bytes:
    made: bytes = key.public_key().public_bytes(PEM, SPKI)
    return made


OTHER_KINDS: Mapping[str, Callable[[], Any]] = {
    "RSA with 1024 bits": lambda: rsa.generate_private_key(65537, 1024),
    "RSA with 3072 bits": lambda: rsa.generate_private_key(65537, 3072),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "DSA": lambda: dsa.generate_private_key(2048),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_of_keys_are_refused_and_the_right_ones_named(kind: str) -> None:
    key = OTHER_KINDS[kind]()
    for read, content in ((read_private, pem_of(key)), (read_public, public_pem(key))):
        message = refusal(lambda read=read, content=content: read(content), content)  # type: ignore[misc]
        assert "RSA with 2048 bits" in message
        assert "P-256" in message
        assert "stagedoor keys new" in message


LOCKED_FORMS = [form for form, how in FORMS.items() if how[2]]


@pytest.mark.parametrize("form", LOCKED_FORMS)
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_missing_or_wrong_passphrase_is_reported(kind: str, form: str) -> None:
    key = written(kind, form)
    assert "has a passphrase: name it in [passes] passphrase" in refusal(lambda: read_private(key), key)
    for wrong in ("not this one", PASSPHRASE.upper(), f"{PASSPHRASE} "):
        message = refusal(lambda wrong=wrong: read_private(key, wrong), key, wrong)  # type: ignore[misc]
        assert "the passphrase is wrong" in message


def test_a_passphrase_that_is_not_needed_is_reported() -> None:
    message = refusal(lambda: read_private(RSA["priv"], PASSPHRASE), RSA["priv"].encode(), PASSPHRASE)
    assert "the private key has none" in message


NO_PRIVATE: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "not a private key in PEM or DER"),
    "words": (b"my private key", "not a private key in PEM or DER"),
    "a path": (b"/etc/keys/private.pem", "not a private key in PEM or DER"),
    "a public key": (RSA["pub"].encode(), "not a private key but a public one"),
    "a public key in PKCS#1": (public("rsa").public_bytes(PEM, PKCS1), "not a private key but a public one"),
    "a public key in DER": (public("rsa").public_bytes(DER, SPKI), "not a private key in PEM or DER"),
    "a certificate": (certificate(), "not a private key in PEM or DER"),
    "half a key": (RSA["priv"].encode()[:400], "not a private key in PEM or DER"),
    "a key with a hole": (RSA["priv"].encode().replace(b"MIIE", b""), "not a private key in PEM or DER"),
    "a key without its end": (RSA["priv"].encode().rpartition(b"-----END")[0], "not a private key in PEM or DER"),
    "half a key in DER": (private("rsa").private_bytes(DER, PKCS8, OPEN)[:200], "not a private key in PEM or DER"),
    "UTF-16": (RSA["priv"].encode("utf-16"), "not a private key in PEM or DER"),
    "OpenSSH's form": (
        private("ec").private_bytes(PEM, serialization.PrivateFormat.OpenSSH, OPEN),
        "not a private key in PEM or DER",
    ),
}
NO_PUBLIC: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "not a public key in PEM or DER"),
    "words": (b"my public key", "not a public key in PEM or DER"),
    "a private key": (RSA["priv"].encode(), "not a public key but a private one"),
    "a private key in PKCS#1": (written("rsa", "PKCS#1 or SEC 1"), "not a public key but a private one"),
    "a private key in DER": (written("rsa", "PKCS#8 in DER"), "not a public key in PEM or DER"),
    "a certificate": (certificate(), "not a public key in PEM or DER"),
    "half a key": (RSA["pub"].encode()[:200], "not a public key in PEM or DER"),
    "UTF-16": (RSA["pub"].encode("utf-16"), "not a public key in PEM or DER"),
    "an SSH key": (
        public("ec").public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        "not a public key in PEM or DER",
    ),
}


@pytest.mark.parametrize(("content", "message"), NO_PRIVATE.values(), ids=NO_PRIVATE)
def test_other_content_than_a_private_key_is_refused(content: bytes, message: str) -> None:
    assert message in refusal(lambda: read_private(content), content)
    assert "passphrase is wrong" in refusal(lambda: read_private(content, PASSPHRASE), content, PASSPHRASE)


@pytest.mark.parametrize(("content", "message"), NO_PUBLIC.values(), ids=NO_PUBLIC)
def test_other_content_than_a_public_key_is_refused(content: bytes, message: str) -> None:
    assert message in refusal(lambda: read_public(content), content)


SSH, SSH_PRIVATE = serialization.PublicFormat.OpenSSH, serialization.PrivateFormat.OpenSSH


@pytest.mark.parametrize(
    ("content", "way_out"),
    [
        (
            private("rsa").private_bytes(PEM, SSH_PRIVATE, OPEN),
            "OpenSSH's own form; rewrite it with: ssh-keygen -p -m PKCS8",
        ),
        (public("rsa").public_bytes(serialization.Encoding.OpenSSH, SSH), "a public key in SSH's form"),
        (public("ec").public_bytes(serialization.Encoding.OpenSSH, SSH), "a public key in SSH's form"),
        (b"PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\n", "PuTTY's own form; rewrite it with: puttygen"),
        (certificate(), "a certificate; its public key is: openssl x509"),
        (RSA["priv"].encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    ],
    ids=["OpenSSH", "ssh-rsa", "ecdsa-sha2", "PuTTY", "certificate", "UTF-16"],
)
def test_a_form_that_is_not_read_is_named_with_the_way_out(content: bytes, way_out: str) -> None:
    assert way_out in refusal(lambda: read_private(content), content)
    assert way_out in refusal(lambda: read_public(content), content)


def refusal(read: Callable[[], object], content: bytes, passphrase: str = "") -> str:
    """The message for the owner. Neither it nor a traceback in a log may hold any part of the key."""
    with pytest.raises(InvalidKey) as caught:
        read()
    shown = "".join(traceback.format_exception(caught.value, chain=True))
    shown = re.sub(r'File ".*|^    .*', "", shown, flags=re.MULTILINE)  # source lines of ours
    assert passphrase == "" or passphrase not in shown
    for piece in re.findall(r"[A-Za-z0-9+/]{16,}", content.decode("latin-1")):
        assert piece[:16] not in shown
    return str(caught.value)


# --- signer and verifier


@pytest.mark.parametrize("kind", ["rsa", "ec"])
@pytest.mark.parametrize("hash_", ["sha1", "sha256"])
def test_what_a_loaded_signer_signs_opens(kind: str, hash_: Any) -> None:
    signer = load_signer("K1", written(kind, "PKCS#8 behind a passphrase"), passphrase=PASSPHRASE, hash=hash_)
    assert signer.hash == hash_
    opens(Passes(SITE, {"K1": check_with(public(kind))}), signer.url(f"{SITE}/a", int(NOW) + 1))


def opens(passes: Passes, url: str) -> None:
    asked = request(url.removeprefix(SITE))
    credential = find(asked.headers, asked.query, Sources())
    assert credential is not None
    passes.verify_url(asked, credential.fields, NOW)


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_what_is_no_signature_is_no_fault_of_ours(kind: str) -> None:
    check, good = check_with(public(kind)), sign_with(private(kind))("sha256", b"text")
    assert check("sha256", b"text", good)
    for wrong in (b"", b"\x00", b"\x30\x00", good[:-1], good + b"\x00", bytes(256), b"\xff" * 256, b"0" * 4096):
        assert not check("sha256", b"text", wrong)
    assert not check("sha1", b"text", good)
    assert not check("sha256", b"texT", good)


# --- settings


def passes_of(folder: Path, lines: str, **environ: str) -> Settings:
    prepare(folder)
    return parse(settings_text(more=f"[passes]\n{lines}"), folder / "stagedoor.toml", environ)


@pytest.mark.parametrize("way", WAYS)
def test_keys_come_from_the_environment_however_it_bends_them(tmp_path: Path, way: str) -> None:
    lines = 'key_id = "K1"\nprivate_key = "env:PRIVATE"\npassphrase = "env:WORDS"\npublic_keys = { K2 = "env:PUBLIC" }'
    private_pem = WAYS[way](written("rsa", "PKCS#1 or SEC 1 behind a passphrase").decode())
    settings = passes_of(tmp_path, lines, PRIVATE=private_pem, WORDS=PASSPHRASE, PUBLIC=WAYS[way](EC["pub"]))
    keys, signer = open_passes(settings.passes, None)
    assert set(keys) == {"K1", "K2"}
    assert signer is not None
    opens(Passes(SITE, keys), signer.url(f"{SITE}/a", int(NOW) + 1))


@pytest.mark.parametrize("form", FORMS)
def test_keys_come_from_files_beside_the_settings(tmp_path: Path, form: str) -> None:
    (tmp_path / "private").write_bytes(written("ec", form))
    (tmp_path / "words").write_text(f"{PASSPHRASE}\n")
    (tmp_path / "public.der").write_bytes(public("ec").public_bytes(DER, SPKI))
    lines = 'key_id = "K1"\nprivate_key = "file:private"\npublic_keys = { K1 = "file:public.der" }\n'
    if FORMS[form][2]:
        lines += 'passphrase = "file:words"\n'
    keys, signer = open_passes(passes_of(tmp_path, lines).passes, None)
    assert signer is not None
    opens(Passes(SITE, keys), signer.url(f"{SITE}/a", int(NOW) + 1))


BOTH = 'key_id = "K1"\nprivate_key = "env:PRIVATE"\n'
BAD_SETTINGS: Mapping[str, tuple[str, dict[str, str], str]] = {
    "a pair that is none": (
        f'{BOTH}public_keys = {{ K1 = "env:PUBLIC" }}',
        {"PUBLIC": EC["pub"]},
        "does not belong to public key K1",
    ),
    "a public key that is none": (
        f'{BOTH}public_keys = {{ K7 = "env:PUBLIC" }}',
        {"PUBLIC": "x"},
        "public key K7: this is not a public key",
    ),
    "public and private key exchanged": (
        f'{BOTH}public_keys = {{ K1 = "env:PUBLIC" }}',
        {"PUBLIC": RSA["priv"], "PRIVATE": RSA["pub"]},
        "not a public key but a private one",
    ),
    "a private key that is none": (BOTH, {"PRIVATE": "x"}, "not a private key"),
    "a passphrase too much": (f'{BOTH}passphrase = "env:WORDS"', {"WORDS": PASSPHRASE}, "the private key has none"),
    "a passphrase too few": (BOTH, {"PRIVATE": VECTOR_KEYS["rsa_enc"]["priv"]}, r"name it in \[passes\] passphrase"),
    "a wrong passphrase": (
        f'{BOTH}passphrase = "env:WORDS"',
        {"PRIVATE": VECTOR_KEYS["rsa_enc"]["priv"], "WORDS": PASSPHRASE},
        "the passphrase is wrong",
    ),
    "a variable that is not set": ('key_id = "K1"\nprivate_key = "env:NOTHING"', {}, "NOTHING is not set"),
    "a file that is not there": ('key_id = "K1"\nprivate_key = "file:no.pem"', {}, "there is no file"),
    "the key itself": (
        f'key_id = "K1"\nprivate_key = """{WAYS["spaces for line ends"](RSA["priv"])}"""',
        {},
        "does not stand here itself",
    ),
    "an id with a quote": ('key_id = "K&a"\nprivate_key = "env:PRIVATE"', {}, "is not a key id"),
}


@pytest.mark.parametrize(("lines", "environ", "words"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_keys_are_reported_with_their_setting_and_without_the_key(
    tmp_path: Path, lines: str, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        passes_of(tmp_path, lines, **{"PRIVATE": RSA["priv"], **environ})
    message = str(caught.value)
    assert re.search(r"stagedoor\.toml:\d+: passes", message)
    for secret in (RSA["priv"], EC["pub"], VECTOR_KEYS["rsa_enc"]["priv"], PASSPHRASE):
        assert not any(line in message for line in secret.splitlines() if "KEY---" not in line)


def test_settings_show_no_keys(tmp_path: Path) -> None:
    lines = f'{BOTH}public_keys = {{ K2 = "env:PUBLIC" }}'
    shown = repr(passes_of(tmp_path, lines, PRIVATE=RSA["priv"], PUBLIC=EC["pub"]))
    assert not any(line in shown for line in RSA["priv"].splitlines())


def test_all_public_keys_verify_and_one_private_key_signs() -> None:
    pairs = {"old": new_pair("rsa"), "new": new_pair("ec"), "newest": new_pair("rsa")}
    listed = {name: pair.public for name, pair in pairs.items() if name != "newest"}
    keys, signer = open_passes(PassSettings("newest", pairs["newest"].private, None, listed), None)
    assert set(keys) == set(pairs)
    assert signer is not None
    assert signer.key_id == "newest"
    for name, pair in pairs.items():
        opens(Passes(SITE, keys), load_signer(name, pair.private).url(f"{SITE}/a", int(NOW) + 1))


def test_without_a_private_key_passes_are_verified_and_not_issued() -> None:
    keys, signer = open_passes(PassSettings(public_keys={"K1": RSA["pub"].encode()}), None)
    assert (set(keys), signer) == ({"K1"}, None)
    assert open_passes(PassSettings(), None) == ({}, None)


# --- public keys alone


def refuses(secret: str, region: str | None = None) -> bytes:
    raise StoreRefused(f"{secret} cannot be read: AccessDeniedException")


def test_who_only_checks_asks_for_no_private_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "read_secret", refuses)
    listed = {"K1": RSA["pub"].encode(), "K2": EC["pub"].encode()}
    keys = read_public_keys(PassSettings("K1", "ssm:/private", "ssm:/words", listed), "us-east-1")
    assert keys == {"K1": public("rsa"), "K2": public("ec")}


def test_a_public_half_that_is_not_listed_comes_from_the_private_key() -> None:
    keys = read_public_keys(PassSettings("K1", RSA["priv"].encode(), None, {"K2": EC["pub"].encode()}), None)
    assert keys == {"K1": public("rsa"), "K2": public("ec")}


@pytest.mark.parametrize(
    ("passes", "setting"),
    [
        (PassSettings("K1", "ssm:/private", None, {"K2": EC["pub"].encode()}), "passes.private_key"),
        (PassSettings(public_keys={"K1": "ssm:/public"}), "passes.public_keys"),
    ],
)
@pytest.mark.parametrize(("region", "message"), [("eu-west-1", "in eu-west-1"), (None, "in the default region")])
def test_a_key_that_aws_does_not_give_is_reported_with_setting_and_region(
    monkeypatch: pytest.MonkeyPatch, passes: PassSettings, setting: str, region: str | None, message: str
) -> None:
    monkeypatch.setattr(aws, "read_secret", refuses)
    with pytest.raises(SettingsError, match="AccessDeniedException") as caught:
        read_public_keys(passes, region)
    assert caught.value.setting == setting
    assert message in caught.value.problem
    assert ("public_keys = {" in caught.value.mend) == (setting == "passes.private_key")


def test_a_listed_secret_that_is_not_a_key_is_reported_with_its_setting_and_no_region() -> None:
    with pytest.raises(SettingsError, match="K1: this is not a public key but a private one") as caught:
        read_public_keys(PassSettings(public_keys={"K1": RSA["priv"].encode()}), None)
    assert (caught.value.setting, "region" in caught.value.problem) == ("passes.public_keys", False)


# --- new pairs


@pytest.mark.parametrize("der", [False, True])
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_new_pair_signs_and_verifies(kind: Any, der: bool) -> None:
    pair, other = new_pair(kind, der=der), new_pair(kind, der=der)
    assert (b"-----BEGIN" in pair.private) is (b"-----BEGIN" in pair.public) is (not der)
    assert re.fullmatch(r"K[A-Z2-7]{13}", pair.id)
    assert pair.id != other.id
    assert read_private(pair.private).public_key() == read_public(pair.public)
    signer = load_signer(pair.id, pair.private)
    opens(Passes(SITE, {pair.id: check_with(read_public(pair.public))}), signer.url(f"{SITE}/a", int(NOW) + 1))
