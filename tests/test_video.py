from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolvlm_core.errors import MediaError
from smolvlm_core.video import decoders, default_frame_count, evenly_spaced_times, open_clip, sample_clip
from tests.conftest import Writer, drawn, encoded

DECODERS = [decoders.DecordClip, decoders.OpenCvClip]


def level(image: object) -> float:
    return float(np.asarray(image).mean())


@given(start=st.floats(0, 1000), length=st.floats(0.01, 1e5), count=st.integers(1, 200))
def test_times_are_ordered_and_inside(start: float, length: float, count: int) -> None:
    times = evenly_spaced_times(start, start + length, count)
    assert len(times) == count and times == sorted(times)
    assert start <= times[0] and times[-1] <= start + length
    if count > 2:
        steps = np.diff(times)
        assert np.allclose(steps, steps[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("start", "end", "count"), [(0, 1, 0), (1, 1, 3), (-1, 1, 3), (2, 1, 3)])
def test_impossible_requests_say_what_is_allowed(start: float, end: float, count: int) -> None:
    with pytest.raises(ValueError, match="needed"):
        evenly_spaced_times(start, end, count)


def test_smolvlm2s_own_rule() -> None:
    assert default_frame_count(10, 1, 64) == 10
    assert default_frame_count(600, 1, 64) == 64
    assert default_frame_count(0.2, 1, 64) == 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_each_decoder_gives_the_frame_on_screen(decoder: type, write_clip: Writer) -> None:
    pytest.importorskip("decord" if decoder is decoders.DecordClip else "cv2")
    clip = decoder(write_clip(frames=40, fps=10))
    assert abs(clip.facts.duration_seconds - 4) < 0.15 and clip.facts.frame_count == 40
    frames = list(clip.frames_at([0.0, 0.55, 1.0, 3.95]))
    assert [f.frame_index for f in frames] == [0, 5, 10, 39]
    assert np.allclose([level(f.image) for f in frames], [0, 20, 40, 156], atol=3)
    assert np.allclose([f.timestamp_seconds for f in frames], [0, 0.5, 1.0, 3.9], atol=0.01)
    clip.close()


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mov", "mpeg4"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")],
)
def test_containers_and_codecs(name: str, codec: str, write_clip: Writer) -> None:
    sampled = sample_clip(write_clip(name, codec=codec), 5)
    assert len(sampled.frames) == 5 and sampled.notes == ()
    levels = [level(f.image) for f in sampled.frames]
    assert levels == sorted(levels) and levels[-1] - levels[0] > 100


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_phone_clips_are_upright(decoder: type, degrees: int, write_clip: Writer) -> None:
    clip = decoder(write_clip(size=(64, 48), rotation=degrees))
    frame = next(iter(clip.frames_at([0.0])))
    wanted = (64, 48) if degrees == 180 else (48, 64)
    assert frame.image.size == wanted == (clip.facts.width, clip.facts.height)
    assert clip.facts.rotation_degrees == degrees


def test_opencv_takes_over_where_decord_is_missing(write_clip: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "decord", None)
    sampled = sample_clip(write_clip(), 4)
    assert sampled.facts.decoder == "OpenCV" and len(sampled.frames) == 4


def test_opencv_takes_over_where_decord_fails(write_clip: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise MediaError("decord cannot")

    monkeypatch.setattr(decoders, "DecordClip", fail)
    sampled = sample_clip(write_clip(), 4)
    assert sampled.facts.decoder == "OpenCV" and len(sampled.frames) == 4


def test_asking_for_more_frames_than_there_are_is_said(write_clip: Writer) -> None:
    sampled = sample_clip(write_clip(frames=3), 10)
    assert len(sampled.frames) == 3 and "3 of 10 frames" in sampled.notes[0]


def test_a_range_and_one_outside(write_clip: Writer) -> None:
    path = write_clip(frames=40, fps=10)
    sampled = sample_clip(path, 3, (1.0, 2.0))
    assert all(1.0 <= f.timestamp_seconds <= 2.0 for f in sampled.frames)
    with pytest.raises(MediaError, match="not within the clip"):
        sample_clip(path, 3, (50.0, 60.0))


def test_large_frames_are_scaled_down(write_clip: Writer) -> None:
    sampled = sample_clip(write_clip(frames=3, size=(1920, 1080)), 1)
    assert max(sampled.frames[0].image.size) == decoders.MAX_FRAME_EDGE and sampled.facts.width == 1920


def test_cancel_and_progress(write_clip: Writer) -> None:
    cancel, seen = threading.Event(), []

    def progress(done: int, of: int) -> None:
        seen.append((done, of))
        if done == 2:
            cancel.set()

    sampled = sample_clip(write_clip(), 10, cancel=cancel, progress=progress)
    assert seen == [(1, 10), (2, 10)] and len(sampled.frames) == 2


@pytest.mark.parametrize(
    "data", [b"", b"no clip at all", encoded(drawn())[:300], b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 200]
)
def test_what_is_no_clip_is_refused_in_words(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(MediaError) as caught:
        open_clip(path)
    assert caught.value.hint
    with pytest.raises(MediaError, match="is not there"):
        open_clip(tmp_path / "missing.mp4")


def test_a_truncated_clip_gives_what_there_is_or_an_error_in_words(write_clip: Writer) -> None:
    whole = write_clip("a.mkv", frames=60)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    try:
        sampled = sample_clip(whole, 8)
    except MediaError:
        return
    levels = [level(f.image) for f in sampled.frames]
    assert levels == sorted(levels) and len(set(f.frame_index for f in sampled.frames)) == len(sampled.frames)


def test_a_recording_without_a_length_in_its_header(tmp_path: Path) -> None:
    """As browsers write it: decord fails, OpenCV reports one frame."""
    import av

    path = tmp_path / "live.mkv"
    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i * 4, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sampled = sample_clip(path, 4)
    assert len(sampled.frames) == 4 and abs(sampled.facts.duration_seconds - 3) < 0.2
