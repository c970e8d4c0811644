"""The signature and key vectors of Project Wycheproof, with the corrections that stand beside them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

from stagedoor.core.errors import InvalidKeySet, InvalidToken
from stagedoor.core.issuers import parse_key_set
from stagedoor.core.jose import SignaturePort, split
from tests.helpers.support import VECTORS


class Vector(NamedTuple):
    """One token, the published key (or the secret) it is checked with, and whether it is right."""

    id: str
    key: dict[str, Any]
    keys: list[dict[str, Any]]
    jws: str
    valid: bool

    @property
    def algorithm(self) -> str:
        return str(self.key.get("alg"))

    @property
    def secret(self) -> bool:
        return bool(self.key["kty"] == "oct")


@cache
def signature_vectors() -> tuple[Vector, ...]:
    """All JWS vectors; those that the errata call wrong have the corrected result."""
    errata = {row["tcId"]: row["correct"] for row in _read("wycheproof_errata.json")["ignore_or_relabel"]}
    found = []
    for vector in _vectors("json_web_signature_test.json"):
        correct = errata.get(int(vector.id))
        found.append(vector if correct is None else vector._replace(valid=correct == "valid"))
    return tuple(found)


@cache
def key_sets() -> tuple[Vector, ...]:
    """All vectors about key sets."""
    return tuple(_vectors("json_web_key_test.json"))


def accepts(port: SignaturePort, vector: Vector, algorithms: frozenset[str] | None = None) -> bool:
    """Does the whole of stages 1 and 2 take the token, with the key's own algorithm alone allowed?"""
    allowed = frozenset((vector.algorithm,)) if algorithms is None else algorithms
    try:
        jws = split(vector.jws)
        keys = parse_key_set(json.dumps({"keys": vector.keys}).encode(), port, allowed)
    except (InvalidToken, InvalidKeySet):
        return False
    algorithm = str(jws.header["alg"])
    return any(algorithm in key.algorithms and key.check(algorithm, jws.signed, jws.signature) for key in keys)


def _vectors(name: str) -> list[Vector]:
    found = []
    for group in _read(name)["testGroups"]:
        published = group.get("public") or group["private"]
        keys = published.get("keys", [published])
        for test in group["tests"]:
            found.append(Vector(str(test["tcId"]), keys[0], keys, test["jws"], test["result"] == "valid"))  # noqa: PERF401
    return found


def _read(name: str) -> Any:
    return json.loads((VECTORS / "wycheproof" / name).read_text())
