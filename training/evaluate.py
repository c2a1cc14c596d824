"""Measures a checkpoint and writes its model card.

    python -m training.evaluate --checkpoint models/smolvlm-shapes --card      (all of it; writes README.md there)
    python -m training.evaluate --checkpoint models/smolvlm-shapes --scenes 100 --easy 100

An answer counts as right if greedy decoding gives exactly that answer. This is tested by comparing the likeliest token at each place of
the expected answer, which is equivalent and lets all questions about one picture share one run. A sample of the questions also goes
through the app's own backend, to confirm that.

Scenes use seeds that training never uses. easy-VQA questions come from its test split.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from smolvlm_core.backends.base import Delta
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine.encoding import encode_prompt
from smolvlm_core.media import sha256_of
from smolvlm_core.models.catalog import ModelSpec, from_folder
from smolvlm_core.models.load import LoadedModel, best_device, load
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.prompt.template import ASSISTANT_CUE, END_OF_UTTERANCE, VIDEO_CLOSING
from smolvlm_core.work.pool import Pool
from training import questions, scenes
from training.clips import random_clip
from training.conversations import squash_of
from training.questions import Question

CONDITIONS = ("right picture", "blank", "another's", "none")
GOALS = {
    "easy-VQA test": 0.97,
    "color": 0.98,
    "shape": 0.98,
    "yes/no": 0.97,
    "count": 0.95,
    "place": 0.95,
    "motion": 0.90,
}
CLIP_FRAMES = 8


@dataclass
class Item:
    """Questions that share pictures: one or several, or the frames of a clip."""

    group: str  # 'scenes', 'clips', …: what "another's picture" is drawn from
    pictures: list[Image.Image]
    asked: list[Question]
    is_clip: bool = False


@dataclass
class Tally:
    right: int = 0
    asked: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    def add(self, question: Question, right: bool) -> None:
        self.right += right
        self.asked += 1
        self.answers[question.answer] += 1

    @property
    def share(self) -> float:
        return self.right / max(1, self.asked)

    @property
    def commonest(self) -> float:
        """The score of always giving the most common answer."""
        return self.answers.most_common(1)[0][1] / self.asked if self.asked else 0.0


# What is asked


def scene_items(count: int) -> Iterator[Item]:
    for i in range(count):
        rng = random.Random(f"test scene {i}")
        size = rng.choice(((480, 480), (640, 360), (400, 300), (192, 192)))
        scene = scenes.random_scene(rng, shapes=scenes.shapes_for(squash_of(*size, "tiles")))
        yield Item("scenes", [scenes.draw(scene, *size)], questions.about_scene(rng, scene, 9))


def frame_items(count: int) -> Iterator[Item]:
    """Single untiled pictures: the layout of a video frame, as a clip of one frame."""
    for i in range(count):
        rng = random.Random(f"test clip {i}")
        size = rng.choice(((240, 240), (320, 240)))
        event, shown = random_clip(rng, CLIP_FRAMES, scenes.shapes_for(squash_of(*size, "frame")))
        yield Item(
            "clips",
            [scenes.draw(s, *size) for s in shown],
            questions.about_clip(rng, event, CLIP_FRAMES, 6),
            is_clip=True,
        )


def several_items(count: int) -> Iterator[Item]:
    for i in range(count):
        rng = random.Random(f"test several {i}")
        drawn = [scenes.random_scene(rng, rng.choice((1, 1, 2))) for _ in range(rng.choice((2, 2, 3)))]
        yield Item(
            f"several {len(drawn)}", [scenes.draw(s, 320) for s in drawn], questions.about_several(rng, drawn, 4)
        )


def talk_items(count: int) -> Iterator[Item]:
    for i in range(count):
        rng = random.Random(f"test talk {i}")
        yield Item("talk", [], [questions.small_talk(rng), questions.without_image(rng, scenes.random_scene(rng))])


def easy_items(count: int) -> Iterator[Item]:
    from easy_vqa import get_test_image_paths, get_test_questions

    texts, answers, ids = get_test_questions()
    by_image: dict[int, list[Question]] = defaultdict(list)
    for text, answer, image in zip(texts, answers, ids):
        by_image[image].append(Question("easy-VQA test", text, questions.sentence(answer)))
    for image, path in list(get_test_image_paths().items())[:count]:
        yield Item("easy", [Image.open(path).convert("RGB")], by_image[image])


# How it is measured


def conversation(
    item: Item, pictures: Sequence[Image.Image], text: str
) -> tuple[list[Message], dict[str, Image.Image]]:
    by_key = {f"{i} {sha256_of(picture.tobytes())}": picture for i, picture in enumerate(pictures)}
    if not pictures:
        return [Message("user", text)], {}
    width, height = pictures[0].size
    if item.is_clip:
        frames = tuple(FrameRef(i * 0.5, i, key) for i, key in enumerate(by_key))
        clip = Attachment(
            kind="video",
            sha256="clip",
            name="clip",
            mime="video/mp4",
            width=width,
            height=height,
            duration_seconds=len(pictures) * 0.5,
            frames=frames,
        )
        return [Message("user", text, (clip,))], by_key
    images = tuple(
        Attachment(kind="image", sha256=key, name=key, mime="image/png", width=p.width, height=p.height)
        for key, p in by_key.items()
    )
    return [Message("user", text, images)], by_key


class Judge:
    """Asks all questions of an item in one run of the model."""

    def __init__(self, spec: ModelSpec, loaded: LoadedModel) -> None:
        self.spec, self.loaded = spec, loaded

    @torch.inference_mode()
    def judge(self, item: Item, pictures: Sequence[Image.Image]) -> list[bool]:
        lead = "" if pictures and not item.is_clip else VIDEO_CLOSING if pictures else " "
        start, tiles = self._start(item, pictures, lead)
        ids, positions, groups, wanted = list(start), list(range(len(start))), [0] * len(start), []
        for number, question in enumerate(item.asked, 1):
            answer = self._ids(f" {question.answer}{END_OF_UTTERANCE}")
            whole = self._ids(f"{lead}{question.text}{END_OF_UTTERANCE}\n{ASSISTANT_CUE}") + answer
            ids += whole
            positions += range(len(start), len(start) + len(whole))
            groups += [number] * len(whole)
            wanted.append(range(len(ids) - len(answer) - 1, len(ids) - 1))
        likeliest = self._forward(ids, positions, groups, tiles)
        return [all(likeliest[at] == ids[at + 1] for at in places) for places in wanted]

    def _start(self, item: Item, pictures: Sequence[Image.Image], lead: str) -> tuple[list[int], torch.Tensor | None]:
        """(tokens up to the question, tiles), by the app's own code."""
        mark = "Q"
        said, by_key = conversation(item, pictures, mark)
        prompt = build_prompt(said, by_key.__getitem__)
        encoded = encode_prompt(prompt, self.spec, self.loaded.tokenizer, self.loaded.image_processor)
        end = len(self._ids(f"{lead}{mark}{END_OF_UTTERANCE}\n{ASSISTANT_CUE}"))
        return encoded.ids[:-end], encoded.tiles

    def _ids(self, text: str) -> list[int]:
        return self.loaded.tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]

    def _forward(
        self, ids: list[int], positions: list[int], groups: list[int], tiles: torch.Tensor | None
    ) -> list[int]:
        model = self.loaded.model
        core, device = model.model, model.device
        tokens = torch.tensor([ids], device=device)
        embedded = core.get_input_embeddings()(tokens)
        if tiles is not None:
            seen = core.connector(core.vision_model(tiles.to(device, model.dtype)).last_hidden_state)
            embedded[tokens == model.config.image_token_id] = seen.flatten(0, 1)
        group = torch.tensor([groups], device=device)
        allowed = ((group[:, None, :] == 0) | (group[:, None, :] == group[:, :, None])).tril()[:, None]
        hidden = core.text_model(
            inputs_embeds=embedded,
            attention_mask=allowed,
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
        )
        return model.lm_head(hidden.last_hidden_state)[0].argmax(-1).tolist()  # type: ignore[no-any-return]


def measure(judge: Judge, items: Iterable[Item], conditions: Sequence[str]) -> dict[str, dict[str, Tally]]:
    """Kind of question → condition → counts. "Another's" is the picture of the previous item."""
    out: dict[str, dict[str, Tally]] = defaultdict(lambda: defaultdict(Tally))
    before: dict[str, list[Image.Image]] = {}
    for item in items:
        if not item.asked:
            continue
        blank = [Image.new("RGB", p.size, (255, 255, 255)) for p in item.pictures]
        shown = {"right picture": item.pictures, "blank": blank, "another's": before.get(item.group), "none": []}
        before[item.group] = item.pictures
        for condition in conditions:
            pictures = shown[condition]
            if pictures is None or (condition != "right picture" and not item.pictures):
                continue
            for question, right in zip(item.asked, judge.judge(item, pictures)):
                out[question.kind][condition].add(question, right)
    return out


def agreement_with_backend(judge: Judge, items: Sequence[Item]) -> tuple[int, int]:
    """(questions with the same result, questions): the shared run compared with the app's backend, one question at a time."""
    backend = TransformersBackend(judge.spec, pool=Pool())
    alike = total = 0
    for item in items:
        right = judge.judge(item, item.pictures)
        for question, judged in zip(item.asked[:3], right):
            said, by_key = conversation(item, item.pictures, question.text)
            events = backend.generate(build_prompt(said, by_key.__getitem__), GenerationSettings(), threading.Event())
            answer = "".join(e.text for e in events if isinstance(e, Delta))
            alike += (answer.strip() == question.answer) == judged
            total += 1
    backend.close()
    return alike, total


def wrong_examples(judge: Judge, items: Iterable[Item], most: int) -> None:
    for item in items:
        for question, right in zip(item.asked, judge.judge(item, item.pictures)):
            if not right and most:
                most -= 1
                print("wrong:", question)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("models/smolvlm-shapes"))
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--easy", type=int, default=1000)
    parser.add_argument("--card", action="store_true", help="write README.md into the checkpoint's folder")
    parser.add_argument("--quick", action="store_true", help="right pictures only")
    parser.add_argument(
        "--wrong", type=int, default=0, metavar="N", help="print N wrongly answered questions about scenes"
    )
    args = parser.parse_args()

    spec = from_folder(args.checkpoint)
    judge = Judge(spec, load(spec, "bfloat16", best_device(), lambda *_: None))
    conditions = CONDITIONS[:1] if args.quick else CONDITIONS
    began = time.time()
    items = [
        *scene_items(args.scenes),
        *frame_items(args.scenes // 2),
        *several_items(args.scenes // 4),
        *talk_items(args.scenes // 4),
    ]
    tallies = measure(judge, [*items, *easy_items(args.easy)], conditions)
    alike = agreement_with_backend(judge, items[:: max(1, len(items) // 40)])
    print(table(tallies, conditions))
    print(f"\nThrough the app's backend: {alike[0]} of {alike[1]} judged alike. {time.time() - began:.0f} s in all.")
    wrong_examples(judge, scene_items(args.scenes), args.wrong)
    if args.card:
        from training.card import write_card

        write_card(args.checkpoint, spec, table(tallies, conditions), alike)


def table(tallies: dict[str, dict[str, Tally]], conditions: Sequence[str]) -> str:
    """A Markdown table with one row for each kind of question."""
    head = ["question", "goal", *conditions, "commonest answer", "questions"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    order = [*GOALS, *sorted(set(tallies) - set(GOALS))]
    for kind in order:
        if kind not in tallies:
            continue
        by_condition = tallies[kind]
        first = by_condition["right picture"]
        goal = f"{GOALS[kind]:.0%}" if kind in GOALS else ""
        shares = [f"{by_condition[c].share:.1%}" if by_condition[c].asked else "–" for c in conditions]
        rows.append(f"| {' | '.join([kind, goal, *shares, f'{first.commonest:.0%}', str(first.asked)])} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
