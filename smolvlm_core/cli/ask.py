"""`ask`: asks one question, optionally about images or a clip, and prints the answer to stdout."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smolvlm_core import media
from smolvlm_core.backends.base import Backend, Reply, collect
from smolvlm_core.cli.model import add_model, chosen_backend
from smolvlm_core.cli.terminal import clear_line, positive, status, time_range
from smolvlm_core.compare.columns import from_cache
from smolvlm_core.conversations.unsaved import ClipSampling, UnsavedMedia
from smolvlm_core.errors import BackendError
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings
from smolvlm_core.prompt.messages import Attachment, Message
from smolvlm_core.workspace import Workspace


def add(commands: Any) -> None:
    ask = commands.add_parser(
        "ask",
        help="ask a question, optionally about images or a clip",
        description="Ask a question. The answer is printed to stdout.",
    )
    ask.add_argument("question")
    add_model(ask)
    ask.add_argument(
        "--image",
        metavar="F",
        type=Path,
        action="append",
        default=[],
        help="an image; repeat the option for several images",
    )
    ask.add_argument("--video", metavar="F", type=Path, help="a clip")
    ask.add_argument(
        "--frames",
        metavar="N",
        type=positive,
        help="number of frames to sample from the clip (default: the model's own rule)",
    )
    ask.add_argument("--range", metavar="A-B", type=time_range, help="only this part of the clip, such as 12:30-13:00")
    ask.add_argument("--max-new-tokens", metavar="N", type=positive, default=256)
    ask.add_argument("--temperature", metavar="T", type=float, default=0.0, help="0 (default) means greedy decoding")
    ask.add_argument("--seed", metavar="N", type=int, default=0)
    ask.add_argument(
        "--cold",
        action="store_true",
        help="encode and read everything again, whatever caches hold: for a fair time to first token",
    )
    ask.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object: answer, model, attachments, frames, settings and statistics",
    )
    ask.set_defaults(run=_ask, wrong=ask.error)


def _ask(args: argparse.Namespace, workspace: Workspace) -> int:
    if args.image and args.video:
        args.wrong("--image and --video cannot be used together. Ask about them in separate commands.")
    if args.frames and not args.video:
        args.wrong("--frames needs --video")
    if args.range and not args.video:
        args.wrong("--range needs --video")
    try:
        settings = GenerationSettings(max_new_tokens=args.max_new_tokens, temperature=args.temperature, seed=args.seed)
    except ValueError as error:
        args.wrong(str(error))
    backend = chosen_backend(args, workspace)
    if args.cold:
        backend = _cold(backend)
    spec = backend.spec
    given = UnsavedMedia()
    attachments = [given.add_picture(media.open_image_file(path)) for path in args.image]
    if args.video:
        attachments.append(
            given.add_clip(
                args.video,
                args.video.name,
                ClipSampling(frames=args.frames, range_seconds=args.range),
                model_fps=spec.video_fps,
                model_max_frames=spec.video_max_frames,
                progress=lambda done, of: status(f"Frame {done} of {of}"),
            )
        )
    for attachment in attachments:
        for note in attachment.notes:
            print(f"{attachment.name}: {note}", file=sys.stderr)
    prompt = build_prompt([Message("user", args.question, tuple(attachments))], given.open)

    events = backend.generate(prompt, settings, threading.Event())
    reply = _print_answer(events, quiet=args.json, can_be_cold=backend.cold() is not None)
    if args.json:
        value = {
            "answer": reply.text,
            "model": spec.key,
            "backend": backend.name,
            "revision": backend.revision,
            **_shown(attachments),
            "settings": asdict(settings),
            "stats": asdict(reply.stats),
        }
        print(json.dumps(value, indent=1, ensure_ascii=False))
    return 0


def _shown(attachments: Sequence[Attachment]) -> dict[str, Any]:
    """For --json: the pictures, and the frames of clips."""
    return {
        "attachments": [
            {"name": a.name, "sha256": a.sha256, "width": a.width, "height": a.height, "notes": a.notes}
            for a in attachments
        ],
        "frames": [
            {"timestamp_seconds": f.timestamp_seconds, "frame_index": f.frame_index}
            for a in attachments
            for f in a.frames
        ],
    }


def _cold(backend: Backend) -> Backend:
    """Raises BackendError where the app cannot make sure of that."""
    cold = backend.cold()
    if cold is None:
        raise BackendError(
            f"{backend.name} cannot be asked with --cold: its server decides what it caches.", "Leave out --cold."
        )
    return cold


def _print_answer(events: Iterable[Event], *, quiet: bool, can_be_cold: bool) -> Reply:
    """Print the answer as it arrives, unless `quiet`. `can_be_cold`: whether --cold would work."""
    reply = collect(_printed(events, quiet), lambda progress: status(progress.text))
    clear_line()
    if not quiet:
        print()
        print(reply.stats.summary(), file=sys.stderr)
        if reply.stats.known_tiles or reply.stats.reused_tokens:
            advice = " (--cold computes them again)" if can_be_cold else ""
            print(f"from cache: {from_cache(reply.stats, True)}{advice}", file=sys.stderr)
        if reply.stats.stop_reason in ("length", "context"):
            reason = "--max-new-tokens was reached" if reply.stats.stop_reason == "length" else "the context is full"
            print(f"the answer was cut off: {reason}", file=sys.stderr)
    return reply


def _printed(events: Iterable[Event], quiet: bool) -> Iterator[Event]:
    started = False
    for event in events:
        if isinstance(event, Delta):
            if not started:
                clear_line()
            started = True
            if not quiet:
                print(event.text, end="", flush=True)
        yield event
