"""A short form of `python -m benchmarks.load`: several users at once, each with an own color. Times are not judged here."""

from __future__ import annotations

from benchmarks import load


def test_no_answer_is_mixed_up_and_no_page_fails_with_several_users() -> None:
    port = load.free_port()
    with load.app(port):
        ledger = load.run_sessions(
            f"http://localhost:{port}", minutes=0.1, idle_minutes=0.02, rest_seconds=0.3, count=4
        )
    assert ledger.errors == []
    assert ledger.answers >= 8 and set(ledger.reruns) == {"idle", "while a model answers"}


def test_a_color_of_somebody_else_is_noticed() -> None:
    assert load.colors_in(["Red.", "What color is the circle?", "**blue**", "Redder"]) == {"red", "blue"}
