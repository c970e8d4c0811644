"""Keys of passes: reading them in every common form, signing and checking with them, making new ones.

As CloudFront, we accept RSA keys of 2048 bits and ECDSA keys on P-256 only, so that a site can move there and back
(CloudFront Developer Guide, "Specify signers that can create signed URLs and signed cookies").
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ..core.errors import InvalidKey, SettingsError, StoreRefused, Unavailable
from ..core.passes.signer import Signer
from ..core.passes.terms import Hash, PassCheck, Sign
from ..outside import aws

Kind: TypeAlias = Literal["rsa", "ec"]
PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

RSA_BITS = 2048
_HASH: dict[str, hashes.HashAlgorithm] = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}  # noqa: S303 - CloudFront's default
_PADDING = padding.PKCS1v15()
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]*KEY)-----(.*?)-----END \1-----", re.DOTALL)
_ESCAPED_END = re.compile(r"\\+[rn]")
"""A line end in letters; JSON within JSON escapes it twice."""
_OTHER_FORMS = (
    (
        re.compile(rb"OPENSSH PRIVATE KEY"),
        "it is in OpenSSH's own form; rewrite it with: ssh-keygen -p -m PKCS8 -f FILE",
    ),
    (
        re.compile(rb"\A\s*(ssh-|ecdsa-)"),
        "it is a public key in SSH's form; rewrite it with: ssh-keygen -e -m PKCS8 -f FILE",
    ),
    (
        re.compile(rb"PuTTY-User-Key"),
        "it is in PuTTY's own form; rewrite it with: puttygen FILE -O private-openssh -o NEW",
    ),
    (re.compile(rb"BEGIN CERTIFICATE"), "it is a certificate; its public key is: openssl x509 -in FILE -pubkey -noout"),
    (re.compile(rb"\A(\xff\xfe|\xfe\xff)"), "it is UTF-16 text; save it as UTF-8"),
)
"""Other things that people have at hand: how each is recognised, and what to do."""
_LEGACY = re.compile(r"\s*Proc-Type:\s*(\S+)\s+DEK-Info:\s*(\S+)\s+")
_LIST_IT = 'list its public half, which is all that is needed here: public_keys = { your-key-id = "file:public.pem" }'
_SUPPORTED = "CloudFront takes RSA with 2048 bits and ECDSA on P-256; make one with: stagedoor keys new"


@dataclass(frozen=True, slots=True)
class PassSettings:
    """`[passes]`: the key that signs, and the keys that check.

    Keys and the passphrase are `bytes`, or a `str` such as `ssm:/name` that says where AWS keeps them.

    Attributes:
        key_id, private_key, passphrase: of the key that signs.
        public_keys: id -> key.
        hash: of new passes.
    """

    key_id: str | None = None
    private_key: bytes | str | None = field(default=None, repr=False)
    passphrase: bytes | str | None = field(default=None, repr=False)
    public_keys: Mapping[str, bytes | str] = field(default_factory=dict)
    hash: Hash = "sha256"


def load_signer(
    key_id: str,
    private_key: bytes | str,
    *,
    passphrase: bytes | str | None = None,
    hash: Hash = "sha256",  # noqa: A002 - the setting's name
) -> Signer:
    """Make a signer of passes, for the gateway or for a backend of your own.

    Args:
        key_id: id of the public key at CloudFront.
        private_key: PEM or DER; PKCS#1, SEC 1 or PKCS#8. A PEM whose line ends became spaces is read too.
        passphrase: needed if the key has one.
        hash: `sha256`, or `sha1` for verifiers that know nothing else.

    Returns:
        A `Signer`: `signer.url("https://…/a.txt", timedelta(hours=1))`, `signer.cookies("https://…/course/*", …)`.

    Raises:
        InvalidKey: not a private key, a kind of key that CloudFront does not take, or a wrong passphrase.
    """
    return Signer(key_id, sign_with(read_private(private_key, passphrase)), hash, time.time)


def read_private(content: bytes | str, passphrase: bytes | str | None = None) -> PrivateKey:
    """Read a private key; arguments and errors as for `load_signer`."""
    raw = content.encode() if isinstance(content, str) else content
    secret = passphrase.encode() if isinstance(passphrase, str) else passphrase
    try:
        if _is_pem(raw):
            key = serialization.load_pem_private_key(_with_line_ends(raw), secret)
        else:
            key = serialization.load_der_private_key(raw, secret)
    except TypeError as error:
        needs = "the private key has a passphrase: name it in [passes] passphrase"
        given = "a passphrase was given, but the private key has none"
        raise InvalidKey(needs if secret is None else given) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        wrong = ", or the passphrase is wrong" if secret is not None else ""
        public = " but a public one" if b"PUBLIC KEY" in raw else " in PEM or DER"
        raise InvalidKey(f"this is not a private key{public}{wrong}{_other_form(raw)}") from error
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) and _is_supported(key.public_key()):
        return key
    raise InvalidKey(f"passes cannot use this kind of key: {_SUPPORTED}")


def read_public(content: bytes | str) -> PublicKey:
    """Read a public key, PEM or DER.

    Raises:
        InvalidKey: as for `load_signer`.
    """
    raw = content.encode() if isinstance(content, str) else content
    try:
        if _is_pem(raw):
            key = serialization.load_pem_public_key(_with_line_ends(raw))
        else:
            key = serialization.load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        private = " but a private one" if b"PRIVATE KEY" in raw else " in PEM or DER"
        raise InvalidKey(f"this is not a public key{private}{_other_form(raw)}") from error
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and _is_supported(key):
        return key
    raise InvalidKey(f"passes cannot use this kind of key: {_SUPPORTED}")


def sign_with(key: PrivateKey) -> Sign:
    """The function that signs passes with this key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda digest, message: key.sign(message, _PADDING, _HASH[digest])
    return lambda digest, message: key.sign(message, ec.ECDSA(_HASH[digest]))


def check_with(key: PublicKey) -> PassCheck:
    """The function that checks signatures of passes with this key."""

    def check(digest: Hash, message: bytes, signature: bytes) -> bool:
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, message, _PADDING, _HASH[digest])
            else:
                key.verify(signature, message, ec.ECDSA(_HASH[digest]))
        except InvalidSignature:
            return False
        return True

    return check


def open_passes(passes: PassSettings, region: str | None) -> tuple[Mapping[str, PassCheck], Signer | None]:
    """Make the checks of all public keys, by id, and the signer if there is one; see `read_keys`."""
    public, private = read_keys(passes, region)
    signer = Signer(passes.key_id, sign_with(private), passes.hash, time.time) if private and passes.key_id else None
    return {name: check_with(key) for name, key in public.items()}, signer


def read_keys(passes: PassSettings, region: str | None) -> tuple[dict[str, PublicKey], PrivateKey | None]:
    """Read all public keys, by id, and the private one; secrets at AWS are fetched.

    Args:
        passes: the settings.
        region: of the secrets; found as AWS's own tools find it if None.

    Raises:
        InvalidKey: a key is unusable, or the private key does not belong to the public key of its id.
        StoreRefused, Unavailable: a secret cannot be fetched.
    """

    def content(secret: bytes | str) -> bytes:
        return secret if isinstance(secret, bytes) else aws.read_secret(secret, region)

    public = {}
    for name, secret in passes.public_keys.items():
        try:
            public[name] = read_public(content(secret))
        except InvalidKey as error:
            raise InvalidKey(f"public key {name}: {error}") from error
    if passes.key_id is None or passes.private_key is None:
        return public, None
    passphrase = None if passes.passphrase is None else content(passes.passphrase)
    private = read_private(content(passes.private_key), passphrase)
    own = public.setdefault(passes.key_id, private.public_key())
    if not is_pair(private, own):
        raise InvalidKey(f"the private key does not belong to public key {passes.key_id}")
    return public, private


def read_public_keys(passes: PassSettings, region: str | None) -> dict[str, PublicKey]:
    """Read all public keys, by id, for a door that checks passes and signs none.

    The private key is read only if `public_keys` lacks its public half, so that those who make a template or a bundle
    need not be able to sign.

    Args:
        passes, region: as for `read_keys`.

    Raises:
        SettingsError: a key cannot be fetched or used.
    """
    public = _public_keys("passes.public_keys", replace(passes, key_id=None), region)
    if passes.key_id is None or passes.key_id in public:
        return public
    return public | _public_keys("passes.private_key", replace(passes, public_keys={}), region)


def _public_keys(setting: str, passes: PassSettings, region: str | None) -> dict[str, PublicKey]:
    """Read the keys of one setting, which errors name."""
    try:
        return read_keys(passes, region)[0]
    except (InvalidKey, StoreRefused, Unavailable) as error:
        where = f"; it was looked for in {region or 'the default region'}"
        at_aws = isinstance(passes.private_key, str) or any(isinstance(key, str) for key in passes.public_keys.values())
        mend = _LIST_IT if setting == "passes.private_key" else ""
        raise SettingsError(f"{error}{where if at_aws else ''}", setting=setting, mend=mend) from error


class Pair(NamedTuple):
    """A new key pair. `id` is derived from the public key, for sites to which CloudFront gives none."""

    id: str
    private: bytes
    public: bytes


def new_pair(kind: Kind = "rsa", *, der: bool = False) -> Pair:
    """Make a key pair.

    Args:
        kind: `rsa`, which every door and every AWS SDK supports, or `ec`, which signs several times faster.
        der: DER, which Java's libraries need, instead of PEM.
    """
    key: PrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.DER if der else serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Pair(_id(key.public_key()), private, public)


def is_pair(private: PrivateKey, public: PublicKey) -> bool:
    """Does this public key belong to this private one?"""
    return private.public_key() == public


def _id(key: PublicKey) -> str:
    """An id like CloudFront's: `K` and 13 letters and digits."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "K" + base64.b32encode(hashlib.sha256(der).digest())[:13].decode()


def _is_supported(key: PublicKey) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size == RSA_BITS
    return isinstance(key.curve, ec.SECP256R1)


def _is_pem(raw: bytes) -> bool:
    return b"-----BEGIN" in raw


def _other_form(raw: bytes) -> str:
    """What else this is, with the way to a form that is read; "" if that is not known."""
    return next((f": {meant}" for mark, meant in _OTHER_FORMS if mark.search(raw)), "")


def _with_line_ends(raw: bytes) -> bytes:
    """A PEM with its line ends restored: shells and consoles turn them into spaces or into `\\n` in letters."""
    match = _PEM.search(_ESCAPED_END.sub("\n", raw.decode("latin-1")))
    if match is None:
        return raw
    label, body = match.groups()
    legacy = _LEGACY.match(body)
    head = f"Proc-Type: {legacy[1]}\nDEK-Info: {legacy[2]}\n\n" if legacy else ""
    text = "".join((body[legacy.end() :] if legacy else body).split())
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{head}{lines}\n-----END {label}-----\n".encode()
