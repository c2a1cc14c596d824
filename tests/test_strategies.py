"""Which times are looked at: pure functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolvlm_core.video import count_that_fits, default_frame_count, evenly_spaced_times
from smolvlm_core.video.clip import PacketFacts
from smolvlm_core.video.strategies import candidate_times, most_different


@given(start=st.floats(0, 1000), length=st.floats(0, 1e5), count=st.integers(1, 200))
def test_times_are_ordered_inside_and_evenly_spaced(start: float, length: float, count: int) -> None:
    times = evenly_spaced_times(start, start + length, count)
    assert len(times) == count and times == sorted(times)
    assert start <= times[0] and times[-1] <= start + length
    if count > 1:
        assert times[0] == start and np.isclose(times[-1], start + length)
        assert np.allclose(np.diff(times), length / (count - 1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("start", "end", "count"), [(0, 1, 0), (-1, 1, 3), (2, 1, 3)])
def test_impossible_requests_say_what_is_allowed(start: float, end: float, count: int) -> None:
    with pytest.raises(ValueError, match="needed"):
        evenly_spaced_times(start, end, count)


def test_smolvlm2s_own_count() -> None:
    assert default_frame_count(10, 1, 64) == 10
    assert default_frame_count(600, 1, 64) == 64
    assert default_frame_count(0.2, 1, 64) == 1


@given(frames=st.integers(70, 5000), fps=st.sampled_from([10.0, 24.0, 25.0, 30.0]), count=st.integers(2, 64))
def test_over_a_full_clip_it_equals_smolvlm2s_own_rule(frames: int, fps: float, count: int) -> None:
    """numpy.linspace over the indices, as transformers does it (without its skipping of the first and last second)."""
    wanted = np.linspace(0, frames - 1, count, dtype=int)
    times = evenly_spaced_times(0, (frames - 1) / fps, count)
    shown = np.array([int(t * fps + 1e-6) for t in times])
    assert np.abs(shown - wanted).max() <= 1 and (shown == wanted).mean() > 0.9


@given(budget=st.integers(-10, 5000), per_frame=st.integers(1, 100), most=st.integers(0, 200))
def test_as_many_as_fit(budget: int, per_frame: int, most: int) -> None:
    def tokens_for(count: int) -> int:
        return 30 + per_frame * count

    count = count_that_fits(budget, tokens_for, most)
    assert 0 <= count <= most
    assert count == 0 or tokens_for(count) <= budget
    assert count == most or tokens_for(count + 1) > budget


packets = st.lists(st.builds(PacketFacts, st.floats(0, 600), st.integers(0, 10**6), st.booleans()), max_size=400)


@given(packets=packets, start=st.floats(0, 300), length=st.floats(0, 300), limit=st.integers(3, 90))
def test_candidates_are_ordered_inside_within_the_limit_and_the_same_each_time(
    packets: list[PacketFacts], start: float, length: float, limit: int
) -> None:
    times = candidate_times(packets, start, start + length, limit)
    assert 0 < len(times) <= limit and times == sorted(set(times))
    assert all(start <= t <= start + length for t in times)
    assert times == candidate_times(list(packets), start, start + length, limit)


def test_a_sudden_change_is_a_candidate() -> None:
    """One packet, ten times its neighbours' size, in an hour of 25 frames a second."""
    clip = [PacketFacts(i / 25, 5000 if i % 250 == 0 else 400 + i % 7 * 10, i % 250 == 0) for i in range(90_000)]
    clip[54_321] = PacketFacts(54_321 / 25, 4000, False)
    assert 54_321 / 25 in candidate_times(clip, 0, 3600, 48)


def test_a_keyframe_before_its_turn_is_a_candidate() -> None:
    clip = [PacketFacts(i / 25, 5000 if i % 250 == 0 else 400, i % 250 == 0) for i in range(10_000)]
    clip[5_100] = PacketFacts(204.0, 5000, True)
    assert 204.0 in candidate_times(clip, 0, 400, 12)


@given(st.lists(st.lists(st.floats(0, 255), min_size=4, max_size=4), max_size=40), st.integers(1, 50))
def test_the_most_different_are_ordered_and_each_once(rows: list[list[float]], count: int) -> None:
    chosen = most_different(np.array(rows), count)
    assert chosen == sorted(set(chosen)) and len(chosen) <= min(count, len(rows))
    assert bool(chosen) == bool(rows)


def test_the_odd_one_is_among_the_most_different() -> None:
    looks = np.zeros((100, 12))
    looks[57] = 200
    assert most_different(looks, 2) == [0, 57]
