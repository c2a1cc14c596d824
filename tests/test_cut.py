"""Cuts of clips: the frames are those of the original at the same times, whatever the container and the order of its frames."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from smolvlm_core import cli
from smolvlm_core.errors import LensError, MediaError
from smolvlm_core.video import sample_clip, take_frames
from smolvlm_core.video.cut import cut_clip, encoding, suffix_of
from smolvlm_core.video.cut.plan import decoding_times
from smolvlm_core.video.decoders import SamplingCancelled
from tests.clips import number_in, numbered, remuxed, write_numbered
from tests.conftest import rotated

UNEVEN = [number * 100 + number % 7 * 11 for number in range(60)]
RANGES = [(2.0, 2.5), (4.8, 5.2)]


def frames_in(path: Path) -> list[tuple[float, int | None]]:
    return [(round(f.timestamp_seconds, 3), number_in(f.image)) for f in sample_clip(path, 1000).frames]


def beeping(path: Path, at_seconds: float) -> Path:
    """60 numbered frames, 10 a second, and silence but for a tone of 0.2 s."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=rate)
        video.width, video.height, video.pix_fmt, video.gop_size = 160, 96, "yuv420p", 15
        sound.layout = "mono"
        time = np.arange(6 * rate) / rate
        tone = np.where((time >= at_seconds) & (time < at_seconds + 0.2), np.sin(time * 440 * 2 * np.pi), 0)
        for number in range(60):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
            piece = tone[number * rate // 10 : (number + 1) * rate // 10].astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, number * rate // 10
            container.mux(sound.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def beeps_in(path: Path) -> list[float]:
    """When each tone begins: seconds after the first frame."""
    heard: list[float] = []
    with av.open(str(path)) as container:
        first = (container.streams.video[0].start_time or 0) * float(container.streams.video[0].time_base or 0)
        for frame in container.decode(audio=0):
            samples = np.abs(np.asarray(frame.to_ndarray(), dtype=float)[0])
            heard += list(
                float(frame.pts * frame.time_base) - first + np.flatnonzero(samples > 0.3) / frame.sample_rate
            )
    return [at for before, at in zip([-1.0, *heard], heard) if at - before > 0.1]


ODD: dict[str, dict[str, Any]] = {
    "reordered.mp4": {},
    "reordered.mkv": {},
    "reordered.mov": {},
    "uneven.mp4": {"times_ms": UNEVEN},
    "uneven.mkv": {"times_ms": UNEVEN},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "open.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "sound.mp4": {"sound_seconds": 6.0},
    "sound.mkv": {"sound_seconds": 6.0},
}


@pytest.mark.parametrize("name", ODD)
def test_a_copy_has_the_frames_of_the_original_at_the_same_times(tmp_path: Path, name: str) -> None:
    source = write_numbered(tmp_path / name, 60, **ODD[name])
    assert isinstance(source, Path)
    target = tmp_path / f"cut{source.suffix}"
    done = cut_clip(source, RANGES, target)
    old = sample_clip(source, 1000).frames
    expected = [
        (round(f.timestamp_seconds - part.start_seconds + part.at_seconds, 3), f)
        for part in done.parts
        for f in old
        if part.start_seconds - 1e-6 <= f.timestamp_seconds < part.end_seconds - 1e-6
    ]
    new = sample_clip(target, 1000)
    assert [round(f.timestamp_seconds, 3) for f in new.frames] == pytest.approx([at for at, _ in expected], abs=0.0011)
    assert all(np.array_equal(a.pixels, b.pixels) for (_, a), b in zip(expected, new.frames))
    assert not any(frame.damaged for frame in new.frames)
    assert [part.wanted for part in done.parts] == [((2.0, 2.5),), ((4.8, 5.2),)]
    assert all(part.start_seconds <= part.wanted[0][0] and part.end_seconds >= part.wanted[0][1] for part in done.parts)
    assert all(part.earlier_seconds < 0.55 and part.later_seconds < 0.35 for part in done.parts), (
        "not further than it has to"
    )
    assert "times_ms" in ODD[name] or new.facts.duration_seconds == pytest.approx(done.duration_seconds, abs=0.01)
    assert "begins 0.5" in done.describe()[0] or "begins 0.4" in done.describe()[0]


def test_what_an_edit_list_hides_stays_hidden(tmp_path: Path) -> None:
    source = remuxed(write_numbered(tmp_path / "a.mp4", 60), tmp_path / "b.mp4", -0.7)  # type: ignore[arg-type]
    assert frames_in(source)[0] == (0.0, 7)
    done = cut_clip(source, [(0.0, 0.3), (3.9, 4.0)], tmp_path / "c.mp4")
    assert done.parts[0].earlier_seconds == 0
    numbers = [number for _, number in frames_in(tmp_path / "c.mp4")]
    assert numbers[:3] == [7, 8, 9] and 46 in numbers
    done = cut_clip(
        source, [(0.0, 0.3)], tmp_path / "c.mkv"
    )  # Matroska cannot hide them: they are shown, and that is said
    assert done.parts[0].earlier_seconds == pytest.approx(0.7)
    assert frames_in(tmp_path / "c.mkv")[0] == (0.0, 0)


@pytest.mark.parametrize("exact", [False, True])
def test_sound_stays_with_its_frames(tmp_path: Path, exact: bool) -> None:
    source = beeping(tmp_path / "a.mp4", 4.9)
    for name in ("c.mp4", "c.mkv"):
        done = cut_clip(source, RANGES, tmp_path / name, exact=exact)
        part = done.parts[1]
        beeps = beeps_in(tmp_path / name)
        assert len(beeps) == 1
        assert beeps[0] == pytest.approx(4.9 - part.start_seconds + part.at_seconds, abs=0.03)


def test_rotation_stays(tmp_path: Path) -> None:
    source = rotated(write_numbered(tmp_path / "a.mp4", 40), 90)  # type: ignore[arg-type]
    for exact in (False, True):
        cut_clip(source, [(2.0, 2.5)], tmp_path / "c.mp4", exact=exact)
        new = sample_clip(tmp_path / "c.mp4", 1)
        assert (new.facts.width, new.facts.height) == (96, 160)
        assert new.facts.rotation_degrees == (0 if exact else 90)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.avi", "uneven.mkv"])
def test_an_exact_cut_has_just_what_was_asked_for(tmp_path: Path, name: str) -> None:
    more: dict[str, Any] = {
        "a.gif": {"codec": "gif", "pixel_format": "rgb8"},
        "a.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
        "uneven.mkv": {"times_ms": UNEVEN},
    }.get(name, {})
    source = write_numbered(tmp_path / name, 60, **more)
    assert isinstance(source, Path)
    done = cut_clip(source, [(4.83, 5.2), (2.0, 2.5)], tmp_path / "c.mp4", exact=True)
    assert done.describe() == ("0:02–0:02.5: exact", "0:04.83–0:05.2: exact")
    new = sample_clip(tmp_path / "c.mp4", 1000)
    old = take_frames(
        source,
        [2.0 + f.timestamp_seconds if f.timestamp_seconds < 0.4999 else 4.33 + f.timestamp_seconds for f in new.frames],
    )
    assert [number_in(f.image) for f in new.frames] == [number_in(f.image) for f in old.frames]
    assert len(new.frames) in ({9} if "uneven" not in name else {10, 11})
    assert new.frames[0].timestamp_seconds == 0 and any(abs(f.timestamp_seconds - 0.5) < 1e-3 for f in new.frames)
    assert new.facts.duration_seconds == pytest.approx(0.87, abs=0.002)


def test_ranges_that_need_the_same_frames_become_one(tmp_path: Path) -> None:
    source = write_numbered(tmp_path / "a.mp4", 60)
    assert isinstance(source, Path)
    done = cut_clip(source, [(1.9, 2.0), (2.5, 2.6)], tmp_path / "c.mp4")
    assert len(done.parts) == 1 and "one piece" in done.describe()[0]
    assert frames_in(tmp_path / "c.mp4")[0] == (0.0, 15)
    done = cut_clip(source, [(1.9, 2.2), (2.1, 2.6)], tmp_path / "c.mp4", exact=True)
    assert done.duration_seconds == pytest.approx(0.7)
    cut_clip(source, [(2.0, 2.0)], tmp_path / "c.mp4", exact=True)
    assert frames_in(tmp_path / "c.mp4") == [(0.0, 20)], "the frame on screen then"


def test_what_cannot_be_cut_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    source, gif = (
        write_numbered(tmp_path / "a.mp4", 60),
        write_numbered(tmp_path / "a.gif", 9, "gif", pixel_format="rgb8"),
    )
    assert isinstance(source, Path) and isinstance(gif, Path)
    untimed = write_numbered(tmp_path / "a.avi", 30, "mpeg4", options={"bf": "2"})
    assert isinstance(untimed, Path)
    before, target = sorted(tmp_path.iterdir()), tmp_path / "c.mp4"
    for clip, ranges, name, message in (
        (source, [], "c.mp4", "nothing to cut"),
        (source, [(6.5, 7.0)], "c.mp4", "not within the clip"),
        (source, RANGES, "c.txt", "no format"),
        (source, RANGES, "c.webm", "exact cut"),
        (source, RANGES, "a.mp4", "the clip itself"),
        (gif, [(0.1, 0.2)], "c.mp4", "exact cut"),
        (untimed, [(0.1, 0.2)], "c.avi", "exact cut"),
        (tmp_path / "none.mp4", RANGES, "c.mp4", "none.mp4"),
    ):
        with pytest.raises(LensError) as raised:
            cut_clip(clip, ranges, tmp_path / name)
        assert message in str(raised.value)
    cancel = threading.Event()
    cancel.set()
    for exact in (False, True):
        with pytest.raises(SamplingCancelled):
            cut_clip(source, RANGES, target, exact=exact, cancel=cancel)
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(MediaError):
        suffix_of(gif)
    assert suffix_of(source) == suffix_of(gif, exact=True) == ".mp4"


@pytest.mark.parametrize("order", [[0], [0, 1, 2], [0, 4, 2, 1, 3, 8, 6, 5, 7], [0, 40, 11, 10, 39, 41]])
def test_frames_are_decoded_in_time(order: list[int]) -> None:
    decoded = decoding_times(order, max(order) + 1)
    assert sorted(set(decoded)) == decoded
    assert all(at <= shown for at, shown in zip(decoded, order))


def test_the_command_says_how_much_earlier_parts_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_numbered(tmp_path / "a.mp4", 60)
    assert cli.main(["cut", str(tmp_path / "a.mp4"), "0:02-0:02.5", "4.8-5.2", "--out", str(tmp_path / "c.mp4")]) == 0
    assert "begins 0.50 s earlier, at the keyframe at 0:01.5" in capsys.readouterr().out
    assert cli.main(["cut", str(tmp_path / "a.mp4"), "0:12-0:13", "--out", str(tmp_path / "d.mp4")]) == 1
    assert "ends at 0:06" in capsys.readouterr().err and not (tmp_path / "d.mp4").exists()


def test_sound_stops_where_it_is_cancelled_and_a_clip_is_closed_where_its_sound_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, cancel, closed = beeping(tmp_path / "a.mp4", 1.0), threading.Event(), []
    finish = encoding._Encoding._finish
    monkeypatch.setattr(encoding._Encoding, "_finish", lambda *args: (cancel.set(), finish(*args)))
    with (tmp_path / "b.mp4").open("wb") as file, pytest.raises(SamplingCancelled):
        encoding.encode_again(clip, [(0.0, 0.05)], file, "mp4", lambda text, fraction: None, cancel)

    def broken(*args: Any) -> None:
        raise ValueError("no sound")

    monkeypatch.setattr(encoding, "Sound", broken)
    monkeypatch.setattr(encoding.PyAvClip, "close", lambda clip: closed.append(clip))
    with (tmp_path / "c.mp4").open("wb") as file, pytest.raises(MediaError, match="no sound"):
        encoding.encode_again(clip, [(0.0, 0.05)], file, "mp4", lambda text, fraction: None, None)
    assert len(closed) == 1
