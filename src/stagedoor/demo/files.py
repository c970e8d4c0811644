"""The files of the demo site: made on the spot, the same every time, real enough to look at and listen to."""

from __future__ import annotations

import array
import json
import math
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from . import pictures

RATE = 16_000
"""Samples per second of the sound."""


class Sample(NamedTuple):
    """One file of the demo: its key, what it is called on the page, and how it is made."""

    key: str
    title: str
    make: Callable[[], bytes]


def write_site(folder: Path, config: Mapping[str, object]) -> None:
    """Fill a folder with the samples and the page that shows them.

    Args:
        folder: the store of the demo site.
        config: what the page has to know (`site`, `issuer`, `client`, `people`); it gets the list of files as well.
    """
    for sample in SAMPLES:
        _write(folder, sample.key, sample.make())
    page = resources.files(__package__) / "page"
    html = (page / "index.html").read_text(encoding="utf-8").replace("@ISSUER@", str(config["issuer"]))
    _write(folder, "index.html", html.encode())
    for name in ("app.js", "app.css", "icon.svg"):
        _write(folder, f"app/{name}", (page / name).read_bytes())
    listing = [{"key": sample.key, "title": sample.title} for sample in SAMPLES]
    _write(folder, "app/files.json", json.dumps({**config, "files": listing}, indent=1).encode())


def _write(folder: Path, key: str, content: bytes) -> None:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _text(content: str) -> Callable[[], bytes]:
    return content.encode


# --- sound


def melody() -> bytes:
    """A little tune of sixteen seconds: WAV, 16 bit, one channel."""
    beat = 0.4
    # fmt: off
    tune = ("E5", "G5", "A5", "-", "G5", "E5", "D5", "-", "C5", "D5", "E5", "G5", "D5", "-", "-", "-",
            "E5", "G5", "A5", "-", "C6", "A5", "G5", "-", "E5", "D5", "E5", "G5", "C5", "-", "-", "-")
    bass = ("C3", "G3", "A3", "E3", "F3", "C3", "G3", "G3", "C3", "G3", "F3", "A3", "A3", "G3", "C3", "C3")
    # fmt: on
    mix = array.array("f", bytes(4 * int(RATE * (beat * len(tune) + 3.0))))
    for place, name in enumerate(tune):
        if name != "-":
            _add(mix, place * beat, _tone(name, 1.6), 0.30)
    for place, name in enumerate(bass):
        _add(mix, place * 2 * beat, _tone(name, 2.4), 0.26)
    samples = array.array("h", (int(max(-1.0, min(1.0, value)) * 32_000) for value in mix))
    if sys.byteorder == "big":
        samples.byteswap()
    data = samples.tobytes()
    format_ = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
        + format_
        + struct.pack("<4sI", b"data", len(data))
        + data
    )


@lru_cache
def _tone(name: str, seconds: float) -> Sequence[float]:
    """A plucked note: it starts at once, dies away, and has two overtones that die away sooner."""
    semitones = {"C": -9, "D": -7, "E": -5, "F": -4, "G": -2, "A": 0}[name[0]] + 12 * (int(name[1]) - 4)
    turn = math.tau * 440.0 * 2 ** (semitones / 12) / RATE
    total = int(RATE * seconds)
    tone = []
    for n in range(total):
        fade = math.exp(-4.0 * n / total) * min(1.0, n / 150, (total - n) / 300)
        tone.append(
            fade * (math.sin(turn * n) + 0.4 * fade * math.sin(2 * turn * n) + 0.2 * fade * math.sin(3 * turn * n))
        )
    return tone


def _add(mix: array.array[float], start: float, tone: Sequence[float], loudness: float) -> None:
    for place, value in enumerate(tone, int(start * RATE)):
        mix[place] += loudness * value


# --- documents


def pdf(title: str, paragraphs: Sequence[str]) -> bytes:
    """One page of text (ISO 32000-1 §7.5: header, body, cross-reference table, trailer).

    Args:
        title: the heading; Latin-1, as everything here.
        paragraphs: one line each of at most some 85 characters.
    """
    lines = ["0.54 0.2 0.14 rg 0 812 595 30 re f", "0.11 0.11 0.1 rg BT /F2 24 Tf 56 748 Td", f"({_escaped(title)}) Tj"]
    lines += ["/F1 11.5 Tf 0 -16 Td", *(f"0 -20 Td ({_escaped(line)}) Tj" for line in paragraphs), "ET"]
    content = "\n".join(lines).encode("latin-1")
    fonts = b"<< /F1 5 0 R /F2 6 0 R >>"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font %s >> >>" % fonts,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
    )
    body, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return (
        body
        + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (
            size,
            table,
            size,
            len(body),
        )
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def planets() -> bytes:
    """The solar system, not to scale: SVG."""
    bodies = (
        ("c9b8a3", 76, 5),
        ("e8c07d", 116, 9),
        ("6fb1e0", 160, 10),
        ("d9694f", 202, 7),
        ("d8b48a", 270, 24),
        ("e5d3a1", 352, 19),
    )
    parts = []
    for place, (colour, reach, size) in enumerate(bodies):
        angle = math.radians(-34 + 53 * place % 68)
        x, y = 120 + 1.25 * reach * math.cos(angle), 210 + 0.9 * reach * math.sin(angle)
        parts.append(
            f'<ellipse cx="120" cy="210" rx="{1.25 * reach:.0f}" ry="{0.9 * reach:.0f}" fill="none" stroke="#4b5d92"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="#{colour}"/>'
        )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 420" width="640" height="420" role="img">'
        "<title>The solar system, not to scale</title>"
        '<defs><radialGradient id="sun"><stop offset="0" stop-color="#fff6d8"/><stop offset=".6" stop-color="#ffd66b"/>'
        '<stop offset="1" stop-color="#f08c3a"/></radialGradient></defs><rect width="640" height="420" fill="#101a38"/>'
        f'<circle cx="120" cy="210" r="46" fill="url(#sun)"/>{"".join(parts)}</svg>\n'
    ).encode()


_PROSPECTUS = (
    "Lantern School teaches one thing: how to look up.",
    "",
    "Courses start in March and in September. You need a coat, a notebook and patience.",
    "A telescope is waiting for you on the roof.",
    "",
    "The Night Sky (ten evenings)       Ann and Ben are in it this term",
    "Eclipses (one day, every few years)     still a draft: only teachers see it",
    "",
    "This file is public: nobody has to sign in to read it.",
)
_HANDOUT = (
    "1. Let your eyes rest in the dark for twenty minutes before you begin.",
    "2. Find the Plough. Two of its stars point to the Pole Star.",
    "3. Note time, place and weather of everything that you see.",
    "4. Use red light only. White light spoils the night for everybody.",
    "5. Draw what you see (not what you know).",
    "",
    "For students and teachers of the course.",
)
_LESSON = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Lesson 1: the evening sky</title>
<body style="max-width: 40rem; margin: 2rem auto; padding: 0 1rem; font: 1.1rem/1.6 Georgia, serif">
<h1>The evening sky</h1>
<p>This page and everything in it are private. The picture is a plain <code>&lt;img src="dusk.png"&gt;</code>:
the browser sends the session cookie with it, and the door checks it for each of them.</p>
<img src="dusk.png" alt="A full moon above dark spruces" style="max-width: 100%; border-radius: 8px">
<p>Listen while you look:</p>
<audio controls src="listening.wav"></audio>
<p><a href="/">Back to all files</a></p>
</html>
"""

SAMPLES = (
    Sample("public/harbour.png", "The harbour before sunrise", pictures.harbour),
    Sample("public/prospectus.pdf", "Prospectus", lambda: pdf("Lantern School", _PROSPECTUS)),
    Sample("public/welcome.md", "Welcome", _text(
        "# Welcome to Lantern School\n\nThese files are not real, but the door in front of them is.\n\n"
        "- Sign in as **ann** or **ben**: two students.\n- Sign in as **tess**: their teacher.\n"
        "- Sign in as **gil**: a guest, in no group.\n"
    )),
    Sample("courses/night-sky/dusk.png", "Lesson 1: the evening sky", pictures.dusk),
    Sample("courses/night-sky/plough.png", "Lesson 2: the Plough", pictures.constellation),
    Sample("courses/night-sky/planets.svg", "Lesson 3: the planets", planets),
    Sample("courses/night-sky/listening.wav", "Music for looking up", melody),
    Sample("courses/night-sky/lesson.html", "Lesson 1 as a page", _text(_LESSON)),
    Sample("courses/night-sky/handout.pdf", "Handout", lambda: pdf("The Night Sky: handout", _HANDOUT)),
    Sample("courses/night-sky/observations.csv", "Observations", _text(
        "night,object,magnitude,seen by\n2026-03-02,Sirius,-1.46,ann\n2026-03-02,Betelgeuse,0.5,ben\n"
        "2026-03-09,Moon,-9.2,ann\n2026-03-16,Jupiter,-2.1,ben\n2026-03-23,M42,4.0,ann\n"
    )),
    Sample("courses/drafts/eclipse.png", "Eclipses (draft)", pictures.eclipse),
    Sample("courses/drafts/exam.md", "Exam questions (draft)", _text(
        "# Exam: the night sky\n\n1. Which star does not move?\n2. Why does the Moon have phases?\n"
        "3. What is wrong with a torch?\n"
    )),
    Sample("grades/spring.png", "Spring term at a glance", pictures.bars),
    Sample("grades/spring.csv", "Spring term", _text(
        "student,essay,observation,exam\nann,92,88,95\nben,81,94,79\n"
    )),
    Sample("groups/students/seeing.png", "How clear the nights were", pictures.curve),
    Sample("groups/students/rota.txt", "Who carries the telescope", _text(
        "Mon  ann\nTue  ben\nWed  ann\nThu  ben\nFri  whoever is late\n"
    )),
    Sample("groups/teachers/minutes.txt", "Minutes of the staff meeting", _text(
        "Staff meeting, in confidence\n\n- The roof leaks again.\n- Eclipses need a date.\n- Biscuits: yes.\n"
    )),
    Sample("users/ann/lanterns.png", "Ann's picture", pictures.lanterns),
    Sample("users/ann/notes.md", "Ann's notes", _text(
        "# Things to ask Tess\n\n- Why is Betelgeuse red?\n- Can I borrow the big telescope?\n"
    )),
    Sample("users/ben/dunes.png", "Ben's picture", pictures.dunes),
    Sample("users/ben/essay.txt", "Ben's essay", _text(
        "Why the night is dark\n\nIf there were stars without end, every line of sight\nwould end on one of them. "
        "So why is it dark?\n"
    )),
    Sample("users/tess/timetable.csv", "Tess's timetable", _text(
        "day,hour,room\nMon,19:00,roof\nWed,20:00,roof\nThu,18:30,library\n"
    )),
    Sample("users/gil/lights.png", "Gil's picture", pictures.lights),
)  # fmt: skip
"""Laid out so that each rule of the demo's policy has something to allow and something to refuse."""
