"""The page about the edge is made from a result and says what falls short; prices follow AWS's lists."""

from pathlib import Path

import pytest

from bench.edge import cost, page
from bench.edge.contest import EMPTY, OURS, PEER, PEER_SMALL, SHARES, Start
from bench.peers import CannotRun

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def starts(cold: float, warm: float, resident: float) -> list[Start]:
    """Three cold starts, a bad one and a good one around the usual one."""
    return [
        Start(
            ready_ms=cold * factor * 0.75,
            first_ms=cold * factor * 0.25,
            cold_ms=cold * factor,
            cpu_ms=cold,
            warm_ms=warm,
            new_token_ms=warm * 2,
            resident_mb=resident,
        )
        for factor in (0.5, 1.0, 9.0)
    ]


def result(ours: list[Start], shares: int = len(SHARES)) -> page.Result:
    mine = {
        OURS: ours,
        PEER: starts(200, 0.8, 70),
        PEER_SMALL: starts(100, 0.8, 70),
        EMPTY[OURS]: starts(50, 0.4, 15),
        EMPTY[PEER]: starts(50, 0.6, 55),
    }
    return page.Result(
        date="2030-01-02",
        commit="abc1234",
        machine={"processor": "Example, 2 cores", "memory": "8 GB", "system": "Debian"},
        versions={"Python": "3.13.0", "Node": "22.0.0"},
        limits={"memory": "128 MB", "cpu": "share"},
        token_bytes=1024,
        zips={OURS: 150_000, PEER: 1_500_000, PEER_SMALL: 100_000},
        refused={OURS: "401, 401", PEER: "302, 302", PEER_SMALL: "302, 302"},
        starts={share.name: mine for share in SHARES[:shares]},
        others=0.3,
        gateway_rate=40_000,
    )


def test_aims_are_compared_by_medians() -> None:
    rows = {aim.what: aim.row[1:] for aim in page.aims(result(starts(90, 0.45, 23)))}
    assert rows["warm, a whole core"][2] == "met"
    assert rows["resident"][2] == "met"
    assert rows[f"cold start to first answer, a whole core: of {PEER}"][1:] == ("≤ 0.5", "met")
    assert rows[f"cold start to first answer, a whole core: of {PEER_SMALL}"] == ("0.90", "", "")


def test_the_page_says_what_falls_short() -> None:
    text = page.page(result(starts(150, 0.7, 50)))
    assert "| warm, a whole core | 0.70 ms | ≤ 0.5 ms | **falls short** |" in text
    assert "| resident | 50.0 MB | ≤ 40 MB | **falls short** |" in text
    assert "Of our 150 ms with a whole core, 50 are" in text
    assert "Other work took 30% of a core" in text
    assert "Nothing falls short" in page.page(result(starts(20, 0.3, 20)))


def test_without_shares_of_a_processor_there_is_one_table() -> None:
    text = page.page(result(starts(90, 0.45, 23), shares=1))
    assert [line for line in text.splitlines() if line.startswith("### ")] == ["### A whole core"]


def test_prices_are_those_of_the_list() -> None:
    assert cost.edge(5) == pytest.approx(0.63, abs=0.005)
    assert cost.edge(50) == pytest.approx(0.91, abs=0.005)
    assert cost.edge(0.2) == cost.edge(1)  # metered in steps
    assert cost.machine(1) == pytest.approx(4.67, abs=0.005)
    assert cost.break_even(5) * cost.edge(5) / 1e6 == pytest.approx(cost.MACHINE_HOUR * cost.HOURS)


def test_the_gateways_rate_comes_from_its_own_page(tmp_path: Path) -> None:
    assert cost.gateway_rate(BENCHMARKS) > 1000
    other = tmp_path / "benchmarks.md"
    other.write_text("# Benchmarks\n")
    with pytest.raises(CannotRun, match="bench/run --write"):
        cost.gateway_rate(other)
