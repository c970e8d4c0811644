"""What to do about a service that is missing: skip and say so; with CI=true fail, so that nothing goes untested unseen.

A test says what it needs with `@pytest.mark.needs("nginx", "curl")`; `services.py` knows the names. One that is marked
`@pytest.mark.thorough("why")` runs with CI=true alone, and so do three of four examples of Hypothesis.
"""

from __future__ import annotations

import os
from functools import cache

import pytest
from botocore.loaders import JSONFileLoader
from cryptography.hazmat.primitives import serialization
from hypothesis import settings

from stagedoor.outside import aws
from stagedoor.store.names import forget_reported
from tests.helpers import services, sign_in_matrix

_why_missing = cache(services.missing)

os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")  # Debian's, and the constructs run on it
collect_ignore_glob = ["test_cdk*.py"] if _why_missing("node") and not services.must_be_here() else []
"""Without node the CDK cannot even be imported."""

settings.register_profile("quick", max_examples=25, deadline=None)
if not services.must_be_here():
    settings.load_profile("quick")  # Hypothesis loads its own for CI, with 100 examples

serialization.load_pem_private_key = cache(serialization.load_pem_private_key)  # type: ignore[assignment]
"""It checks 15 ms long whether an RSA key is one, and tests read the same ones."""

JSONFileLoader.load_file = staticmethod(cache(JSONFileLoader().load_file))
"""Each new session of botocore's parses descriptions of services, and each test has a session of its own."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*services): programs besides Python that this test cannot do without")
    config.addinivalue_line("markers", "thorough(why): takes long and adds little; with CI=true alone")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("thorough"):
        if not services.must_be_here():
            pytest.skip(f"with CI=true alone: {mark.args[0]}")
    for mark in item.iter_markers("needs"):
        for service in mark.args:
            require(service)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what came of sign-in in each browser at each provider."""
    lines = sign_in_matrix.outcomes(terminalreporter.stats)
    if lines:
        terminalreporter.section("sign-in, tried")
    for line in lines:
        terminalreporter.write_line(line)


def require(service: str) -> None:
    """Skip the running test if a service is missing; fail it where none may be."""
    why = _why_missing(service)
    if not why:
        return
    if services.must_be_here():
        pytest.fail(f"{service}: {why} (CI=true: nothing is skipped for want of a service)", pytrace=False)
    pytest.skip(f"{service}: {why}; install it with: python tests/helpers/services.py")


@pytest.fixture(autouse=True)
def _a_log_that_has_said_nothing() -> None:
    """What listings leave out is said once by a process; each test is to hear it."""
    forget_reported()


@pytest.fixture(autouse=True)
def _a_new_aws_session() -> None:
    """A process keeps the credentials that it found first; each test has its own."""
    aws.forget_session()
