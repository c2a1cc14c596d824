"""Writes the bundled checkpoint's model card: what it is, how it was trained, what was measured."""

from __future__ import annotations

from pathlib import Path

from smolvlm_core.models.catalog import ModelSpec
from training.scenes import COLORS, MOST_SQUASH, SHAPES

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# SmolVLM Shapes

A complete SmolVLM2 checkpoint (`SmolVLMForConditionalGeneration`, safetensors, bf16, {parameters:.1f} million parameters,
{size:.1f} MiB) trained from scratch by `training/` on pictures it draws. It makes SmolVLM Lens answer on a machine without a
model hub, and is what the tests ask for real.

**It knows drawn, coloured shapes. It does not know photos, people or text**, and what it says about them means nothing.

- Shapes: {shapes}.
- Colours: {colors}.
- One to five shapes, small or large, in 3 × 3 places, on plain, noisy or gradient backgrounds; several pictures in one turn;
  clips of one shape that moves, changes colour, appears, disappears or stays still, up to 12 frames.
- Squares and rectangles only in pictures that keep their format on the way to the tiles (to a factor of {squash} between their
  sides). SmolVLM2 squashes other pictures to square tiles, in which a square looks like a rectangle: asked there, it may say either.
- It answers in English, in the words of `training/questions.py`; other wordings may fail.

## Shape of the model

Vision: 4 layers of 256, 8 heads, patches of 8 px in tiles of 96 px. Projector: 2 × 2 patches to one token, 36 tokens a tile.
Language: 4 layers of 256, FFN 768, 4 heads on 2 key-value heads, 1,024 tokens of vocabulary, context 2,048. A picture is cut
into up to 2 × 2 tiles and an overview; a video frame is one tile.

## Measured

By `python -m training.evaluate --card` (these figures with `--scenes 600 --easy 100`), on scenes and clips from seeds that training never draws, pictures given as the app
gives them, and on the test split of the PyPI dataset easy-VQA (its train split was trained on). An answer counts when greedy
decoding gives it to the letter. "Blank": the same questions with a white picture; "another's": with the picture of the question
before; "none": without one. "Commonest answer": what always giving the commonest right answer would score, a ceiling for
blind guessing.

{table}

`describe`, `several` and `motion` count whole sentences: one wrong word in a list of five shapes is a wrong answer.
{agreement}
Where a figure is under its goal, the model is short of it and needs more training: it had about eleven hours on two CPU cores.

## Trained

`training/eyes.py` (vision encoder and projector on dense labels), then
`training/language.py` (the whole model on questions; loss on the answers only), with easy-VQA's train split in it. These weights:
2,400 steps of the first stage, 47,400 of the second, in which batch sizes, the mix of questions and the learning rate were
changed on the way (six times from an exported checkpoint with `--early-steps 0`: 10,700 and 8,500 steps with `--eyes-every 4`, the
latter with `--peak 3e-4`; with `--eyes-every 3`, 8,200 with `--peak 5e-4 --eyes-peak 2.5e-4`, in which things that look alike came in,
6,600 with `--peak 4e-4 --eyes-peak 2e-4`, in which counting by colour and shape did, and twice 3,400 with
`--peak 3e-4 --eyes-peak 1.5e-4`, the last with clips whose frames are cut like pictures; both exported with
`--checkpoint models/smolvlm-shapes --keep 0.4`: between the weights it began from and its own);
the scripts hold the last state of that recipe. The commands are in the project's README.
"""


def write_card(folder: Path, spec: ModelSpec, table: str, alike: tuple[int, int]) -> None:
    agreement = f"Asked one by one through the app's own backend, {alike[0]} of {alike[1]} of these questions were judged the same way.\n"
    text = CARD.format(
        parameters=spec.parameters / 1e6,
        size=spec.weights_bytes / 2**20,
        shapes=", ".join(SHAPES),
        colors=", ".join(COLORS),
        squash=MOST_SQUASH,
        table=table,
        agreement=agreement,
    )
    (folder / "README.md").write_text(text)
