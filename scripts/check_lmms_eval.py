"""Runs lmms-eval against the API, and compares its answers and score with this project's own on the same questions.

    python -m scripts.check_lmms_eval --url http://127.0.0.1:8000/v1 --lmms-eval FOLDER/bin/python --images 25

lmms-eval gets a local task made from the test split of easy-VQA (package easy-vqa). It needs a virtual environment of its own (`pip install
lmms-eval`); `--lmms-eval` is that environment's Python. The exit code is 1 where an answer or the score differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path

import easy_vqa

from smolvlm_core import media
from smolvlm_core.backends.base import collect
from smolvlm_core.conversations.unsaved import UnsavedMedia
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Message
from smolvlm_core.workspace import Workspace

NEW_TOKENS = 16
TASK = "easy_vqa_local"
YAML = """task: {task}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.visual
doc_to_text: "question"
doc_to_target: "answer"
process_results: !function utils.results
generation_kwargs: {{max_new_tokens: {tokens}, temperature: 0, do_sample: false}}
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
metadata: {{version: 1}}
"""
UTILS = """from PIL import Image


def visual(doc):
    return [Image.open(doc["path"]).convert("RGB")]


def results(doc, answers):
    return {"accuracy": float(answers[0].strip().rstrip(".").lower() == doc["answer"])}
"""
Row = dict[str, str]


def questions(images: int) -> list[Row]:
    """All questions about the first so many images of the test split."""
    texts, answers, numbers = easy_vqa.get_test_questions()
    paths = easy_vqa.get_test_image_paths()
    rows = zip(texts, answers, numbers, strict=True)
    return [
        {"question": f"{text[0].upper()}{text[1:]}", "answer": answer, "path": paths[number]}
        for text, answer, number in rows
        if number < images
    ]


def by_lmms_eval(python: Path, url: str, model: str, rows: list[Row], folder: Path) -> tuple[list[str], float]:
    """(answers in order, the score that it prints)."""
    data = folder / "test.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / f"{TASK}.yaml").write_text(YAML.format(task=TASK, data=data, tokens=NEW_TOKENS))
    (folder / "utils.py").write_text(UTILS)
    command = [str(python), "-m", "lmms_eval", "--model", "openai", "--tasks", TASK, "--include_path", str(folder)]
    command += ["--model_args", f"model_version={model},base_url={url},api_key=none,num_concurrent=4,timeout=120"]
    command += ["--batch_size", "1", "--log_samples", "--output_path", str(folder / "out")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    subprocess.run(command, check=True, env=environment, cwd=folder)
    samples = next((folder / "out").rglob("*samples*.jsonl"))
    found = [json.loads(line) for line in samples.read_text().splitlines()]
    answers = {row["doc_id"]: _first(row["filtered_resps"]) for row in found}
    result = json.loads(next((folder / "out").rglob("*results.json")).read_text())["results"][TASK]
    score = next(value for name, value in result.items() if name.startswith("accuracy,"))
    return [answers[i] for i in range(len(rows))], float(score)


def _first(value: object) -> str:
    while isinstance(value, list):
        value = value[0]
    return str(value)


def by_this_project(model: str, rows: list[Row]) -> list[str]:
    workspace = Workspace()
    backend = workspace.registry.make(model)
    answers = []
    for row in rows:
        given = UnsavedMedia()
        shown = given.add_picture(media.open_image_file(Path(row["path"])))
        prompt = build_prompt([Message("user", row["question"], (shown,))], given.open)
        reply = collect(backend.generate(prompt, GenerationSettings(max_new_tokens=NEW_TOKENS), threading.Event()))
        answers.append(reply.text)
    workspace.close()
    return answers


def score_of(answers: list[str], rows: list[Row]) -> float:
    right = sum(a.strip().rstrip(".").lower() == row["answer"] for a, row in zip(answers, rows, strict=True))
    return right / len(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="smolvlm-shapes", help="its id in the API, and a name that `ask` takes")
    parser.add_argument("--lmms-eval", type=Path, required=True, help="Python of the environment with lmms-eval")
    parser.add_argument("--images", type=int, default=25, help="about ten questions each")
    args = parser.parse_args()
    rows = questions(args.images)
    with tempfile.TemporaryDirectory() as folder:
        theirs, score = by_lmms_eval(args.lmms_eval, args.url, args.model, rows, Path(folder))
    ours = by_this_project(args.model, rows)
    different = [(row, a, b) for row, a, b in zip(rows, theirs, ours, strict=True) if a.strip() != b.strip()]
    for row, a, b in different:
        print(f"{row['path']}: {row['question']} lmms-eval {a!r}, here {b!r}")
    own = score_of(ours, rows)
    print(f"{len(rows)} questions: score by lmms-eval {score:.4f}, here {own:.4f}; {len(different)} answers differ")
    return int(bool(different) or abs(score - own) > 1e-9)


if __name__ == "__main__":
    raise SystemExit(main())
