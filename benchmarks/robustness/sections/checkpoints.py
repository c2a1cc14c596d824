"""Checkpoint folders with damaged and hostile JSON files, chat templates and weights: linted, prepared for conversion, loaded, asked."""

from __future__ import annotations

import json
import random
import shutil
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.robustness.section import Section, mutated
from smolvlm_core.errors import LensError
from smolvlm_core.paths import BUNDLED_CHECKPOINT

JSON_FILES = (
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.json",
)
WEIGHTS = "model.safetensors"
EXTREMES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 10**9, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *(None, True, False, "", "x", "x" * 10_000, "\0", "../../etc/passwd", "/dev/zero", "é", [], [[]], {}, {"a": {}}),
    *([None], [0] * 1000, "float64", "gpt2", "auto", "{{ 1 }}", "trust_remote_code"),
)
TEMPLATES = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}",
    "{{ 'a' * 3000000000 }}",
    "{% set x = namespace(a='a') %}{% for i in range(64) %}{% set x.a = x.a ~ x.a %}{% endfor %}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch /tmp/robustness-escaped').read() }}",
    "{{ ''|attr('__class__')|attr('__base__')|attr('__subclasses__')() }}",
    "{{ messages.__init__.__globals__ }}{{ self._TemplateReference__context }}",
    "{{ '%.999999999f' % 1 }}",
    "{{ (10 ** 10 ** 8) }}",
    "{{ range(10 ** 9) | list | length }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "{% include '/etc/passwd' %}",
    "{% for m in messages %}{{ m['content'][0]['nothing']['there'] }}{% endfor %}",
    "{{ raise_exception('no') }}",
    "{{ lipsum(n=99999999) }}",
    "{{ ('a' * 99999) | wordwrap(1) | indent(9999) }}",
    "\0{{ 1 }}\ud800",
    "{{ messages | tojson(indent=999999999) }}",
)
ASKED_TOKENS = 2


class Checkpoints(Section):
    """A case is the files that differ from the bundled checkpoint's; None for one that is missing."""

    name, full_count = "checkpoints", 500

    def case(self, number: int, dice: random.Random) -> dict[str, bytes | None]:
        makers: tuple[Callable[[random.Random], dict[str, bytes | None]], ...] = (
            _other_values,
            _other_values,
            _damaged_json,
            _template,
            _weights,
        )
        return makers[number % len(makers)](dice)

    def start(self, folder: Path) -> None:
        """Import torch and load the bundled checkpoint, which takes longer than a case."""
        shutil.copytree(BUNDLED_CHECKPOINT, folder / "checkpoint")
        _load_and_ask(folder / "checkpoint")

    def attempt(self, case: dict[str, bytes | None], folder: Path) -> str:
        checkpoint = folder / "checkpoint"
        shutil.copytree(BUNDLED_CHECKPOINT, checkpoint)
        for name, data in case.items():
            (checkpoint / name).unlink(missing_ok=True)
            if data is not None:
                (checkpoint / name).write_bytes(data)
        outcomes = [_refused(step, checkpoint) for step in (_lint, _stage, _load_and_ask)]
        return "refused" if any(outcomes) else "used"


def _refused(step: Callable[[Path], None], checkpoint: Path) -> bool:
    """Each of them is tried, whatever became of the one before."""
    try:
        step(checkpoint)
    except LensError:
        return True
    return False


def _lint(checkpoint: Path) -> None:
    from smolvlm_core.llamacpp.lint import lint

    lint(checkpoint)


def _stage(checkpoint: Path) -> None:
    from smolvlm_core.llamacpp.repair import stage

    stage(checkpoint, checkpoint.parent / "staged")


def _load_and_ask(checkpoint: Path) -> None:
    from PIL import Image

    from smolvlm_core.backends.transformers import TransformersBackend
    from smolvlm_core.conversations.unsaved import UnsavedMedia
    from smolvlm_core.media import open_image, png_bytes
    from smolvlm_core.models.catalog import from_folder
    from smolvlm_core.prompt.build import build_prompt
    from smolvlm_core.prompt.generation import GenerationSettings
    from smolvlm_core.prompt.messages import Message
    from smolvlm_core.work.pool import Pool

    spec, pool, given = from_folder(checkpoint), Pool(), UnsavedMedia()
    picture = given.add_picture(open_image(png_bytes(Image.linear_gradient("L").convert("RGB")), "picture.png"))
    prompt = build_prompt([Message("user", "What is it?", (picture,))], given.open)
    backend = TransformersBackend(spec, "float32", pool=pool)
    try:
        list(backend.generate(prompt, GenerationSettings(max_new_tokens=ASKED_TOKENS), threading.Event()))
    finally:
        backend.close()
        pool.close()


def _read(name: str) -> bytes:
    return (BUNDLED_CHECKPOINT / name).read_bytes()


def _other_values(dice: random.Random) -> dict[str, bytes | None]:
    """One to three values of a JSON file set to extremes, removed, or put elsewhere."""
    name = dice.choice(JSON_FILES[:5])
    value = json.loads(_read(name))
    for _ in range(dice.randint(1, 3)):
        places = list(_places(value))
        parent, key = dice.choice(places[:400] if len(places) > 400 else places)
        match dice.randrange(4):
            case 0:
                del parent[key]
            case 1:
                parent[key] = parent[dice.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))]
            case _:
                parent[key] = dice.choice(EXTREMES)
        if not list(_places(value)):
            break
    return {name: json.dumps(value).encode()}


def _places(value: Any) -> Any:
    """(object or list, key) of each value within."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _damaged_json(dice: random.Random) -> dict[str, bytes | None]:
    name = dice.choice(JSON_FILES)
    match dice.randrange(6):
        case 0:
            return {name: None}
        case 1:
            return {
                name: dice.choice((b"", b"[]", b"null", b"{}", b'"x"', b"{" * 100_000, b"[" * 100_000, b"\xff\xfe{}"))
            }
        case _:
            return {name: mutated(_read(name), dice)}


def _template(dice: random.Random) -> dict[str, bytes | None]:
    template = str(json.loads(_read("chat_template.json"))["chat_template"])
    if dice.random() < 0.6:
        template = dice.choice(TEMPLATES)
    else:
        template = mutated(template.encode(), dice).decode("utf-8", "surrogateescape")
    if dice.random() < 0.5:
        return {
            "chat_template.jinja": template.encode("utf-8", "surrogateescape" if dice.random() < 0.5 else "replace")
        }
    return {"chat_template.json": json.dumps({"chat_template": template}).encode()}


def _weights(dice: random.Random) -> dict[str, bytes | None]:
    if dice.random() < 0.8:
        return {WEIGHTS: damaged_weights(dice)}
    names = (WEIGHTS, "../x.safetensors", "/dev/zero", "gone.safetensors", 7)
    files = {"model.text_model.norm.weight": dice.choice(names)}
    index = json.dumps({"metadata": {}, "weight_map": dice.choice((files, None, []))}).encode()
    return {"model.safetensors.index.json": index, WEIGHTS: None, "part.safetensors": _read(WEIGHTS)}


def damaged_weights(dice: random.Random) -> bytes:
    """The bundled checkpoint's weights, cut off, or with another header."""
    whole = _read(WEIGHTS)
    length = int(struct.unpack("<Q", whole[:8])[0])
    header = json.loads(whole[8 : 8 + length])
    match dice.randrange(4):
        case 0:
            return whole[: dice.choice((0, 1, 8, 9, 100, length, len(whole) - 1, len(whole) // 2))]
        case 1:
            return struct.pack("<Q", dice.choice((0, 1, 2**31, 2**63, length - 1, length + 1))) + whole[8:]
        case 2:
            return whole[:8] + mutated(whole[8 : 8 + length], dice) + whole[8 + length :]
    key = dice.choice([name for name in header if name != "__metadata__"])
    match dice.randrange(4):
        case 0:
            header[key]["shape"] = dice.choice(([2**40, 2**40], [0], [], [-1], "x", [1] * 99))
        case 1:
            header[key]["data_offsets"] = dice.choice(([0, 2**62], [5, 1], [-1, 3], [0], None))
        case 2:
            header[key]["dtype"] = dice.choice(("F64", "I8", "BOOL", "X", 3, None))
        case _:
            del header[key]
    changed = json.dumps(header).encode()
    return struct.pack("<Q", len(changed)) + changed + whole[8 + length :]


SECTION = Checkpoints()
