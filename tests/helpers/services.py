"""The programs that the tests need besides Python: which are here, and how those that are missing get here.

`python tests/helpers/services.py` installs what is missing, says what it does, and is done at once when all is there:
packages of Debian or Ubuntu if it may (root, apt), npm packages by the lock file. What it cannot install it names.
With CI=true that is an error, otherwise the tests that need it are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGES: Mapping[str, str] = {
    "chromium": "chromium-headless-shell",
    "curl": "curl",
    "faketime": "faketime",
    "firefox": "firefox-esr",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "node": "nodejs",
    "npm": "npm",
    "redis": "redis-server",
    "webkit": "webkit2gtk-driver",
    "xvfb": "xvfb",
}
"""Service -> Debian package."""
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "redis": ("redis-server",),
    "chromium": ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
    "webkit": ("WebKitWebDriver",),
    "minibrowser": ("MiniBrowser",),
    "xvfb": ("Xvfb",),
}
"""Names of its program, best first, where it is not just the service's own."""
OIDC_PROVIDER = "oidc-provider"
SERVICES = (*PACKAGES, OIDC_PROVIDER)

NODE_FOLDER = Path(__file__).parents[1] / "e2e"
NODE_AT_LEAST = 20


def program(service: str) -> str | None:
    """Path of a service's program; CHROMIUM=path names a browser of one's own."""
    if service == "chromium" and os.environ.get("CHROMIUM"):
        return shutil.which(os.environ["CHROMIUM"])
    folders: tuple[str, ...] = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where nginx and haproxy are
    if service == "minibrowser":
        folders = tuple(map(str, Path("/usr/lib").glob("*/webkit2gtk-4.1")))
    path = ":".join((os.environ.get("PATH", os.defpath), *folders))
    return next(filter(None, (shutil.which(name, path=path) for name in PROGRAMS.get(service, (service,)))), None)


def missing(service: str) -> str:
    """Why a service cannot be used here; "" if it can."""
    if service not in SERVICES:
        raise ValueError(f"{service!r} is none of {', '.join(SERVICES)}")
    if service == OIDC_PROVIDER:
        return missing("node") or ("" if _npm_is_done() else "its npm packages are not installed")
    found = program(service)
    if found is None:
        return f"there is no {service} here"
    if service == "node":
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        if int(version.lstrip("v").partition(".")[0] or 0) < NODE_AT_LEAST:
            return f"node is {version}, the provider needs {NODE_AT_LEAST} or newer"
    return ""


def main() -> int:
    absent = [service for service in PACKAGES if program(service) is None]
    if absent:
        _apt(absent)
    if not missing("node") and not missing("npm") and not _npm_is_done():
        _npm()
    problems = {service: why for service in SERVICES if (why := missing(service))}
    for service, why in problems.items():
        _say(f"{service}: {why}; tests that need it {'fail' if must_be_here() else 'are skipped'}")
    return 1 if problems and must_be_here() else 0


def must_be_here() -> bool:
    """In CI nothing is skipped for want of a service."""
    return os.environ.get("CI") == "true"


def _apt(services: Iterable[str]) -> None:
    packages = [PACKAGES[service] for service in services]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _say(f"missing, and only root with apt can install it: {' '.join(packages)}")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-qq"], env=environment)
    for package in packages:  # one by one, so that one that this release does not have keeps no other away
        _run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", package], env=environment)


def _npm() -> None:
    if _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=NODE_FOLDER):
        shutil.copyfile(NODE_FOLDER / "package-lock.json", _stamp())


def _npm_is_done() -> bool:
    stamp = _stamp()
    return stamp.exists() and stamp.read_bytes() == (NODE_FOLDER / "package-lock.json").read_bytes()


def _stamp() -> Path:
    return NODE_FOLDER / "node_modules" / ".installed"


def _run(command: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> bool:
    _say(" ".join(command))
    return subprocess.run(command, env=env, cwd=cwd, stdout=subprocess.DEVNULL, check=False).returncode == 0


def _say(text: str) -> None:
    sys.stderr.write(f"services: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
