"""`batch`: the same question about many pictures and clips, one JSON line each. Ctrl-C ends it; the next run goes on."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.model import add_endpoints, add_model, chosen_entry
from smolvlm_core.cli.terminal import clear_line, positive, status
from smolvlm_core.errors import LensError
from smolvlm_core.reading import read_text
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.backends.base import Backend
    from smolvlm_core.batch.engine import Engine
    from smolvlm_core.batch.plan import Plan
    from smolvlm_core.batch.records import Record
    from smolvlm_core.batch.run import Batch, BatchProgress
    from smolvlm_core.batch.sidecars import Sidecars
    from smolvlm_core.work.gate import Gate

INTERRUPTED = 130
MAX_SCHEMA_BYTES = 2**20
PATIENCE_SECONDS = 300.0  # for servers that are all gone: a restart takes as long


def add(commands: Any) -> None:
    batch = commands.add_parser(
        "batch",
        help="ask the same question about many pictures and clips",
        description="Ask about every picture and clip of the inputs and write one JSON line for each. Run the same command "
        "again to go on after an interruption: answered files are skipped, failed and changed ones are asked again.",
    )
    batch.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="a folder, a file, a quoted glob, a zip archive, or a CSV or JSONL list with a column `path` and, "
        "optionally, `prompt`",
    )
    batch.add_argument("--prompt", metavar="P", default="", help="the question, for all items without one in a list")
    batch.add_argument("--out", metavar="F", type=Path, default=Path("results.jsonl"), help="default: results.jsonl")
    batch.add_argument("--csv", metavar="F", type=Path, help="at the end, also write the results as a table")
    add_model(batch)
    add_endpoints(batch)
    batch.add_argument("--parallel", metavar="N", type=positive, default=8, help="answers at once (default: 8)")
    _add_engine(batch.add_argument_group("engine"))
    _add_answers(batch.add_argument_group("answers"))
    _add_clips(batch.add_argument_group("clips"))
    _add_sidecars(batch.add_argument_group("sidecars: a text file beside each picture or clip, for captioning tools"))
    batch.set_defaults(run=_batch, wrong=batch.error)


def _add_engine(group: Any) -> None:
    group.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="local (default), or the workers of a Ray cluster"
    )
    group.add_argument(
        "--ray-address",
        metavar="A",
        default="auto",
        help="auto (default) or HOST:PORT; local starts Ray on this machine",
    )
    group.add_argument("--ray-actors", metavar="N", type=positive, default=1, help="workers, each with its own model")
    group.add_argument(
        "--ray-cpus", metavar="N", type=float, default=1.0, help="that each worker reserves (default: 1)"
    )
    group.add_argument(
        "--ray-gpus", metavar="N", type=float, default=0.0, help="that each worker reserves (default: 0)"
    )


def _add_answers(group: Any) -> None:
    group.add_argument("--max-new-tokens", metavar="N", type=positive, default=256)
    group.add_argument("--temperature", metavar="T", type=float, default=0.0, help="0 (default) means greedy decoding")
    group.add_argument("--seed", metavar="N", type=int, default=0)
    group.add_argument("--system", metavar="P", default="", help="a system prompt")
    group.add_argument("--json-schema", metavar="F", type=Path, help="answers must be JSON that follows this schema")


def _add_clips(group: Any) -> None:
    how = group.add_mutually_exclusive_group()
    how.add_argument("--frames", metavar="N", type=positive, help="frames of each clip (default: the model's own rule)")
    how.add_argument("--fps", metavar="F", type=float, help="frames for each second of a clip")
    group.add_argument("--scenes", action="store_true", help="frames that differ most, so that short events are seen")
    group.add_argument(
        "--video-prompt",
        choices=("processor", "vlmevalkit"),
        default="processor",
        help="how a clip is introduced: as SmolVLM2's processor does (default), or as VLMEvalKit does",
    )


def _add_sidecars(group: Any) -> None:
    group.add_argument("--sidecar", action="store_true", help="write them")
    group.add_argument(
        "--sidecar-suffix", metavar="S", default=".txt", help="in place of the extension (default: .txt)"
    )
    group.add_argument("--prefix", metavar="T", default="", help="text before each answer")
    group.add_argument("--suffix", metavar="T", default="", help="text after each answer")
    group.add_argument(
        "--existing",
        choices=("skip", "overwrite", "append"),
        default="skip",
        help="what to do with a sidecar that is there already (default: skip)",
    )


def _batch(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.batch.inputs import expand
    from smolvlm_core.batch.results import Results, export_csv
    from smolvlm_core.batch.run import Batch
    from smolvlm_core.work.gate import Gate

    sidecars, schema = _sidecars(args), _schema(args.json_schema)
    if args.endpoint and args.engine == "ray":
        args.wrong("--endpoint spreads the questions itself: use it without --engine ray")
    entry = chosen_entry(args, workspace, patience_seconds=PATIENCE_SECONDS)
    backend = entry.make(workspace.pool, args.dtype)
    plan, gate = _plan(args, backend, schema), Gate()
    with Results(args.out) as results:
        batch = Batch(
            expand(args.inputs, args.prompt),
            plan,
            _engine(args, plan, entry.key, backend, gate),
            results,
            sidecars=sidecars,
            gate=gate,
            on_record=_print_failure,
        )
        progress, interrupted = _run(batch)
        if args.csv:
            export_csv(results.records(), args.csv)
    _print_summary(args, progress, sidecars)
    if interrupted:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    return 1 if progress.failed or progress.remaining or (sidecars and sidecars.problem) else 0


def _engine(args: argparse.Namespace, plan: Plan, model: str, backend: Backend, gate: Gate) -> Engine:
    """What answers. `model`: a name that workers on other machines find, too."""
    if args.engine == "ray":
        from smolvlm_core.batch.ray_runner import RaySettings, ray_engine

        cluster = RaySettings(address=args.ray_address, actors=args.ray_actors, cpus=args.ray_cpus, gpus=args.ray_gpus)
        is_file = args.model is not None and Path(args.model).exists()  # workers have another working folder
        name = str(Path(args.model).resolve()) if is_file else args.model or model
        return ray_engine(plan, name, cluster, precision=args.dtype)
    from smolvlm_core.batch.local import LocalEngine

    return LocalEngine(plan, backend, parallel=args.parallel, gate=gate, loading=lambda event: status(event.text))


def _plan(args: argparse.Namespace, backend: Backend, schema: str) -> Plan:
    """Ends the command where a value is outside its range."""
    from smolvlm_core.batch.plan import Plan
    from smolvlm_core.conversations.unsaved import ClipSampling
    from smolvlm_core.prompt.generation import GenerationSettings

    enforced = schema if schema and backend.capabilities().json_schema else ""
    try:
        settings = GenerationSettings(
            max_new_tokens=args.max_new_tokens,
            temperature=args.temperature,
            seed=args.seed,
            system_prompt=args.system,
            json_schema=enforced,
        )
        sampling = ClipSampling(frames=args.frames, fps=args.fps, strategy="scenes" if args.scenes else "even")
    except ValueError as error:
        args.wrong(str(error))
    return Plan(
        model=backend.identity(),
        settings=settings,
        sampling=sampling,
        video_prompt=args.video_prompt,
        json_schema=schema,
    )


def _schema(path: Path | None) -> str:
    """The schema as text; "" for none. Raises LensError where it is no schema."""
    from smolvlm_core.batch.schema import check_schema

    if path is None:
        return ""
    text = read_text(path, LensError, MAX_SCHEMA_BYTES)
    check_schema(text, str(path))
    return text


def _sidecars(args: argparse.Namespace) -> Sidecars | None:
    from smolvlm_core.batch.sidecars import SidecarOptions, Sidecars

    if not args.sidecar:
        if args.prefix or args.suffix:
            args.wrong("--prefix and --suffix need --sidecar")
        return None
    try:
        options = SidecarOptions(
            suffix=args.sidecar_suffix, before=args.prefix, after=args.suffix, existing=args.existing
        )
    except ValueError as error:
        args.wrong(str(error))
    return Sidecars(options)


def _run(batch: Batch) -> tuple[BatchProgress, bool]:
    """(where it stands at the end, whether Ctrl-C ended it). A second Ctrl-C does not wait for running answers."""
    cancel = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        cancel.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        progress = batch.run(lambda text, fraction: status(text), cancel)
    finally:
        signal.signal(signal.SIGINT, before)
        clear_line()
    return progress, cancel.is_set()


def _print_failure(record: Record) -> None:
    if record.failed:
        clear_line()
        name = "" if record.item in record.error else f"{record.item}: "
        print(f"failed: {name}{record.error}", file=sys.stderr)


def _print_summary(args: argparse.Namespace, progress: BatchProgress, sidecars: Sidecars | None) -> None:
    parts = [
        f"{progress.answered:,} answered",
        f"{progress.failed:,} failed",
        f"{progress.skipped:,} answered before",
    ]
    if progress.remaining:
        parts.append(f"{progress.remaining:,} not asked")
    print(f"{args.out}: {', '.join(parts)}", file=sys.stderr)
    if progress.cut_off:
        print(
            f"{progress.cut_off:,} answers were cut off: raise --max-new-tokens, or show fewer pictures",
            file=sys.stderr,
        )
    if sidecars is not None:
        for line in sidecars.describe():
            print(line, file=sys.stderr)
