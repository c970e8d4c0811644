"""examples/learning-platform, played as its people would: two students, their teacher, a guest, somebody with curl.

LEARNING_PLATFORM_PICTURES=docs/images makes the pictures of its pages.
"""

from __future__ import annotations

import http.client
import importlib
import itertools
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Response, expect, sync_playwright

from stagedoor.demo.provider import PEOPLE
from tests.helpers import services
from tests.helpers.servers import Server, environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "learning-platform"
FILM, PLOUGH = "/courses/night-sky/film.mp4", "/courses/night-sky/plough.png"
NAMES = {person.sub: person.name for person in PEOPLE}
MEGABYTES = 32
STUDENT, BOTH_COURSES, TEACHER, GUEST = "ann", "ben", "tess", "gil"

in_a_browser = [
    pytest.mark.needs("chromium"),
    # Playwright's own event loop and pipes are collected late.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

# What is not there for everybody: pictures without a text, controls without a name, text that is hard to read.
UNUSABLE = """() => {
  const found = [];
  const name = node => node.getAttribute('aria-label') || node.labels?.[0]?.textContent || node.textContent.trim();
  for (const node of document.querySelectorAll('img:not([alt])')) found.push(`no alt: ${node.src}`);
  for (const node of document.querySelectorAll('a, button, input, textarea, video, progress'))
    if (!name(node)) found.push(`no name: ${node.outerHTML}`);
  const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  if (new Set(ids).size < ids.length) found.push(`an id twice: ${ids}`);
  if (document.querySelectorAll('h1').length !== 1) found.push('not one h1');
  if (document.documentElement.scrollWidth > innerWidth) found.push('wider than the screen');
  const light = colour => {
    const [r, g, b] = colour.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  for (const node of document.querySelectorAll('main *, header *')) {
    const text = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    if (!text || !node.checkVisibility()) continue;
    let under = node;
    while (under && (numbers(getComputedStyle(under).backgroundColor)[3] ?? 1) < 1) under = under.parentElement;
    const pair = [getComputedStyle(node).color, getComputedStyle(under ?? document.body).backgroundColor];
    const [low, high] = pair.map(colour => light(numbers(colour).slice(0, 3))).sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) found.push(`hard to read: ${node.textContent} ${pair}`);
  }
  return found;
}"""


class School:
    """The example in a process of its own, started as its reader starts it."""

    def __init__(self, folder: Path) -> None:
        self.server = Server([str(EXAMPLE / "run")], folder, environment(folder, TMPDIR=str(folder)), "school")
        self.server.until(lambda: "Ctrl-C" in self.server.out, 120)
        settings = re.search(r"settings +(\S+)/stagedoor.toml", self.server.out)
        url = re.search(r"http://\S+(?=/\n)", self.server.out)
        assert settings is not None
        assert url is not None
        self.folder, self.url = Path(settings[1]), url[0]

    def token(self, person: str) -> str:
        return (self.folder / f"{person}.token").read_text()

    def client(self, person: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token(person)}"} if person else {}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False)

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return f"stagedoor-{urlsplit(self.url).port}"

    def session(self, person: str) -> str:
        """The cookie of somebody who has signed in."""
        with self.client(person) as client:
            return client.post("/-/session").cookies[self.cookie]

    def ask(self, method: str, target: str, person: str | None = None, body: bytes = b"") -> tuple[int, bytes]:
        """Ask for exactly this target; clients tidy up what an attacker would not."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        headers = {"authorization": f"Bearer {self.token(person)}"} if person else {}
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    school = School(tmp_path_factory.mktemp("school"))
    yield school
    assert (school.server.stop(), school.server.err, school.folder.exists()) == (0, "", False)


# --- one command


def test_one_command_starts_all_of_it_and_nothing_is_left_behind(tmp_path: Path) -> None:
    started = subprocess.Popen(
        [EXAMPLE / "run"], env=environment(tmp_path, TMPDIR=str(tmp_path)), stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    with started:
        last = "Ctrl-C ends it and removes everything\n"
        said = "".join(itertools.takewhile(lambda line: line != last, started.stdout))
        url = re.search(r"http://\S+(?=/\n)", said)
        assert url is not None
        page = httpx.get(url[0], trust_env=False)
        assert "Lantern School" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        started.send_signal(signal.SIGINT)  # Ctrl-C
        assert started.wait(15) == 0
    assert list(tmp_path.glob("learning-platform-*")) == []


@pytest.mark.needs("curl")
def test_what_it_says_to_try_is_true(school: School) -> None:
    lines = [line.strip() for line in school.server.out.splitlines()]
    variables = "\n".join(line for line in lines if re.match(r"[A-Z]+=", line))
    commands = [found.groups() for line in lines if (found := re.match(r"(curl .*)  # (\d+): ", line))]
    assert len(commands) >= 6
    for command, status in commands:
        script = f"{variables}\n{command} -s -w '%{{http_code}}'"
        got = subprocess.run(["sh", "-c", script], capture_output=True, check=True, timeout=20)
        assert got.stdout[-3:].decode() == status, command


def test_it_runs_on_what_the_tests_run_on() -> None:
    ours = (EXAMPLE / "requirements.txt").read_text().splitlines()[1:]
    assert set(ours) <= set((EXAMPLE.parents[1] / "requirements/test.txt").read_text().splitlines())


# --- the services


def test_nobody_gets_anything_without_a_token_that_counts(school: School) -> None:
    header, payload, _ = school.token(TEACHER).split(".")
    for headers in ({}, {"authorization": f"Bearer {header}.{payload}.AAAA"}, {"cookie": f"{school.cookie}=a.b.c"}):
        with school.client() as nobody:
            for method, path in (
                ("GET", "/api/courses"),
                ("GET", "/api/courses/night-sky"),
                ("GET", "/api/progress"),
                ("PUT", "/api/progress/night-sky-film"),
                ("PUT", "/api/answers/night-sky-log"),
                ("GET", "/-/contents/night-sky-film"),
                ("GET", FILM),
                ("GET", "/api/of-nobody"),
            ):
                answer = nobody.request(method, path, headers=headers, content="x")
                assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), path
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.json()["detail"]


def test_who_is_signed_in_with_one_request_is_nobody_with_the_next(school: School) -> None:
    """The services ask on behalf of everybody: what one brings must not stay for another."""
    with school.client(TEACHER) as tess:
        assert tess.post("/-/session").status_code == 204
        del tess.headers["authorization"]
        with school.client() as nobody:
            for _ in range(3):
                assert tess.get("/api/progress").status_code == 200
                assert nobody.get("/api/progress").status_code == 401


def test_content_delivery_names_an_address_of_the_site_to_those_in_the_course_alone(school: School) -> None:
    expected = {STUDENT: (200, 403), BOTH_COURSES: (200, 200), TEACHER: (200, 200), GUEST: (403, 403)}
    for person, statuses in expected.items():
        with school.client(person) as client:
            answers = [client.get(f"/-/contents/{course}-film") for course in ("night-sky", "tides")]
            assert tuple(answer.status_code for answer in answers) == statuses, person
            for answer in answers:
                if answer.status_code == 200:
                    url = answer.json()["url"]
                    assert url.startswith(f"{school.url}/courses/")
                    assert client.head(url).status_code == 200
            assert client.head(FILM).status_code == statuses[0]
            assert client.get("/-/contents/none").status_code == 404


def test_progress_is_ones_own_and_only_for_lessons_that_one_may_open(school: School) -> None:
    with school.client(STUDENT) as ann, school.client(TEACHER) as tess:

        def put(lesson: str, body: str) -> tuple[int, str]:
            answer = ann.put(f"/api/progress/{lesson}", content=body)
            return answer.status_code, "" if answer.status_code == 204 else answer.json()["code"]

        assert put("night-sky-handout", '{"seconds": 1.5, "done": true}') == (204, "")
        assert put("night-sky-handout", '{"seconds": 2}') == (204, "")
        assert ann.get("/api/progress").json()["night-sky-handout"] == {"seconds": 2.0, "done": True}
        assert "night-sky-handout" not in tess.get("/api/progress").json()
        assert put("tides-film", '{"seconds": 1}') == (403, "denied")
        assert put("none", '{"seconds": 1}') == (404, "unknown-content")
        for body in ("", "[]", "{}", '{"seconds": -1}', '{"seconds": NaN}', '{"seconds": "1"}', '{"seconds": true}'):
            assert put("night-sky-handout", body) == (400, "no-progress"), body
        assert put("night-sky-handout", " " * 2000) == (413, "too-long")


def test_an_answer_is_for_its_author_and_the_teachers(school: School) -> None:
    with school.client(BOTH_COURSES) as ben, school.client(STUDENT) as ann, school.client(TEACHER) as tess:
        assert ben.put("/api/answers/tides-table", content="first").status_code == 201
        handed_in = ben.put("/api/answers/tides-table", content="Fifty minutes later each day: ½ of the Moon's way. ✓")
        url = handed_in.json()["url"]
        assert url == "/assignments/ben/tides-table.txt"
        for client in (ben, tess):
            assert client.get(url).text == "Fifty minutes later each day: ½ of the Moon's way. ✓"
        assert ann.get(url).status_code == 403
        with school.client() as nobody:
            assert nobody.get(url).status_code == 401

        def listed(client: httpx.Client) -> list[str]:
            return [one["Key"] for one in client.get("/-/s3objects?prefix=assignments/ben/").json()["Contents"]]

        assert listed(tess) == listed(ben) == [url[1:]]
        assert listed(ann) == []


def test_what_cannot_be_an_answer_is_refused_and_nothing_is_written(school: School) -> None:
    before = sorted(school.folder.rglob("*"))
    for lesson, body, status in (
        ("night-sky-log", b"", 400),
        ("night-sky-log", b" \n", 400),
        ("night-sky-log", b"\xff\xfe", 400),
        ("night-sky-log", b"x" * 20_001, 413),
        ("night-sky-film", b"x", 404),  # takes no answers
        ("tides-table", b"x", 403),  # not her course
        ("none", b"x", 404),
        ("..%2F..%2Fnight-sky-log", b"x", 405),  # more than one segment: an object, and those nobody writes
        ("../night-sky-log", b"x", 405),
        ("%2E%2E", b"x", 404),
        ("%2E", b"x", 404),
        ("night-sky-log%00", b"x", 400),
    ):
        assert school.ask("PUT", f"/api/answers/{lesson}", STUDENT, body)[0] == status, lesson
    assert sorted(school.folder.rglob("*")) == before


@pytest.mark.parametrize("sub", ["", ".", "..", "../tess", "a/b", "a\\b", "a\0", "auth0|1", "é", "x" * 101, "ann\n"])
def test_a_sub_that_is_no_file_name_names_no_file(monkeypatch: pytest.MonkeyPatch, sub: str) -> None:
    progress, delivery = module(monkeypatch, "progress"), module(monkeypatch, "delivery")
    name = progress._key(delivery.Person("school", "ann", frozenset()), "night-sky-log")
    assert name == "assignments/ann/night-sky-log.txt"
    with pytest.raises(delivery.Refused):
        progress._key(delivery.Person("school", sub, frozenset()), "night-sky-log")


def test_what_somebody_has_done_outlives_a_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    progress, delivery = module(monkeypatch, "progress"), module(monkeypatch, "delivery")
    ann, done = delivery.Person("school", "ann", frozenset()), progress.Position(3.5, True)
    for _ in range(2):
        catalog = module(monkeypatch, "catalog").Catalog(tmp_path / "courses.db", None)
        catalog.load(EXAMPLE / "courses.json")
        assert [row["n"] for row in catalog._rows("SELECT count(*) AS n FROM lessons")] == [8]
        service = progress.Progress(tmp_path / "progress.db", tmp_path, None)
        service.load()
        service._write(ann, "night-sky-film", done)
    assert service._read(ann) == {"night-sky-film": done}


def module(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return importlib.import_module(f"school.{name}")


def test_a_page_of_another_origin_gets_no_leave_to_change_anything(school: School) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-headers": "content-type"}
    with school.client() as browser:
        for method, path in (
            ("PUT", "/api/progress/night-sky-film"),
            ("PUT", "/api/answers/night-sky-log"),
            ("DELETE", "/api/session"),
        ):
            answer = browser.options(path, headers={**asked, "access-control-request-method": method})
            assert [name for name in answer.headers if name.startswith("access-control-allow")] == [], path


def test_nothing_but_stagedoor_serves_the_files(school: School) -> None:
    film = (school.folder / f"files{FILM}").read_bytes()
    assert school.ask("GET", FILM, STUDENT) == (200, film)
    for target in (
        f"/files{FILM}",
        f"/web/files{FILM}",
        f"/web/..{FILM}",
        f"/web/../files{FILM}",
        f"/web/%2e%2e/files{FILM}",
        f"/web/..%2ffiles{FILM}",
        f"/web//{school.folder}/files{FILM}",
        "/courses.json",
        "/courses.db",
        "/progress.db",
        "/contents.db",
        "/contents.csv",
        "/stagedoor.toml",
        "/web/../stagedoor.toml",
        "/ann.token",
        "/..%2fann.token",
        "/%2e%2e/ann.token",
    ):
        for person in (None, STUDENT):
            assert school.ask("GET", target, person)[0] in (400, 401, 403, 404), target
    assert school.ask("GET", FILM)[0] == 401


# --- in the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)  # on a busy machine
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=services.program("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit(NamedTuple):
    """Somebody at a browser of their own."""

    page: Page
    context: BrowserContext
    school: School

    def open(self, path: str = "/") -> None:
        self.page.goto(
            "about:blank"
        )  # else only what follows the # would change, and nothing would tell when it is done
        self.page.goto(f"{self.school.url}{path}")
        self.page.wait_for_selector("body[data-ready]")

    def be(self, person: str | None) -> None:
        """Open the page as somebody who has signed in before."""
        if person:
            cookie = {"name": self.school.cookie, "value": self.school.session(person), "url": self.school.url}
            self.context.add_cookies([cookie])  # type: ignore[list-item]
            self.page.goto(f"{self.school.url}/web/icon.svg")
            self.page.evaluate("name => localStorage.setItem('name', name)", json.dumps([person, NAMES[person]]))
        self.open()

    def sign_in(self, person: str) -> None:
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.click(f"button[value={person}]")
        self.page.wait_for_selector(".face")

    @contextmanager
    def another_view(self) -> Iterator[None]:
        """Do what leads to another view, and wait until that is there."""
        before = self.page.locator("h1").element_handle()
        yield
        self.page.wait_for_function("node => !node.isConnected", arg=before)
        self.page.wait_for_selector("#view[aria-busy=false]")

    def lesson(self, name: str) -> None:
        with self.another_view():
            self.page.get_by_role("navigation").get_by_role("link", name=name).click()

    def film(self) -> Locator:
        self.page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
        return self.page.locator("video")

    def settle(self) -> None:
        """Wait until all of the lesson is there."""
        self.page.wait_for_selector("#view[aria-busy=false]")
        self.page.wait_for_function("() => [...document.images].every(image => image.complete)")
        if self.page.locator("video").count():
            self.film()

    def picture(self, name: str) -> None:
        folder = os.environ.get("LEARNING_PLATFORM_PICTURES")
        if folder:
            self.settle()
            self.page.screenshot(path=Path(folder) / f"learning-platform-{name}.png")


Visitor = Callable[..., Visit]


@pytest.fixture
def visitor(browser: Browser, school: School) -> Iterator[Visitor]:
    """Makes visits; at the end no script had failed, and no policy had been broken."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def make(person: str | None = None, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 760}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        visit = Visit(page, context, school)
        visit.be(person)
        return visit

    yield make
    for context in contexts:
        context.close()
    # Browsers note by themselves every answer that is no success.
    assert [fault for fault in faults if not re.search(r"status of (4..|503)", fault)] == []


def ranges(page: Page) -> list[tuple[int, int]]:
    """Status and first byte of each part of a film that comes from now on."""
    found: list[tuple[int, int]] = []

    def note(answer: Response) -> None:
        if answer.url.endswith("film.mp4"):
            extent = answer.headers.get("content-range", "bytes 0-").removeprefix("bytes ")
            found.append((answer.status, int(extent.partition("-")[0])))

    page.on("response", note)
    return found


def longer(film: bytes) -> bytes:
    """The film with megabytes of nothing in its middle (ISO 14496-12 §8.7.5), so that no browser fetches all of it."""
    extra = MEGABYTES << 20
    tables = [found.end() for found in re.finditer(b"stco\0\0\0\0", film)]
    places = [at + 4 * n for at in tables for n in range(1, int.from_bytes(film[at : at + 4]) + 1)]
    chunks = {place: int.from_bytes(film[place : place + 4]) for place in places}
    middle = min(start for start in chunks.values() if start > len(film) // 2)
    data = film.index(b"mdat") - 4
    made = bytearray(film)
    made[data : data + 4] = (int.from_bytes(film[data : data + 4]) + extra).to_bytes(4)
    for place, start in chunks.items():
        if start >= middle:
            made[place : place + 4] = (start + extra).to_bytes(4)
    return bytes(made[:middle]) + bytes(extra) + bytes(made[middle:])


class TestInTheBrowser:
    pytestmark = in_a_browser

    def test_a_film_plays_can_be_wound_forward_and_goes_on_at_the_next_visit(self, visitor: Visitor) -> None:
        ann = visitor(STUDENT)
        ann.picture("courses")
        file = ann.school.folder / f"files{FILM}"
        file.write_bytes(longer(file.read_bytes()))
        parts = ranges(ann.page)
        ann.open("/#/night-sky/night-sky-film")
        film = ann.film()
        assert film.evaluate("node => [node.videoWidth, node.duration]") == [640, 40]
        film.evaluate("node => { node.muted = true; return node.play() }")
        ann.page.wait_for_function("node => node.currentTime > 0.4", arg=film.element_handle())
        with ann.page.expect_request(lambda request: request.method == "PUT") as saved:
            film.evaluate("""node => new Promise(done => {
                node.onseeked = () => { node.pause(); done() };
                node.currentTime = 31;
            })""")
        answer = saved.value.response()
        assert answer is not None
        assert answer.status == 204
        assert {status for status, _ in parts} == {206}
        assert max(start for _, start in parts) > MEGABYTES << 20, parts  # what lies before was not fetched
        ann.picture("film")

        again = visitor(STUDENT)
        again.open("/#/night-sky/night-sky-film")
        expect(again.page.locator(".lesson")).to_contain_text("Goes on at 0:31, where you left off.")
        film = again.film()
        assert film.evaluate("node => node.currentTime") == pytest.approx(31, abs=0.5)
        film.evaluate("node => { node.muted = true; node.currentTime = 39.5; return node.play() }")
        expect(again.page.get_by_role("navigation")).to_contain_text("Film, 1 min, done")

        ben = visitor(BOTH_COURSES)
        ben.open("/#/night-sky/night-sky-film")
        assert ben.film().evaluate("node => node.currentTime") == 0

    def test_a_picture_is_seen_and_a_paper_is_read(self, visitor: Visitor) -> None:
        ann = visitor(STUDENT)
        ann.open("/#/night-sky/night-sky-plough")
        image = ann.page.locator(".lesson img")
        ann.page.wait_for_function("node => node.complete && node.naturalWidth === 800", arg=image.element_handle())
        assert "Seven bright stars" in (image.get_attribute("alt") or "")
        expect(ann.page.get_by_role("navigation")).to_contain_text("Picture, 2 min, done")
        ann.lesson("Before you go outside")
        expect(ann.page.get_by_role("heading", name="Find north")).to_be_visible()
        expect(ann.page.locator(".prose li")).to_have_count(3)
        ann.page.get_by_role("link", name="All courses").click()
        expect(ann.page.get_by_role("progressbar", name="Done of The Night Sky")).to_be_visible()

    def test_an_answer_is_handed_in_and_seen_again_by_its_author_and_the_teacher(self, visitor: Visitor) -> None:
        words = "It turned westward, a <b>hand's width</b> in an hour."
        ann = visitor(STUDENT)
        ann.open("/#/night-sky/night-sky-log")
        ann.page.get_by_label("Your answer").fill(words)
        ann.page.get_by_role("button", name="Hand in").click()
        expect(ann.page.locator(".answers pre")).to_have_text(words)
        expect(ann.page.get_by_role("status")).to_have_text("Your answer was handed in.")
        ann.picture("answer")
        ann.page.reload()
        expect(ann.page.locator(".answers")).to_contain_text("You")
        expect(ann.page.locator(".answers pre")).to_have_text(words)

        tess = visitor(TEACHER)
        tess.open("/#/night-sky/night-sky-log")
        expect(tess.page.locator(".answers li", has_text="ann").locator("pre")).to_have_text(words)

        ben = visitor(BOTH_COURSES)
        ben.open("/#/night-sky/night-sky-log")
        expect(ben.page.get_by_label("Your answer")).to_be_visible()
        ben.settle()
        assert words not in ben.page.content()
        assert ben.page.goto(f"{ben.school.url}/assignments/ann/night-sky-log.txt").status == 403  # type: ignore[union-attr]

    def test_an_answer_that_is_too_long_says_so_and_stays_in_the_form(self, visitor: Visitor) -> None:
        ann = visitor(STUDENT)
        ann.open("/#/night-sky/night-sky-log")
        ann.page.get_by_label("Your answer").evaluate("node => { node.value = '✓'.repeat(20000) }")
        ann.page.get_by_role("button", name="Hand in").click()
        expect(ann.page.locator(".trouble")).to_have_text("It was not handed in: send at most 20000 bytes.")
        assert len(ann.page.get_by_label("Your answer").input_value()) == 20_000

    @pytest.mark.parametrize("person", [STUDENT, GUEST])
    def test_who_is_not_in_the_course_is_told_so_and_what_to_do(self, visitor: Visitor, person: str) -> None:
        visit = visitor(person)
        page = visit.page
        expect(page.locator("li", has_text="Tides")).to_contain_text("You are not enrolled")
        page.get_by_role("link", name="Tides").click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text(f"You are signed in as {NAMES[person]}, and you are not enrolled in Tides")
        expect(alert).to_contain_text("Ask your teacher to enrol you")
        denied = f"403, you are signed in as {person} (school), and no rule of this site lets you read this"
        expect(alert).to_contain_text(denied)
        assert page.locator("video").count() == 0
        if person == STUDENT:
            visit.picture("refused")
        alert.get_by_role("button", name="Sign in as somebody else").click()
        page.click(f"button[value={BOTH_COURSES}]")
        assert visit.film().count() == 1  # back at the same lesson

    def test_a_film_that_does_not_come_is_no_blank_player_without_a_word(self, visitor: Visitor) -> None:
        ann = visitor(STUDENT)
        ann.page.route(f"**{FILM}", lambda route: route.fulfill(status=503, body=""))
        ann.open("/#/night-sky/night-sky-film")
        expect(ann.page.get_by_role("status")).to_have_text(
            "The film could not be loaded. Please try again in a moment."
        )

    def test_a_copied_link_opens_for_nobody_else(self, visitor: Visitor) -> None:
        ben = visitor(BOTH_COURSES)
        ben.context.grant_permissions(["clipboard-read", "clipboard-write"])
        ben.open("/#/tides/tides-film")
        ben.page.get_by_role("button", name="Copy link").click()
        expect(ben.page.get_by_role("status")).to_contain_text("opens only for people in this course")
        link = ben.page.evaluate("navigator.clipboard.readText()")
        assert link == f"{ben.school.url}/courses/tides/film.mp4"
        assert httpx.get(link, trust_env=False).status_code == 401

        stranger = visitor()
        stranger.page.goto(link)
        expect(stranger.page.locator(".notice")).to_contain_text(f"Sign in to open {link}")
        stranger.page.get_by_role("button", name="Sign in").click()
        with stranger.page.expect_response(link) as answer:  # he is asked who he is, and then it is not his
            stranger.page.click(f"button[value={GUEST}]")
        assert answer.value.status == 403
        expect(stranger.page.locator("h1")).to_have_text("This file is not shared with you")
        stranger.page.get_by_role("link", name="Sign in as somebody else").click()
        stranger.page.get_by_role("button", name="sign in as somebody else").click()
        stranger.page.click(f"button[value={TEACHER}]")
        stranger.page.wait_for_url(link)
        assert stranger.page.locator("video").count() == 1

    def test_next_never_leads_elsewhere(self, visitor: Visitor) -> None:
        visit = visitor()
        for where in ("https://evil.example/", "javascript:alert(1)", "/.//evil.example/", "%zz", "//evil.example/"):
            visit.open(f"/?next={where}")
            assert visit.page.locator(".notice").count() == 0
        visit.sign_in(STUDENT)
        expect(visit.page.locator("h1")).to_have_text("Hello, Ann")
        assert visit.page.url.startswith(f"{visit.school.url}/")

    def test_next_to_a_path_that_looks_like_another_host_stays_here(self, visitor: Visitor) -> None:
        visit = visitor()
        visit.page.goto(f"{visit.school.url}/?next={visit.school.url}//evil.example/")
        visit.page.get_by_role("button", name="Sign in").click()
        visit.page.click(f"button[value={STUDENT}]")
        visit.page.wait_for_url(f"{visit.school.url}//evil.example/")  # of this site, which has no such file

    def test_a_sign_in_that_began_elsewhere_is_not_finished(self, visitor: Visitor) -> None:
        visit = visitor()
        visit.page.goto(f"{visit.school.url}/?code=abc&state=def")
        expect(visit.page.get_by_role("alert")).to_have_text("That sign-in did not begin here. Please sign in again.")
        assert visit.page.url == f"{visit.school.url}/"

    def test_signed_out_is_signed_out(self, visitor: Visitor) -> None:
        ann = visitor()
        ann.sign_in(STUDENT)
        ann.open("/#/night-sky/night-sky-film")
        assert ann.film().count() == 1
        assert ann.page.evaluate("document.cookie") == ""  # out of the reach of scripts
        assert [cookie["name"] for cookie in ann.context.cookies()] == [ann.school.cookie]
        ann.page.get_by_role("button", name="Sign out").click()
        expect(ann.page.locator("h1")).to_have_text("Learn to look up.")
        assert ann.context.cookies() == []
        assert ann.page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
        assert ann.page.evaluate(f"fetch('{PLOUGH}').then(answer => answer.status)") == 401
        ann.open("/#/night-sky/night-sky-plough")
        assert ann.page.locator(".lesson").count() == 0

    def test_a_session_that_ends_meanwhile_is_noticed_and_the_way_back_is_kept(self, visitor: Visitor) -> None:
        ann = visitor(STUDENT)
        ann.open("/#/night-sky/night-sky-plough")
        expect(ann.page.locator(".lesson img")).to_be_visible()
        ann.context.clear_cookies()
        ann.page.get_by_role("navigation").get_by_role("link", name="Before you go outside").click()
        expect(ann.page.get_by_role("alert")).to_contain_text("You are not signed in any more")
        ann.sign_in(STUDENT)
        expect(ann.page.get_by_role("heading", name="Find north")).to_be_visible()

    def test_all_of_it_works_without_a_mouse(self, visitor: Visitor) -> None:
        visit = visitor()
        page = visit.page

        def go_to(name: str) -> None:
            for _ in range(20):
                page.keyboard.press("Tab")
                here = page.evaluate(
                    """() => {
                    const node = document.activeElement, look = getComputedStyle(node);
                    return [node.textContent.trim() || node.tagName, look.outlineStyle, parseFloat(look.outlineWidth)];
                }"""
                )
                if name in here[0]:
                    assert here[1] != "none", f"where one is cannot be seen at {name}"
                    return
            raise AssertionError(f"{name} cannot be reached with the Tab key")

        go_to("Skip to the content")
        go_to("Sign in")
        page.keyboard.press("Enter")
        page.wait_for_url("**/authorize?**")
        go_to("Ann Archer")
        page.keyboard.press("Enter")
        page.wait_for_selector(".card")
        go_to("The Night Sky")
        with visit.another_view():
            page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "view"  # who reads by ear begins at what is new
        go_to("How the sky turns")
        with visit.another_view():
            page.keyboard.press("Enter")
        visit.film()
        go_to("VIDEO")
        page.keyboard.press("Space")
        page.wait_for_function("() => !document.querySelector('video').paused")
        page.evaluate("document.querySelector('#view').focus()")
        go_to("Your star log")
        with visit.another_view():
            page.keyboard.press("Enter")
        go_to("TEXTAREA")
        page.keyboard.type("Typed.")
        go_to("Hand in")
        page.keyboard.press("Enter")
        expect(page.locator(".answers pre")).to_have_text("Typed.")

    @pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
    def test_every_view_fits_and_can_be_read_by_everybody(self, visitor: Visitor, width: int, scheme: str) -> None:
        size = {"width": width, "height": 844}
        visit = visitor(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(15, 18, 32)" if scheme == "dark" else "rgb(247, 245, 239)")
        assert visit.page.evaluate(UNUSABLE) == []
        visit.context.add_cookies(
            [{"name": visit.school.cookie, "value": visit.school.session(STUDENT), "url": visit.school.url}]
        )
        visit.open()
        assert visit.page.evaluate(UNUSABLE) == []
        motion = "getComputedStyle(document.querySelector('.card')).transitionDuration"
        assert visit.page.evaluate(motion) == "0s"
        for lesson in ("night-sky-film", "night-sky-plough", "night-sky-handout", "night-sky-log", "tides-film"):
            visit.open(f"/#/{lesson.rpartition('-')[0]}/{lesson}")
            visit.settle()
            assert visit.page.evaluate(UNUSABLE) == [], lesson
            if (width, scheme, lesson) == (390, "dark", "night-sky-plough"):
                visit.picture("phone")
