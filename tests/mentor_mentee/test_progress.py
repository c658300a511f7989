"""Lines for the person who waits: rare, with the time that is left, each remark once; in the log where no command listens."""

import logging

import pytest

from mentor_mentee.progress import Progress, duration, remark, reporting


def test_a_line_comes_every_ten_seconds_with_the_time_left() -> None:
    """A task of 100 parts, two seconds each: after 10 s five are done and 190 s are left."""
    now, lines = 0.0, list[str]()
    progress = Progress("reading images", 100, say=lines.append, clock=lambda: now)
    for done in range(100):
        progress.at(done)
        now += 2
    assert lines[0] == "reading images: 5 of 100, 3 min left"
    assert lines[1] == "reading images: 10 of 100, 3 min left"
    assert lines[-1] == "reading images: 95 of 100, 10 s left"
    assert len(lines) == 19


def test_what_an_earlier_run_did_does_not_count_for_the_pace() -> None:
    now, lines = 0.0, list[str]()
    progress = Progress("mentee", 1000, start=900, say=lines.append, clock=lambda: now)
    now = 20.0
    progress.at(900)
    progress.at(920, "loss 0.5")
    assert lines == ["mentee: 920 of 1,000, loss 0.5, 80 s left"]


def test_without_a_command_remarks_are_warnings_of_the_log_and_progress_is_information(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    with caplog.at_level(logging.INFO, "mentor_mentee"):
        remark("3 cached answers are damaged")
        remark("3 cached answers are damaged")
        progress = Progress("reading images", 100, clock=lambda: now)
        now = 20.0
        progress.at(50)
    assert caplog.record_tuples == [
        ("mentor_mentee", logging.WARNING, "3 cached answers are damaged"),
        ("mentor_mentee", logging.INFO, "reading images: 50 of 100, 20 s left"),
    ]


def test_remarks_are_said_once_and_to_the_innermost_listener() -> None:
    remark("to nobody")
    outer, inner = list[str](), list[str]()
    with reporting(outer.append):
        remark("a")
        remark("a")
        with reporting(inner.append):
            remark("a")
        remark("b")
    remark("to nobody")
    assert (outer, inner) == (["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "0 s"), (-1, "0 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
