"""A comparison as Markdown, JSON or one HTML file that stands by itself: pictures, prompts, settings, answers, figures."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from smolvlm_core.backends.remote.openai import picture_bytes
from smolvlm_core.check import verdicts
from smolvlm_core.compare.run import Column, Comparison, Reply, figures, marked
from smolvlm_core.prompt.build import Slot
from smolvlm_core.prompt.generation import Stats
from smolvlm_core.text import without_images

HEAD = ("backend", "first token", "tokens/s", "image tokens", "memory", "load: cold, warm")


def to_json(comparison: Comparison) -> str:
    """Everything; pictures as base64 PNG, by the key that prompts name them with: the SHA-256 of the file that they came in."""
    value: dict[str, Any] = {
        "begun": _day(comparison.begun),
        "settings": asdict(comparison.settings),
        "questions": [
            {
                "question": q,
                "prompt": p.text,
                "fingerprint": p.fingerprint,
                "pictures": [{"label": s.label, "key": s.sha256} for s in p.slots],
                "preferred": comparison.voted.get(n),
            }
            for n, (q, p) in enumerate(zip(comparison.questions, comparison.prompts))
        ],
        "backends": [
            {
                "name": c.name,
                "verdict": asdict(kept) if (kept := verdicts.last(c.backend)) else None,
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
        "votes_were_blind": comparison.blind,
        "pictures": {slot.sha256: _encoded(slot) for slot in _slots(comparison)},
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def to_markdown(comparison: Comparison) -> str:
    lines = [
        f"# Comparison of {_day(comparison.begun)}",
        "",
        f"Settings: `{json.dumps(asdict(comparison.settings))}`",
        "",
    ]
    for slot in _slots(comparison):
        lines += [f"{_alt(slot.label)} ![{_alt(slot.label)}](data:image/png;base64,{_encoded(slot)})", ""]
    for n, (question, prompt) in enumerate(zip(comparison.questions, comparison.prompts)):
        lines += [f"## {without_images(question)}", "", f"Prompt and pictures: `{prompt.fingerprint}`", ""]
        fence = "`" * max(4, 1 + max(map(len, re.findall("`+", prompt.text)), default=0))
        lines += [fence, prompt.text, fence, ""]
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
        lines.append(f"- {_model(column)}")
        lines += [f"  - `{name}` sha256 `{digest}`" for name, digest in column.files.items()]
    return "\n".join([*lines, ""])


def to_html(comparison: Comparison) -> str:
    """One file, nothing fetched from elsewhere; words that differ from the first answer's are marked."""
    e = html.escape
    pictures = "".join(
        f'<figure><img alt="" src="data:image/png;base64,{_encoded(slot)}"><figcaption>{e(slot.label)}</figcaption></figure>'
        for slot in _slots(comparison)
    )
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
        f"<li>{e(_model(c))}"
        + "".join(f"<br><code>{e(name)} sha256 {digest}</code>" for name, digest in c.files.items())
        + "</li>"
        for c in comparison.columns
    )
    return _PAGE.format(
        day=_day(comparison.begun),
        pictures=pictures,
        questions="".join(parts),
        files=files,
        settings=e(json.dumps(asdict(comparison.settings))),
    )


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Comparison of {day}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}}
img{{max-height:160px;display:block}}figure{{display:inline-block;margin:0 8px 8px 0}}figcaption{{color:#666}}table{{border-collapse:collapse;width:100%}}
td,th{{border:1px solid #ccc;padding:6px;text-align:left;vertical-align:top}}mark{{background:#ffe08a}}
pre,.said{{white-space:pre-wrap}}code{{overflow-wrap:anywhere}}</style>
<h1>Comparison of {day}</h1><div>{pictures}</div>{questions}
<h2>Models and files</h2><ul>{files}</ul><p>Settings: <code>{settings}</code></p></html>
"""


def told_figures(column: Column, reply: Reply) -> tuple[str, ...]:
    """The figures of HEAD, after the backend's name."""
    stats = reply.stats
    if stats is None:
        return ("–",) * (len(HEAD) - 1)
    first, speed = stats.time_to_first_token_seconds, stats.tokens_per_second
    cold = f"{column.cold_seconds:.1f} s" if column.cold_seconds is not None else "–"
    warm = f"{column.warm_seconds:.2f} s" if column.warm_seconds is not None else "–"
    return (
        f"{first:.2f} s" if first is not None else "–",
        f"{speed:.0f}" if speed else "–",
        str(stats.image_tokens) if stats.image_tokens else "–",
        _memory(stats),
        f"{cold}, {warm}",
    )


def _memory(stats: Stats) -> str:
    weights = f"{stats.weights_bytes / 2**20:.0f} MiB of weights" if stats.weights_bytes else ""
    whole = f"{stats.memory_of} {stats.peak_memory_bytes / 2**20:.0f} MiB" if stats.peak_memory_bytes else ""
    return "; ".join(filter(None, (weights, whole))) or "–"


def _model(column: Column) -> str:
    """A line on what answered, and whether it was found to see."""
    kept = verdicts.last(column.backend)
    verdict = f"{kept.verdict}, checked {_day(kept.when)}" if kept else "never checked whether it sees"
    return f"{column.name}: {verdict}; {column.revision or 'revision unknown'}, on {column.device}"


def _cell(reply: Reply) -> str:
    notes = [f"*{note}*" for note in (reply.error, reply.how_it_ended) if note]
    said = " ".join(filter(None, (reply.text, *notes))) or "*no answer*"
    return without_images(said).replace("|", "\\|").replace("\n", "<br>")


def _marked_html(comparison: Comparison, column: Column, n: int) -> str:
    reply, first = column.replies[n], comparison.reference(n).replies[n]
    notes = [f"<i>{html.escape(note)}</i>" for note in (reply.error, reply.how_it_ended) if note]
    pieces = marked(reply.text, first.text)
    said = "".join(f"<mark>{html.escape(p)}</mark>" if differs else html.escape(p) for p, differs in pieces)
    said = f'<span class="said">{said}</span>' if said else ""
    return " ".join(filter(None, (said, *notes))) or "<i>no answer</i>"


def _alt(label: str) -> str:
    return without_images(label.replace("[", "(").replace("]", ")"))


def _slots(comparison: Comparison) -> tuple[Slot, ...]:
    """Those of all questions, each once: a frame that is shown twice has two labels."""
    return tuple(dict.fromkeys(slot for prompt in comparison.prompts for slot in prompt.slots))


def _encoded(slot: Slot) -> str:
    return base64.b64encode(picture_bytes(slot)).decode()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
