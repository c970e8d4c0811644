"""AWS Lambda on this machine: the Runtime API, and AWS's own Python client of it in a process with limits.

The zip is unpacked and run as Lambda runs it: `awslambdaric` imports the handler, asks for events, posts answers.
Control groups limit memory and processor where this machine permits it, and otherwise `ulimit` limits the address
space alone; `Function.limits` says which.

Source: Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes".
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import queue
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

MEMORY_MB = 128
CPU_SHARE = 0.072
"""Share of one processor for 128 MB; 1,769 MB get a whole one (Lambda Developer Guide, "Configure memory")."""
INIT_SECONDS, SECONDS = 10.0, 5.0
ADDRESS_SPACE_MB = 384
"""More than the memory, because most of the address space is never used (stacks of threads, libraries)."""

_GROUPS = Path("/sys/fs/cgroup")
_PERIOD = 100_000  # microseconds; the kernel's default


class FunctionFailed(Exception):
    """It did not start, ended, raised or took too long; the message holds its log."""


class Answer(NamedTuple):
    """The answer to one event, and the seconds that it took."""

    value: Any
    seconds: float


class Function:
    """One execution environment.

    Args:
        content: the zip.
        handler: as Lambda's setting names it.
        python: interpreter that has `awslambdaric`.
        client: command of another client of the Runtime API; the handler is its last argument.
        cpu: share of one processor; None: one whole processor.
        init_cpu: the same, while it starts.
    """

    def __init__(
        self,
        content: bytes,
        handler: str,
        *,
        python: str = sys.executable,
        client: Sequence[str] = (),
        cpu: float | None = None,
        init_cpu: float | None = None,
    ) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="task-"))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(self._root)
        for path in (self._root, *self._root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        self._before = _fingerprint(self._root)
        self._groups = _Groups(MEMORY_MB)
        self._api = _RuntimeApi()
        self.limits = self._groups.limits
        self._groups.set_cpu(init_cpu)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            ["sh", "-c", self._groups.enter + 'exec "$@"', "sh", *(client or (python, "-m", "awslambdaric")), handler],
            env=_environment(self._root, self._api.address),
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        os.sched_setaffinity(self._process.pid, {max(os.sched_getaffinity(0))})
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        self.init_seconds = time.perf_counter() - begun
        self._groups.set_cpu(cpu)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: object, within: float = SECONDS) -> Answer:
        """Handle one event.

        Raises:
            FunctionFailed: as Lambda would say in its log; CloudFront answers 502 or 503.
        """
        begun = time.perf_counter()
        waiting = self._api.put(event, within)
        while True:
            with contextlib.suppress(queue.Empty):
                kind, body = waiting.get(timeout=min(0.2, within))
                break
            if self._process.poll() is not None:
                raise FunctionFailed(f"Runtime.ExitError {self._process.returncode}: {self.log}")
            if time.perf_counter() - begun > within:
                self._process.kill()
                raise FunctionFailed(f"Task timed out after {within:.2f} seconds: {self.log}")
        if kind != "response":
            raise FunctionFailed(f"{body.decode()}: {self.log}")
        return Answer(json.loads(body), time.perf_counter() - begun)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return os.pread(self._log.fileno(), 1_000_000, 0).decode("utf-8", "replace")

    @property
    def peak_mb(self) -> float:
        """The peak of its resident memory."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise FunctionFailed("it has ended")

    @property
    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, in all threads that are still running."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def close(self) -> None:
        """Stop it, and check that it wrote nothing into its read-only folder."""
        self._process.kill()
        self._process.wait()
        self._api.close()
        self._log.close()
        self._groups.close()
        after = _fingerprint(self._root)
        for path in (self._root, *self._root.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(self._root)
        assert after == self._before, "the function wrote into its own folder"

    def _wait_until_ready(self) -> None:
        ends = time.monotonic() + INIT_SECONDS
        while not self._api.ready.wait(0.02):
            if self._process.poll() is not None or self._api.init_error or time.monotonic() > ends:
                break
        if self._api.init_error or not self._api.ready.is_set():
            raise FunctionFailed(f"Runtime.InitError {self._api.init_error.decode()}: {self.log}")


def _environment(root: Path, address: str) -> dict[str, str]:
    """The environment of a function at the edge: no credentials, nothing of this machine."""
    return {
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "us-east-1.edge",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/us-east-1.edge",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "AWS_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": str(root),
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(root),
        "TZ": ":UTC",
    }


def _fingerprint(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        found.update(str(path).encode() + b"\0" + (b"" if path.is_dir() else path.read_bytes()) + b"\0")
    return found.hexdigest()


# --- the Runtime API


class _RuntimeApi(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: queue.Queue[tuple[str, bytes, float] | None] = queue.Queue()
        self.answers: dict[str, queue.Queue[tuple[str, bytes]]] = {}
        self.ready, self.init_error = threading.Event(), b""
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def put(self, event: object, within: float) -> queue.Queue[tuple[str, bytes]]:
        name = str(uuid.uuid4())
        waiting = self.answers[name] = queue.Queue()
        self.events.put((name, json.dumps(event).encode(), time.time() + within))
        return waiting

    def close(self) -> None:
        self.events.put(None)
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    """As much HTTP/1.1 as the clients speak, because a general server would take longer than the function."""

    server: _RuntimeApi
    wbufsize = -1
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the process was stopped
            while line := self.rfile.readline():
                method, path, _ = line.decode().split(" ")
                fields = dict(self._fields())
                if method == "POST":
                    self._take(path, self._body(fields))
                elif not self._hand_out():
                    return

    def _fields(self) -> Iterator[tuple[str, str]]:
        while (line := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _hand_out(self) -> bool:
        """Answer with the next event; return False after the last one."""
        self.server.ready.set()
        waiting = self.server.events.get()
        if waiting is None:
            return False
        name, body, ends = waiting
        fields = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": name,
            "Lambda-Runtime-Deadline-Ms": int(ends * 1000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:us-east-1.edge:1",
        }
        self._answer("200 OK", fields, body)
        return True

    def _take(self, path: str, body: bytes) -> None:
        what, *rest = path.split("/runtime/", 1)[1].split("/")
        if what == "init":
            self.server.init_error = body or b"?"
        else:
            self.server.answers.pop(rest[0]).put((rest[1], body))
        self._answer("202 Accepted", {}, b"")

    def _answer(self, status: str, fields: Mapping[str, object], body: bytes) -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        self.wfile.write(head.encode() + body)
        self.wfile.flush()

    def _body(self, fields: Mapping[str, str]) -> bytes:
        if "content-length" in fields:
            return self.rfile.read(int(fields["content-length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


# --- limits


class _Groups:
    """Control groups of one process, version 1 or 2, as far as this machine permits them."""

    def __init__(self, memory_mb: int) -> None:
        self._made: list[Path] = []
        limit = str(memory_mb * 1_048_576)
        memory = self._make("memory", "memory.limit_in_bytes", limit) or self._make("", "memory.max", limit)
        self._cpu = self._make("cpu", "cpu.cfs_period_us", str(_PERIOD))
        if memory is not None and (memory / "cpu.max").exists():
            self._cpu = memory
        self.enter = "".join(f"echo $$ > {group / 'cgroup.procs'} && " for group in dict.fromkeys(self._made))
        if memory is None:
            self.enter += f"ulimit -v {ADDRESS_SPACE_MB * 1024} && "
        self.limits = {
            "memory": f"{memory_mb} MB" if memory else f"{ADDRESS_SPACE_MB} MB of addresses: no control group here",
            "cpu": "share" if self._cpu else "none: no control group here",
        }

    def set_cpu(self, share: float | None) -> None:
        """Limit it to this share of one processor."""
        if self._cpu is None:
            return
        quota = None if share is None else max(1000, int(share * _PERIOD))
        if (self._cpu / "cpu.max").exists():
            (self._cpu / "cpu.max").write_text(f"{quota or 'max'} {_PERIOD}")
        else:
            (self._cpu / "cpu.cfs_quota_us").write_text(str(quota or -1))

    def _make(self, controller: str, file: str, value: str) -> Path | None:
        group = _GROUPS / controller / f"stagedoor-{uuid.uuid4().hex[:12]}"
        if not group.parent.is_dir():
            return None
        try:
            group.mkdir()
        except OSError:
            return None
        try:
            (group / file).write_text(value)
        except OSError:
            group.rmdir()
            return None
        self._made.append(group)
        return group

    def close(self) -> None:
        for group in self._made:
            ends = time.monotonic() + 5
            while True:
                try:
                    group.rmdir()
                    break
                except OSError:  # the kernel has not removed the killed process yet
                    if time.monotonic() > ends:
                        raise
                    time.sleep(0.02)
