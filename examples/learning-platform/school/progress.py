"""Progress Tracking: how far somebody is, and the answers that they hand in.

Stagedoor never writes to its store; this service does, and Stagedoor's rules say who reads what it wrote.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .delivery import Delivery, Person, Refused

MAX_ANSWER_BYTES = 20_000
MAX_PROGRESS_BYTES = 1000
MAX_SECONDS = 24 * 3600
SCHEMA = """
CREATE TABLE IF NOT EXISTS progress (issuer TEXT, sub TEXT, lesson TEXT, seconds REAL, done INTEGER,
                       PRIMARY KEY (issuer, sub, lesson));
"""
WRITE = """
INSERT INTO progress VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET seconds = excluded.seconds,
done = max(done, excluded.done)
"""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")


class Position(NamedTuple):
    """Where somebody is in a lesson; `done` stays once it is true."""

    seconds: float
    done: bool


class Progress:
    """Progress in an SQLite file, answers as files in the store.

    Args:
        path: of the database.
        files: the store's folder.
        delivery: says who asks, and which lessons are theirs.
    """

    def __init__(self, path: Path, files: Path, delivery: Delivery) -> None:
        self._path, self._files, self._delivery = path, files, delivery
        # PUT, never POST: a page of another origin would have to ask for leave first, and gets none (CORS).
        self.routes = [
            Route("/api/progress", self._show),
            Route("/api/progress/{lesson}", self._set, methods=["PUT"]),
            Route("/api/answers/{lesson}", self._hand_in, methods=["PUT"]),
        ]

    def load(self) -> None:
        """Make the database, if there is none yet."""
        with closing(sqlite3.connect(self._path)) as db:
            db.executescript(SCHEMA)

    async def _show(self, request: Request) -> JSONResponse:
        person = await self._delivery.person(request)
        found = await run_in_threadpool(self._read, person)
        return JSONResponse({lesson: position._asdict() for lesson, position in found.items()})

    async def _set(self, request: Request) -> Response:
        person = await self._delivery.person(request)
        content = await self._delivery.content(request, request.path_params["lesson"])
        position = _position(await _body(request, MAX_PROGRESS_BYTES))
        await run_in_threadpool(self._write, person, content["id"], position)
        return Response(status_code=204)

    async def _hand_in(self, request: Request) -> JSONResponse:
        """Keep an answer: the last one counts."""
        person = await self._delivery.person(request)
        content = await self._delivery.content(request, request.path_params["lesson"])
        if "answer" not in content["attributes"]:
            raise Refused.because(404, "no-assignment", "this lesson takes no answers")
        answer = await _body(request, MAX_ANSWER_BYTES)
        if not answer.strip():
            raise Refused.because(400, "answer-empty", "write something before you hand it in")
        key = _key(person, content["id"])
        await run_in_threadpool(self._save, key, answer)
        await run_in_threadpool(self._write, person, content["id"], Position(0, True))
        return JSONResponse({"url": f"/{key}"}, 201)

    def _read(self, person: Person) -> dict[str, Position]:
        with closing(sqlite3.connect(self._path)) as db:
            query = "SELECT lesson, seconds, done FROM progress WHERE issuer = ? AND sub = ?"
            rows = db.execute(query, (person.issuer, person.sub))
            return {lesson: Position(seconds, bool(done)) for lesson, seconds, done in rows}

    def _write(self, person: Person, lesson: str, position: Position) -> None:
        with closing(sqlite3.connect(self._path)) as db, db:
            db.execute(WRITE, (person.issuer, person.sub, lesson, *position))

    def _save(self, key: str, answer: str) -> None:
        """Write the file beside the store and move it in, so that nobody ever reads half of it.

        With a bucket: `s3.put_object(Bucket=…, Key=key, Body=answer.encode(), ContentType="text/plain")`.
        """
        path = self._files / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._files.parent) as folder:
            written = Path(folder, path.name)
            written.write_text(answer, encoding="utf-8")
            written.replace(path)


def _key(person: Person, lesson: str) -> str:
    """The name of an answer, from the verified `sub` and an id of the catalogue; nothing of it is the client's choice.

    Raises:
        Refused: one of the two could be more than one name of a file.
    """
    if not (_NAME.match(person.sub) and _NAME.match(lesson)):
        raise Refused.because(403, "name", "there can be no file of this name; hash the sub: {sub|sha256}")
    return f"assignments/{person.sub}/{lesson}.txt"


async def _body(request: Request, limit: int) -> str:
    """The text that was sent.

    Raises:
        Refused: it is longer than that, or no text.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused.because(413, "too-long", f"send at most {limit} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Refused.because(400, "no-text", "send text in UTF-8") from None


def _position(body: str) -> Position:
    try:
        sent = json.loads(body)
        seconds, done = sent["seconds"], sent.get("done", False)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refused.because(400, "no-progress", 'send for example {"seconds": 12.5, "done": false}') from None
    if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_SECONDS or type(done) is not bool:
        raise Refused.because(400, "no-progress", f"seconds is a number up to {MAX_SECONDS}, done is true or false")
    return Position(seconds, done)
