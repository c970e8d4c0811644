"""The benchmark of the state measures what it says, with a few entries. Nothing is timed here."""

from pathlib import Path

from bench import state
from stagedoor.core.revocations import from_text
from stagedoor.state import open_state


def test_a_gateway_with_a_list_is_measured_beside_one_without(tmp_path: Path) -> None:
    empty, full = state.prepare(tmp_path / "empty", 1), state.prepare(tmp_path / "full", 8)
    found = [from_text(entry.text) for entry in open_state(f"sqlite://{full}/state.db").after(0)]
    assert [one.kind for one in found] == ["session", "session", "person", "token"] * 2
    measured = state.in_child(empty, full, 0.001)
    assert set(measured["rates"]) == {"token", "session"}
    shown = state.page(8, measured["loaded"], measured["loaded"], {"token": [100.0, 90.0]})
    assert "| requests/s by token, decided | 100 | 90 | 0.90 |" in shown
    assert {line.count("|") for line in shown.splitlines()} == {5}
