"""A service that is missing is named, and how it is treated depends on where the tests run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers import servers, services

pytest_plugins = ("pytester",)


def test_every_service_has_a_package_or_a_lock_file() -> None:
    assert set(services.SERVICES) == {*services.PACKAGES, services.OIDC_PROVIDER}
    lock = (services.NODE_FOLDER / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity"' in lock
    assert '"resolved"' not in lock  # versions and hashes, without addresses


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert services.missing("nginx") == "there is no nginx here"
    assert services.missing("oidc-provider") == "there is no node here"
    with pytest.raises(ValueError, match="'ngnix' is none of"):
        services.missing("ngnix")


@pytest.mark.parametrize(("ci", "code", "what"), [("true", 1, "fail"), ("", 0, "are skipped")])
def test_only_in_ci_is_it_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, code: int, what: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)  # apt-get neither
    assert services.main() == code
    said = capsys.readouterr().err
    assert "missing, and only root with apt can install it: chromium-headless-shell curl faketime firefox-esr" in said
    assert f"haproxy: there is no haproxy here; tests that need it {what}" in said


@pytest.mark.parametrize(("ci", "outcome"), [("true", "errors"), ("", "skipped")])
def test_a_test_that_needs_it_is_skipped_or_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile('import pytest\n@pytest.mark.needs("chromium")\ndef test_it(): pass')
    result = pytester.runpytest("-rs", "-p", "no:asyncio")
    result.assert_outcomes(**{outcome: 1})
    assert "chromium: there is no chromium here" in result.stdout.str()


@pytest.mark.parametrize(("ci", "outcome"), [("true", "passed"), ("", "skipped")])
def test_what_is_thorough_runs_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile('import pytest\n@pytest.mark.thorough("half a minute")\ndef test_it(): pass')
    result = pytester.runpytest("-rs", "-p", "no:asyncio")
    result.assert_outcomes(**{outcome: 1})
    assert ("with CI=true alone: half a minute" in result.stdout.str()) is (outcome == "skipped")


def test_what_is_waited_for_may_come_after_the_machine_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pauses = [0.0], iter((0.1, 60.0, 0.1))

    def sleep(_seconds: float) -> None:
        clock[0] += next(pauses)

    monkeypatch.setattr(servers, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    assert servers.poll(lambda: clock[0] > 60.15, 5, "an answer")


def test_waiting_ends() -> None:
    with pytest.raises(AssertionError, match=r"an answer: not within 0\.02 s"):
        servers.poll(lambda: False, 0.02, "an answer", every=0.01)
