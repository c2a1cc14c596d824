"""`python -m smolvlm_core`: ask about pictures and clips, list the models. Answers on stdout, all else on stderr.

Exit codes: 0 done, 1 it failed (the reason is on stderr), 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from smolvlm_core import media
from smolvlm_core.backends.base import Delta, GenerationSettings, Progress, Stats
from smolvlm_core.catalog import ModelSpec, default_model, find, is_cached, models
from smolvlm_core.chat import Attachment, Message
from smolvlm_core.errors import LensError
from smolvlm_core.machine import GIB, this_machine
from smolvlm_core.prompt import build_prompt


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except LensError as error:
        _clear_line()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m smolvlm_core", description="Ask SmolVLM2 about pictures and clips."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ask = commands.add_parser(
        "ask",
        help="ask a question, about pictures or a clip if given",
        description="Ask a question; the answer goes to stdout.",
    )
    ask.add_argument("question")
    ask.add_argument(
        "--model", metavar="M", help="a model's key, hub id or checkpoint folder (default: what suits this machine)"
    )
    ask.add_argument(
        "--image", metavar="F", type=Path, action="append", default=[], help="a picture; may be given several times"
    )
    ask.add_argument("--video", metavar="F", type=Path, help="a clip")
    ask.add_argument(
        "--frames", metavar="N", type=_positive, help="frames to take from the clip (default: the model's own rule)"
    )
    ask.add_argument("--max-new-tokens", metavar="N", type=_positive, default=256)
    ask.add_argument(
        "--temperature", metavar="T", type=float, default=0.0, help="0 (the default) always takes the likeliest token"
    )
    ask.add_argument("--seed", metavar="N", type=int, default=0)
    ask.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    ask.add_argument(
        "--json", action="store_true", help="one JSON object: answer, model, what it was shown, statistics"
    )
    ask.set_defaults(run=_ask, wrong=ask.error)
    listing = commands.add_parser("models", help="list the models and which one suits this machine")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_models)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _ask(args: argparse.Namespace) -> int:
    if args.image and args.video:
        args.wrong("--image and --video cannot be used together: ask about them in two calls")
    if args.frames and not args.video:
        args.wrong("--frames needs --video")
    try:
        settings = GenerationSettings(args.max_new_tokens, args.temperature, seed=args.seed)
    except ValueError as error:
        args.wrong(str(error))
    spec, why = (find(args.model), "") if args.model else default_model(this_machine())
    if why:
        print(f"{spec.title}: {why}", file=sys.stderr)
    shown: dict[str, Image.Image] = {}
    attachments = [_image(path, shown) for path in args.image] + (
        [_clip(args.video, args.frames, spec, shown)] if args.video else []
    )
    for attachment in attachments:
        for note in attachment.notes:
            print(f"{attachment.name}: {note}", file=sys.stderr)
    prompt = build_prompt([Message("user", args.question, tuple(attachments))], shown.__getitem__)

    from smolvlm_core.backends.transformers import TransformersBackend

    backend = TransformersBackend(spec, args.dtype)
    answer, stats = _stream(backend.generate(prompt, settings, threading.Event()), quiet=args.json)
    if args.json:
        frames = [
            {"timestamp_seconds": f.timestamp_seconds, "frame_index": f.frame_index}
            for a in attachments
            for f in a.frames
        ]
        given = [
            {"name": a.name, "sha256": a.sha256, "width": a.width, "height": a.height, "notes": a.notes}
            for a in attachments
        ]
        value = {
            "answer": answer,
            "model": spec.key,
            "backend": backend.name,
            "revision": backend.revision,
            "attachments": given,
            "frames": frames,
            "settings": asdict(settings),
            "stats": asdict(stats),
        }
        print(json.dumps(value, indent=1, ensure_ascii=False))
    return 0


def _stream(events: Any, quiet: bool) -> tuple[str, Stats]:
    answer, stats = "", Stats("failed")
    for event in events:
        if isinstance(event, Progress):
            _status(event.text)
        elif isinstance(event, Delta):
            if not answer:
                _clear_line()
            answer += event.text
            if not quiet:
                print(event.text, end="", flush=True)
        else:
            stats = event
    _clear_line()
    if not quiet:
        print()
        first = stats.time_to_first_token_seconds
        print(
            f"{stats.image_tokens} image tokens, first token after {first or 0:.2f} s, {stats.tokens_per_second or 0:.0f} tokens/s",
            file=sys.stderr,
        )
        if stats.stop_reason in ("length", "context"):
            print(
                "the answer was cut: "
                + ("--max-new-tokens was reached" if stats.stop_reason == "length" else "the context is full"),
                file=sys.stderr,
            )
    return answer, stats


def _image(path: Path, shown: dict[str, Image.Image]) -> Attachment:
    picture = media.open_image_file(path)
    shown[picture.sha256] = picture.image
    return Attachment(
        "image", picture.sha256, path.name, picture.mime, picture.width, picture.height, notes=picture.notes
    )


def _clip(path: Path, count: int | None, spec: ModelSpec, shown: dict[str, Image.Image]) -> Attachment:
    from smolvlm_core.attach import describe_clip
    from smolvlm_core.video import default_frame_count, open_clip, sample_clip

    if count is None:
        clip = open_clip(path)
        count = default_frame_count(clip.facts.duration_seconds, spec.video_fps, spec.video_max_frames)
        clip.close()
    sampled = sample_clip(path, count, progress=lambda done, of: _status(f"Frame {done} of {of}"))
    attachment, _ = describe_clip("", path.name, sampled)
    shown.update((ref.sha256, frame.image) for ref, frame in zip(attachment.frames, sampled.frames))
    return attachment


def _models(args: argparse.Namespace) -> int:
    machine = this_machine()
    chosen, why = default_model(machine)
    rows: list[dict[str, Any]] = [
        {
            "key": s.key,
            "repo_id": s.repo_id,
            "revision": s.revision,
            "parameters": s.parameters,
            "weights_bytes": s.weights_bytes,
            "memory_bytes": s.memory_bytes,
            "tokens_per_square_image": s.tokens_per_square_image,
            "tokens_per_frame": s.geometry.tokens_per_tile,
            "context_tokens": s.context_tokens,
            "licence": s.licence,
            "on_this_machine": is_cached(s),
            "default": s.key == chosen.key,
            "note": s.note,
        }
        for s in models()
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"{'':2}{'model':28}{'weights':>10}{'memory':>10}{'image':>8}{'frame':>7}{'context':>9}  here  licence")
    for row in rows:
        mark = "* " if row["default"] else "  "
        sizes = f"{row['weights_bytes'] / GIB:>6.2f} GiB{row['memory_bytes'] / GIB:>6.1f} GiB"
        costs = f"{row['tokens_per_square_image']:>8}{row['tokens_per_frame']:>7}{row['context_tokens']:>9}"
        print(f"{mark}{row['key']:28}{sizes}{costs}  {'yes ' if row['on_this_machine'] else 'no  '}  {row['licence']}")
    print("image, frame: tokens for a square picture and for one video frame", file=sys.stderr)
    print(f"* {why}", file=sys.stderr)
    print(f"this machine: {machine.told()}", file=sys.stderr)
    return 0


def _status(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _clear_line() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
