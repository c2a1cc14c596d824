"""A comparison as Markdown, JSON or one HTML file that needs no other: pictures, prompts, settings, answers, figures."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from smolvlm_core import media
from smolvlm_core.compare import summary
from smolvlm_core.compare.columns import Column, ColumnAnswer, differences, from_cache
from smolvlm_core.compare.run import Comparison
from smolvlm_core.compare.summary import LastVerdict
from smolvlm_core.markdown import code_block, code_span
from smolvlm_core.prompt.build import Slot
from smolvlm_core.prompt.generation import Stats
from smolvlm_core.text import escape_markdown

HEAD = (
    "Backend",
    "First token",
    "Tokens/s",
    "Image tokens",
    "From cache",
    "Memory",
    "Load",
    "First token, text only",
)
CACHING = {
    "warm": "Warm: what was in caches was used.",
    "cold": "Cold: everything was encoded and read again.",
    "both": "Cold: everything was encoded and read again. Then each question was asked once more for its warm first token.",
}
TEMPLATE = Path(__file__).with_name("report.html.j2")


def to_json(comparison: Comparison, last_verdict: LastVerdict) -> str:
    """Everything. Pictures are base64 PNG by the key that prompts use: the SHA-256 of the file they came in."""
    value: dict[str, Any] = {
        "begun": _day(comparison.begun),
        "settings": asdict(comparison.settings),
        "caching": comparison.caching,
        "machine": summary.machine(),
        "summary": [asdict(row) for row in summary.rows(comparison, last_verdict)],
        "questions": [
            {
                "question": question,
                "prompt": prompt.text,
                "fingerprint": prompt.fingerprint,
                "pictures": [{"label": slot.label, "key": slot.sha256} for slot in prompt.slots],
                "vote": asdict(comparison.voted[n]) if n in comparison.voted else None,
                "order": [column.name for column in comparison.shown(n)],
            }
            for n, (question, prompt) in enumerate(zip(comparison.questions, comparison.prompts))
        ],
        "backends": [_column_json(column, last_verdict) for column in comparison.columns],
        "votes_were_blind": comparison.blind,
        "pictures": {slot.sha256: _base64(slot) for slot in _slots(comparison)},
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def _column_json(column: Column, last_verdict: LastVerdict) -> dict[str, Any]:
    verdict = last_verdict(column.backend)
    return {
        "name": column.name,
        "verdict": asdict(verdict) if verdict else None,
        "state": column.state,
        "device": column.backend.device,
        "revision": column.revision,
        "files_sha256": column.files,
        "load_seconds": column.load_seconds,
        "text_first_token_seconds": column.text_seconds,
        "can_be_cold": column.can_be_cold,
        "replies": [
            {
                "text": a.text,
                "error": a.error,
                "stats": asdict(a.stats) if a.stats else {},
                "again": asdict(a.again) if a.again else None,
            }
            for a in column.answers
        ],
    }


def to_markdown(comparison: Comparison, last_verdict: LastVerdict) -> str:
    lines = [f"# Comparison of {_day(comparison.begun)}", "", f"Settings: {code_span(_settings(comparison))}", ""]
    lines += [*_summary_lines(comparison, last_verdict), ""]
    for slot in _slots(comparison):
        lines += [
            f"{escape_markdown(slot.label)} ![{escape_markdown(slot.label)}](data:image/png;base64,{_base64(slot)})",
            "",
        ]
    for n in range(len(comparison.questions)):
        lines += _question_lines(comparison, n)
    lines += ["## Machine", ""]
    lines += [f"- {name}: {escape_markdown(value)}" for name, value in summary.machine().items()]
    lines += ["", "## Models and files", ""]
    for column in comparison.columns:
        lines.append(f"- {escape_markdown(_model(column, last_verdict))}")
        lines += [f"  - {code_span(name)} sha256 `{digest}`" for name, digest in column.files.items()]
    return "\n".join([*lines, ""])


def _summary_lines(comparison: Comparison, last_verdict: LastVerdict) -> list[str]:
    lines = [f"| {' | '.join(summary.HEAD)} |", "|---" * len(summary.HEAD) + "|"]
    for row in summary.rows(comparison, last_verdict):
        lines.append(f"| {' | '.join(map(escape_markdown, row.cells()))} |")
    return [*lines, "", CACHING[comparison.caching]]


def _question_lines(comparison: Comparison, n: int) -> list[str]:
    prompt = comparison.prompts[n]
    lines = [
        f"## {escape_markdown(comparison.questions[n])}",
        "",
        f"Prompt and pictures: `{prompt.fingerprint}`",
        "",
    ]
    lines += [code_block(prompt.text), ""]
    lines += [f"| {' | '.join((HEAD[0], 'answer', *HEAD[1:]))} |", "|---" * (len(HEAD) + 1) + "|"]
    for column in comparison.columns:
        answer = column.answers[n]
        cells = (escape_markdown(column.name), _markdown_cell(answer), *figure_cells(column, answer))
        lines.append(f"| {' | '.join(cells)} |")
    if n in comparison.voted:
        lines += ["", escape_markdown(comparison.voted[n].describe(comparison.answered(n)))]
    return [*lines, ""]


def to_html(comparison: Comparison, last_verdict: LastVerdict) -> str:
    """One file that fetches nothing. Words that differ from the first answer's are marked."""
    return str(
        _template().render(
            day=_day(comparison.begun),
            heads=(HEAD[0], "Answer", *HEAD[1:]),
            pictures=[{"label": s.label, "uri": f"data:image/png;base64,{_base64(s)}"} for s in _slots(comparison)],
            questions=[_question_html(comparison, n) for n in range(len(comparison.questions))],
            models=[{"line": _model(c, last_verdict), "files": list(c.files.items())} for c in comparison.columns],
            settings=_settings(comparison),
            caching=CACHING[comparison.caching],
            summary={"heads": summary.HEAD, "rows": [row.cells() for row in summary.rows(comparison, last_verdict)]},
            machine=summary.machine(),
        )
    )


@cache
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))


def _question_html(comparison: Comparison, n: int) -> dict[str, Any]:
    reference = comparison.reference(n).answers[n].text
    rows = [
        {
            "name": column.name,
            "pieces": differences(column.answers[n].text, reference),
            "notes": _notes(column.answers[n]),
            "figures": figure_cells(column, column.answers[n]),
        }
        for column in comparison.columns
    ]
    prompt = comparison.prompts[n]
    return {
        "text": comparison.questions[n],
        "rows": rows,
        "vote": comparison.voted[n].describe(comparison.answered(n)) if n in comparison.voted else "",
        "prompt": prompt.text,
        "fingerprint": prompt.fingerprint,
    }


def figure_cells(column: Column, answer: ColumnAnswer) -> tuple[str, ...]:
    """The figures of HEAD, after the backend's name. "–" for what is unknown."""
    stats = answer.stats
    if stats is None:
        return ("–",) * (len(HEAD) - 1)
    speed, again = stats.tokens_per_second, answer.again
    return (
        summary.first_tokens(
            stats.time_to_first_token_seconds,
            again.time_to_first_token_seconds if again else None,
            column.can_be_cold,
        ),
        f"{speed:.0f}" if speed else "–",
        f"{stats.image_tokens:,}" if stats.image_tokens else "–",
        from_cache(stats, column.can_be_cold),
        _memory(stats),
        f"{column.load_seconds:.1f} s" if column.load_seconds is not None else "–",
        f"{column.text_seconds:.2f} s" if column.text_seconds is not None else "–",
    )


def _memory(stats: Stats) -> str:
    weights = f"{stats.weights_bytes / 2**20:,.0f} MiB of weights" if stats.weights_bytes else ""
    peak = f"peak {stats.peak_memory_bytes / 2**20:,.0f} MiB of {stats.memory_of}" if stats.peak_memory_bytes else ""
    return ", ".join(filter(None, (weights, peak))) or "–"


def _model(column: Column, last_verdict: LastVerdict) -> str:
    """What answered, and whether it was found to see."""
    stored = last_verdict(column.backend)
    verdict = f"{stored.verdict}, checked {_day(stored.when)}" if stored else "not checked"
    return f"{column.name}: {verdict}; {column.revision or 'revision unknown'}, on {column.backend.device}"


def _notes(answer: ColumnAnswer) -> list[str]:
    return [note for note in (answer.error, answer.why_incomplete) if note]


def _markdown_cell(answer: ColumnAnswer) -> str:
    """In one line, as plain text: a cell cannot have lists or code."""
    text = "<br>".join(escape_markdown(line) for line in answer.text.splitlines())
    return " ".join(filter(None, (text, *(f"*{escape_markdown(note)}*" for note in _notes(answer))))) or "*No answer*"


def _slots(comparison: Comparison) -> tuple[Slot, ...]:
    """The pictures of all questions, each once: a frame that is shown twice has two labels."""
    return tuple(dict.fromkeys(slot for prompt in comparison.prompts for slot in prompt.slots))


def _settings(comparison: Comparison) -> str:
    return json.dumps(asdict(comparison.settings))


def _base64(slot: Slot) -> str:
    return base64.b64encode(media.png_bytes(slot.open().convert("RGB"))).decode()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
