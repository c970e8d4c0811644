"""The comparison's page is made from a kept result and says plainly what falls short. Nothing is timed here."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import load, report
from bench.peers import CannotRun, Memory, share_cores


def rounds(
    requests: float, megabytes: float, cpu: float, busy: float = 1.0, others: float = 0.0, errors: int = 0
) -> list[load.Round]:
    """Three rounds with a bad one on either side of the median."""
    return [
        load.Round(
            requests_per_s=requests * factor,
            mb_per_s=megabytes * factor,
            p50_ms=1.0,
            p99_ms=2.5,
            cpu_us_per_request=cpu,
            cpu_ms_per_mb=cpu / 10,
            busy=busy,
            behind=0.25,
            client=0.75,
            others=others,
            errors=errors,
        )
        for factor in (0.1, 1.0, 7.0)
    ]


def contest(nginx: float, haproxy: float, ours: float, **ours_more: float) -> dict[str, list[load.Round]]:
    return {
        "nginx": rounds(nginx * 10, nginx, 10),
        "nginx, access log": rounds(nginx * 9, nginx * 0.9, 11),
        "haproxy": rounds(haproxy * 10, haproxy, 50),
        "stagedoor": rounds(ours * 10, ours, 20, **ours_more),  # type: ignore[arg-type]
    }


def slow(before: float, peak: float) -> load.SlowReading:
    return load.SlowReading(before=Memory(before, before), peak=Memory(peak, peak), clients=64, mb_read=50.0)


@pytest.fixture
def result() -> report.Result:
    """A run as bench/results/ keeps it, with round figures."""
    refused = {"no token": 401, "tampered token": 401, "expired token": 401, "another team's file": 403}
    servers = ("nginx", "nginx, access log", "haproxy", "stagedoor")
    made: report.Result = {
        "date": "2030-01-02",
        "commit": "abc1234",
        "rounds": 3,
        "seconds": 5.0,
        "connections": 64,
        "machine": {
            "processor": "Acme 9000, 2 cores",
            "memory": "8 GB",
            "system": "Debian, Linux 6",
            "cores": "one each",
        },
        "versions": {"Python": "3.13.1", "nginx": "1.28.0"},
        "token_bytes": 1024,
        "refused": {name: refused if "nginx" not in name else dict.fromkeys(refused, 200) for name in servers},
        "loads": {
            "1 KB": contest(100, 20, 55),
            "64 KB": contest(100, 30, 65),
            "10 MB": contest(100, 40, 30, busy=0.5),
            "1 MB ranges": contest(100, 10, 90, errors=2),
        },
        "memory": {name: Memory(50.0, 60.0) for name in servers},
        "slow_readers": {name: slow(40, 130 if name == "stagedoor" else 41) for name in servers},
        "micro": {
            "ready_s": [0.5, 0.4, 0.6],
            "imports": {"door": {"wall_ms": 51.2, "cpu_ms": 50.1}},
            "decisions": {"own file": 200_000.0},
            "compile_ms": 180.0,
            "verified": {"remembered": 1_000_000.0},
            "passes": {"issued, RSA": 3000.0},
        },
    }
    kept: report.Result = json.loads(json.dumps(made))  # tuples have become lists, as in a kept file
    return kept


def test_ratios_are_of_medians_and_by_bytes_for_large_bodies(result: report.Result) -> None:
    for one in result["loads"]["10 MB"]["stagedoor"]:
        one["requests_per_s"] = 1e9  # whole answers are too few to count there
    assert report.ratio(result, "1 KB", "stagedoor", "nginx") == pytest.approx(0.55)
    assert report.ratio(result, "10 MB", "stagedoor", "nginx") == pytest.approx(0.30)
    assert report.ratio(result, "1 KB", "stagedoor", "nginx", per_cpu=True) == pytest.approx(0.5)


def test_aims_tell_met_from_enough_from_short(result: report.Result) -> None:
    verdicts = {aim.what: aim.verdict for aim in report.aims(result)}
    assert verdicts["1 KB, of nginx"] == "met"
    assert verdicts["64 KB, of nginx"] == "enough, short of the aim"
    assert verdicts["10 MB, of nginx"] == "**falls short**"
    assert verdicts["10 MB, of HAProxy"] == "**falls short**"
    assert verdicts["memory of a worker"] == "**falls short**"  # the slow readers' peak counts too
    assert verdicts["start to ready"] == "met"


def test_the_page_holds_figures_machine_and_refusals(result: report.Result) -> None:
    page = report.page(result)
    assert "| Stagedoor, access log | 550 | 55.0 | 0.55 | 0.50 | 1.00 | 2.50 | 20.0 | 100% | 0 |" in page
    assert "| HAProxy `jwt_verify` | 401 | 401 | 401 | 403 |" in page
    assert "| nginx, no check | 200 | 200 | 200 | 200 |" in page
    for fact in (
        "2030-01-02",
        "abc1234",
        "Acme 9000",
        "nginx 1.28.0",
        "own file | 200,000 /s",
        "images/benchmarks.svg",
    ):
        assert fact in page
    assert "{" not in page


def test_the_page_says_what_falls_short(result: report.Result) -> None:
    short = "\n".join(report.shortfalls(result))
    assert "10 MB, of nginx: 0.30, where 0.8 is required." in short
    assert "64 KB, of nginx: 0.65, where 0.75 is the aim." in short
    assert "memory of a worker: 130 MB, where less than 120 MB is required." in short
    assert "10 MB: these could have done more" in short
    assert "Stagedoor, access log: 50% of its core (wrk 75% of its own)." in short
    assert "1 MB ranges: 6 requests to Stagedoor, access log failed." in short
    assert "1 KB" not in short
    assert short.replace("\n", "\n- ") in report.page(result)


def test_the_page_says_that_the_machine_was_not_quiet(result: report.Result) -> None:
    assert not any("not quiet" in one for one in report.shortfalls(result))
    result["loads"] = {"1 KB": dict.fromkeys(result["loads"]["1 KB"], rounds(1, 1, 1, others=0.4))}
    assert any("Other work took 40% of a core" in one for one in report.shortfalls(result))


def test_every_table_has_rows_as_wide_as_its_head(result: report.Result) -> None:
    width = 0
    for line in report.page(result).splitlines():
        cells = line.count("|") if line.startswith("|") else 0
        assert cells == width or not cells or not width
        width = cells


def test_the_terminal_shows_the_same_without_markup(result: report.Result) -> None:
    text = report.text(result)
    assert "HAProxy jwt_verify" in text
    assert "falls short" in text
    assert "`" not in text
    assert "**" not in text


def test_the_picture_is_an_svg_for_light_and_dark(result: report.Result) -> None:
    picture = report.plot(result)
    root = ET.fromstring(picture)
    bars = [bar for bar in root.iter("{http://www.w3.org/2000/svg}rect") if bar.get("width") != "12"]
    assert len(bars) == 3 * len(result["loads"])
    longest = max(float(bar.get("x", "0")) + float(bar.get("width", "0")) for bar in bars)
    assert longest < float(root.get("width", "0"))
    assert "prefers-color-scheme: dark" in picture


def test_page_and_picture_are_written(result: report.Result, tmp_path: Path) -> None:
    written = report.write(result, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == ["benchmarks.md", "images/benchmarks.svg"]
    assert written[0].read_text(encoding="utf-8") == report.page(result)


def test_a_kept_result_can_be_shown_again_and_nothing_else(result: report.Result, tmp_path: Path) -> None:
    kept = tmp_path / "result.json"
    kept.write_text(json.dumps(result))
    assert report.load(kept) == result
    for content in ("{}", "[]", "no JSON"):
        kept.write_text(content)
        with pytest.raises(CannotRun):
            report.load(kept)


@pytest.mark.parametrize(
    ("usable", "server", "backend", "client"),
    [([3], "3", "3", "3"), ([0, 1], "0", "1", "1"), ([0, 1, 2], "0", "1", "2"), ([0, 1, 2, 3], "0", "1", "2,3")],
)
def test_the_server_has_a_core_of_its_own_where_there_are_two(
    usable: list[int], server: str, backend: str, client: str
) -> None:
    cores = share_cores(usable)
    assert (cores.server, cores.backend, cores.client) == (server, backend, client)
    assert cores.note
