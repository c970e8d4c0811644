"""Course Catalog: which courses and lessons there are. Titles are for everybody in the school, contents are not."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .delivery import Delivery, Refused

SCHEMA = """
CREATE TABLE IF NOT EXISTS courses (id TEXT PRIMARY KEY, title TEXT, summary TEXT, cover TEXT);
CREATE TABLE IF NOT EXISTS lessons (
    id TEXT PRIMARY KEY, course TEXT REFERENCES courses, place INTEGER, title TEXT, kind TEXT, minutes INTEGER
);
"""
LIST = """
SELECT courses.*, json_group_array(lessons.id) AS lessons FROM courses JOIN lessons ON course = courses.id GROUP BY 1
"""


class Catalog:
    """Courses in an SQLite file. The id of a lesson is the id of its content."""

    def __init__(self, path: Path, delivery: Delivery) -> None:
        self._path, self._delivery = path, delivery
        self.routes = [
            Route("/api/courses", self._list),
            Route("/api/courses/{course}", self._show),
        ]

    def load(self, courses: Path) -> None:
        """Take the courses of a JSON file over, each in the place of the one that had its id."""
        with closing(sqlite3.connect(self._path)) as db, db:
            db.executescript(SCHEMA)
            for course in json.loads(courses.read_text(encoding="utf-8")):
                db.execute("REPLACE INTO courses VALUES (:id, :title, :summary, :cover)", course)
                for place, lesson in enumerate(course["lessons"]):
                    row = {**lesson, "course": course["id"], "place": place}
                    db.execute("REPLACE INTO lessons VALUES (:id, :course, :place, :title, :kind, :minutes)", row)

    async def _list(self, request: Request) -> JSONResponse:
        person = await self._delivery.person(request)
        courses = await run_in_threadpool(self._rows, LIST)
        for course in courses:  # only for the label; whether a lesson opens, the policy decides
            course["lessons"] = json.loads(course["lessons"])
            course["enrolled"] = not person.groups.isdisjoint((course["id"], "teachers"))
        return JSONResponse(courses)

    async def _show(self, request: Request) -> JSONResponse:
        await self._delivery.person(request)
        id_ = request.path_params["course"]
        found = await run_in_threadpool(self._rows, "SELECT * FROM courses WHERE id = ?", id_)
        if not found:
            raise Refused.because(404, "unknown-course", "there is no such course")
        wanted = "SELECT id, title, kind, minutes FROM lessons WHERE course = ? ORDER BY place"
        return JSONResponse({**found[0], "lessons": await run_in_threadpool(self._rows, wanted, id_)})

    def _rows(self, query: str, *values: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self._path)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, values)]
