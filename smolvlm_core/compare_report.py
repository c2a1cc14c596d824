"""A comparison as Markdown, JSON or one HTML file that stands by itself: pictures, prompts, settings, answers, figures."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from smolvlm_core.backends.openai_api import picture_bytes
from smolvlm_core.compare import Column, Comparison, Reply, figures, marked

HEAD = ("backend", "first token", "tokens/s", "image tokens", "memory", "load: cold, warm")


def to_json(comparison: Comparison) -> str:
    """Everything; pictures as base64 PNG by SHA-256."""
    value: dict[str, Any] = {
        "begun": _day(comparison),
        "settings": asdict(comparison.settings),
        "questions": [
            {"question": q, "prompt": p.text, "fingerprint": p.fingerprint, "pictures": [s.sha256 for s in p.slots]}
            for q, p in zip(comparison.questions, comparison.prompts)
        ],
        "backends": [
            {
                "name": c.name,
                "state": c.state,
                "device": c.device,
                "revision": c.revision,
                "files_sha256": c.files,
                "cold_seconds": c.cold_seconds,
                "warm_seconds": c.warm_seconds,
                "replies": [{"text": r.text, "error": r.error, "stats": figures(r)} for r in c.replies],
            }
            for c in comparison.columns
        ],
        "preferred": {comparison.questions[n]: name for n, name in comparison.voted.items()},
        "pictures": _pictures(comparison),
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def to_markdown(comparison: Comparison) -> str:
    lines = [f"# Comparison of {_day(comparison)}", "", f"Settings: `{json.dumps(asdict(comparison.settings))}`", ""]
    for sha256, data in _pictures(comparison).items():
        lines += [f"![{sha256[:12]}](data:image/png;base64,{data})", ""]
    for n, (question, prompt) in enumerate(zip(comparison.questions, comparison.prompts)):
        lines += [f"## {question}", "", f"Prompt and pictures: `{prompt.fingerprint}`", ""]
        lines += [f"| {' | '.join((HEAD[0], 'answer', *HEAD[1:]))} |", "|---" * (len(HEAD) + 1) + "|"]
        for column in comparison.columns:
            reply = column.replies[n]
            cells = (column.name, _cell(reply), *told_figures(column, reply))
            lines.append(f"| {' | '.join(cells)} |")
        if n in comparison.voted:
            lines += ["", f"Preferred: {comparison.voted[n]}"]
        lines.append("")
    lines += ["## Models and files", ""]
    for column in comparison.columns:
        lines.append(f"- {column.name}: {column.revision or 'revision unknown'}, on {column.device}")
        lines += [f"  - `{name}` sha256 `{digest}`" for name, digest in column.files.items()]
    return "\n".join([*lines, ""])


def to_html(comparison: Comparison) -> str:
    """One file, nothing fetched from elsewhere; words that differ from the first column's are marked."""
    e = html.escape
    pictures = "".join(f'<img alt="" src="data:image/png;base64,{d}">' for d in _pictures(comparison).values())
    parts = []
    for n, (question, prompt) in enumerate(zip(comparison.questions, comparison.prompts)):
        rows = []
        for column in comparison.columns:
            reply = column.replies[n]
            cells = (f"<b>{e(column.name)}</b>", _marked_html(comparison, column, n))
            rows.append(f"<tr>{''.join(f'<td>{c}</td>' for c in (*cells, *map(e, told_figures(column, reply))))}</tr>")
        head = "".join(f"<th>{h}</th>" for h in (HEAD[0], "answer", *HEAD[1:]))
        preferred = f"<p>Preferred: {e(comparison.voted[n])}</p>" if n in comparison.voted else ""
        parts.append(
            f"<h2>{e(question)}</h2><table><tr>{head}</tr>{''.join(rows)}</table>{preferred}"
            f"<details><summary>Prompt <code>{prompt.fingerprint[:16]}</code></summary><pre>{e(prompt.text)}</pre></details>"
        )
    files = "".join(
        f"<li>{e(c.name)}: {e(c.revision or 'revision unknown')}, on {e(c.device)}"
        + "".join(f"<br><code>{e(name)} sha256 {digest}</code>" for name, digest in c.files.items())
        + "</li>"
        for c in comparison.columns
    )
    return _PAGE.format(
        day=_day(comparison),
        pictures=pictures,
        questions="".join(parts),
        files=files,
        settings=e(json.dumps(asdict(comparison.settings))),
    )


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Comparison of {day}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}}
img{{max-height:160px;margin:0 8px 8px 0}}table{{border-collapse:collapse;width:100%}}
td,th{{border:1px solid #ccc;padding:6px;text-align:left;vertical-align:top}}mark{{background:#ffe08a}}
pre,.said{{white-space:pre-wrap}}code{{overflow-wrap:anywhere}}</style>
<h1>Comparison of {day}</h1><p>{pictures}</p>{questions}
<h2>Models and files</h2><ul>{files}</ul><p>Settings: <code>{settings}</code></p></html>
"""


def told_figures(column: Column, reply: Reply) -> tuple[str, ...]:
    """The figures of HEAD, after the backend's name."""
    stats = reply.stats
    if stats is None:
        return ("–",) * (len(HEAD) - 1)
    first, speed = stats.time_to_first_token_seconds, stats.tokens_per_second
    cold = f"{column.cold_seconds:.1f} s" if column.cold_seconds is not None else "was loaded"
    warm = f"{column.warm_seconds:.2f} s" if column.warm_seconds is not None else "–"
    return (
        f"{first:.2f} s" if first is not None else "–",
        f"{speed:.0f}" if speed else "–",
        str(stats.image_tokens) if stats.image_tokens else "–",
        f"{stats.peak_memory_bytes / 2**20:.0f} MiB" if stats.peak_memory_bytes else "–",
        f"{cold}, {warm}",
    )


def _cell(reply: Reply) -> str:
    said = reply.text or (f"*{reply.error}*" if reply.error else "*no answer*")
    return said.replace("|", "\\|").replace("\n", "<br>")


def _marked_html(comparison: Comparison, column: Column, n: int) -> str:
    reply, first = column.replies[n], comparison.columns[0].replies[n]
    error = f"<i>{html.escape(reply.error)}</i>" if reply.error else ""
    pieces = marked(reply.text, first.text)
    said = "".join(f"<mark>{html.escape(p)}</mark>" if differs else html.escape(p) for p, differs in pieces)
    said = f'<span class="said">{said}</span>' if said else ""
    return " ".join(filter(None, (said, error))) or "<i>no answer</i>"


def _pictures(comparison: Comparison) -> dict[str, str]:
    slots = {slot.sha256: slot for prompt in comparison.prompts for slot in prompt.slots}
    return {key: base64.b64encode(picture_bytes(slot)).decode() for key, slot in slots.items()}


def _day(comparison: Comparison) -> str:
    return datetime.fromtimestamp(comparison.begun, UTC).strftime("%Y-%m-%d %H:%M UTC")
