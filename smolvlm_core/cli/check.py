"""`check`: does a backend see? Exit codes: 0 sees, 1 blind, 2 degraded, 3 could not be checked."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from typing import TYPE_CHECKING, Any

from smolvlm_core.cli.terminal import clear_line, status
from smolvlm_core.workspace import Workspace

if TYPE_CHECKING:
    from smolvlm_core.check import Verdict

EXIT_CODES = {"sees": 0, "blind": 1, "degraded": 2, "unchecked": 3}


def add(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="check with newly drawn images whether a backend sees",
        description="Shows the backend newly drawn images until the verdict is clear. "
        "Exit codes: 0 sees, 1 blind, 2 degraded, 3 could not be checked.",
    )
    which = check.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--backend",
        metavar="B",
        help="a model's key, a checkpoint folder, a .gguf file, ollama:MODEL or an added backend's name",
    )
    which.add_argument("--url", metavar="U", help="an OpenAI-compatible server, asked as any chat program asks it")
    check.add_argument("--model", metavar="M", default="", help="the model's name on that server")
    check.add_argument("--key", metavar="K", default="", help="that server's API key")
    check.add_argument(
        "--subjects",
        metavar="S",
        type=_subjects,
        help="comma-separated: shapes (always asked first), text (digits and words), clips. Default: text of models that "
        "should read, clips of backends that take them",
    )
    check.add_argument("--seed", type=int, help="draw the same test images again (default: new ones)")
    check.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="for transformers")
    check.add_argument("--json", action="store_true", help="one JSON object: verdict, figures, every question asked")
    check.invalid_arguments = EXIT_CODES["unchecked"]  # 2 would read as "degraded"
    check.set_defaults(run=_check)


def _subjects(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or not {"shapes", "text", "clips"} >= set(names):
        raise argparse.ArgumentTypeError("give one or more of shapes, text, clips, with commas between")
    return names


def _check(args: argparse.Namespace, workspace: Workspace) -> int:
    from smolvlm_core.backends.remote.openai import OpenAIBackend
    from smolvlm_core.check import check
    from smolvlm_core.check.run import Verdict
    from smolvlm_core.errors import LensError

    by_url = args.url is not None
    name = args.url if by_url else args.backend
    try:
        backend = (
            OpenAIBackend(args.url, args.model, args.key)
            if by_url
            else workspace.registry.make(args.backend, args.dtype)
        )
        verdict = check(backend, lambda done, text: status(text), seed=args.seed, subjects=args.subjects)
        workspace.verdicts.save(backend, verdict)
    except LensError as error:
        verdict = Verdict("unchecked", cause=Exception.__str__(error), fix=error.hint)
    except Exception as error:  # a bug or a full disk: its exit code must not read as a verdict
        traceback.print_exc()
        verdict = Verdict("unchecked", cause=f"It failed unexpectedly: {error!r}.")
    clear_line()
    if args.json:
        print(json.dumps(as_json(name, verdict), indent=1, ensure_ascii=False))
    else:
        print_verdict(name, verdict, sys.stdout)
    return EXIT_CODES[verdict.verdict]


def print_verdict(name: str, verdict: Verdict, to: Any = None) -> None:
    """Print a verdict: to stderr by default."""
    out = to or sys.stderr
    print(f"{name}: {verdict.verdict.upper()}", file=out)
    from smolvlm_core.check import words

    for subject, title in words.SUBJECTS.items():
        if correct := words.correct(verdict, subject):
            result = verdict.subjects.get(subject)
            chance = f"; {words.chance(result.chance)}" if result else ""
            print(f"  {title}: {result.standing if result else 'undecided'}. {correct}{chance}", file=out)
    if verdict.subjects:
        print(f"  {words.effort(verdict)}", file=out)
    if verdict.metadata:
        claims = [what for what in ("images", "video") if verdict.metadata[what]]
        print(f"  it reports support for {' and '.join(claims) or 'text only'} (not counted)", file=out)
    for line in filter(None, (verdict.cause, verdict.fix)):
        print(f"  {line}", file=out)


def as_json(name: str, verdict: Verdict) -> dict[str, Any]:
    from smolvlm_core.check import CONDITIONS

    return {
        "backend": name,
        "verdict": verdict.verdict,
        "confidence": verdict.confidence,
        "probability_by_chance": verdict.chance,
        "accuracy": {c: list(verdict.accuracy(c)) for c in CONDITIONS},
        "subjects": {
            subject: {
                "verdict": found.standing,
                "confidence": found.confidence,
                "probability_by_chance": found.chance,
                "accuracy": {c: list(verdict.accuracy(c, subject)) for c in CONDITIONS},
            }
            for subject, found in verdict.subjects.items()
        },
        "questions": len(verdict.asked),
        "seconds": verdict.seconds,
        "metadata": verdict.metadata,
        "cause": verdict.cause,
        "fix": verdict.fix,
        "asked": [
            {
                "subject": a.canary.subject,
                "condition": a.condition,
                "question": a.canary.question,
                "expected": a.canary.right,
                "answer": a.answer,
                "right": a.right,
                "prompt_tokens": a.prompt_tokens,
            }
            for a in verdict.asked
        ],
    }
