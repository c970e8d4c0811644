"""Programs that the end-to-end tests start, each in a process of its own on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

from tests.helpers import linting

T = TypeVar("T")

HOST = "127.0.0.1"
SOURCE = Path(__file__).parents[2] / "src"
GATEWAY = "import sys; from stagedoor.cli import main; sys.exit(main())"


def free_port() -> int:
    """A port that nobody takes before its server does, and that was not handed out before.

    It lies below those that systems hand out to clients, and each worker of pytest-xdist has a thousand of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + worker % 10 * 1000
    while True:
        port = random.randint(first, first + 999)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _handed_out.add(port)
        return port


_handed_out: set[int] = set()


def poll(question: Callable[[], T | None], seconds: float, what: str, every: float = 0.1) -> T:
    """Ask until the answer is true, and return it.

    Raises:
        AssertionError: it was not within so many seconds; the message says what was waited for.
    """
    waited = 0.0
    while True:
        begun = time.monotonic()
        if answer := question():
            return answer
        assert waited < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(every)
        waited += min(time.monotonic() - begun, LONGEST_ROUND)


LONGEST_ROUND = 2.0
"""Seconds: what is longer is mostly a machine that stood still, and so did everything that is waited for."""


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables for a program that is to know nothing of the person, or the proxies and credentials, around it."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(SOURCE), **more}


class Server:
    """A program that runs until `stop`; standard output and error go to files of their own.

    Args:
        command: what to run.
        folder: where it runs and its output goes.
        env: its environment.
        name: of the files.
    """

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str], name: str) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8", errors="replace")

    def until(self, ready: Callable[[], bool], seconds: float = 40.0) -> None:
        """Wait until it is ready; fail at once if it ends before."""

        def ready_or_gone() -> bool:
            assert self._process.poll() is None, f"it ended with {self._process.returncode}:\n{self.out}{self.err}"
            return ready()

        try:
            poll(ready_or_gone, seconds, "a server that is ready", every=0.05)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.out}{self.err}") from None

    def kill(self) -> None:
        """End it at once, as when the power fails."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end, and see to it."""
        self._process.terminate()
        try:
            return self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(timeout=15)


class Gateway(Server):
    """A real `stagedoor serve`.

    Args:
        folder: gets the settings file; paths in the settings are relative to it.
        settings: text of stagedoor.toml, where `$SITE` stands for the site's own origin.
        env: further environment variables.
        port: where it listens; default: a free one.
    """

    def __init__(
        self, folder: Path, settings: str, *, env: Mapping[str, str] | None = None, port: int | None = None
    ) -> None:
        port = port or free_port()
        self.url, name = f"http://{HOST}:{port}", f"gateway-{port}"
        file = folder / f"{name}.toml"
        file.write_text(settings.replace("$SITE", self.url), encoding="utf-8")
        command = [sys.executable, "-c", GATEWAY, "serve", "--settings", str(file), "--listen", f"{HOST}:{port}"]
        super().__init__(command, folder, environment(folder, **(env or {})), name)
        self.until(lambda: "listening on" in self.err)

    def reload(self) -> None:
        """Let it read its settings again."""
        self._process.send_signal(signal.SIGHUP)

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """One GET on a connection of its own."""
        return linting.check(httpx.get(self.url + target, headers=headers, trust_env=False, timeout=30))

    def bearer(self, target: str, token: str) -> httpx.Response:
        return self.get(target, {"authorization": f"Bearer {token}"})
