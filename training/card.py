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
{size:.1f} MiB) trained from scratch by `training/` on pictures it draws. SmolVLM Lens uses it on machines
that cannot reach a model hub, and the tests run it.

**It knows drawn, coloured shapes. It does not know photos, people or text**; its answers about them are meaningless.

- Shapes: {shapes}.
- Colours: {colors}.
- One to five shapes, small or large, in 3 × 3 places, on plain, noisy or gradient backgrounds; several pictures in one turn;
  clips of one shape that moves, changes colour, appears, disappears or stays still, up to 12 frames.
- Squares and rectangles only in pictures that keep their aspect ratio on the way to the tiles (up to a factor of {squash} between their
  sides). SmolVLM2 squashes other pictures to square tiles, in which a square looks like a rectangle, and the model may say either.
- It answers English questions worded as in `training/questions.py`. Other wordings may fail.

## Architecture

Vision: 4 layers of 256, 8 heads, patches of 8 px in tiles of 96 px. Projector: 2 × 2 patches to one token, 36 tokens a tile.
Language: 4 layers of 256, FFN 768, 4 heads on 2 key-value heads, 1,024 tokens of vocabulary, context 2,048. A picture is cut
into up to 2 × 2 tiles and an overview; a video frame is one tile.

## Measured

By `python -m training.evaluate --card` (these figures with `--scenes 600 --easy 100`), on scenes and clips from seeds that training never uses, with pictures passed as the
app passes them, and on the test split of the PyPI dataset easy-VQA (training used its train split). An answer counts if greedy
decoding gives exactly the expected answer. "Blank": the same questions with a white picture; "another's": with the picture of the previous
question; "none": without one. "Commonest answer": the score of always giving the most common right answer, a ceiling for blind
guessing.

{table}

`describe`, `several` and `motion` count whole sentences: one wrong word in a list of five shapes is a wrong answer.
{agreement}
Where a figure is below its goal, the model needs more training. It had about eleven hours on two CPU cores.

## Training

`training/eyes.py` (vision encoder and projector on dense labels), then
`training/language.py` (the whole model on questions; loss on the answers only), which includes easy-VQA's train split. These weights:
2,400 steps of the first stage, 47,400 of the second, during which batch sizes, the mix of questions and the learning rate
changed (six times from an exported checkpoint with `--early-steps 0`: 10,700 and 8,500 steps with `--eyes-every 4`, the
latter with `--peak 3e-4`; with `--eyes-every 3`, 8,200 with `--peak 5e-4 --eyes-peak 2.5e-4`, which added shapes that look alike,
6,600 with `--peak 4e-4 --eyes-peak 2e-4`, which added counting by colour and shape, and twice 3,400 with
`--peak 3e-4 --eyes-peak 1.5e-4`, the last with clips whose frames are cut like pictures; both exported with
`--checkpoint models/smolvlm-shapes --keep 0.4`: between the weights it began from and its own);
the scripts contain the last state of that recipe. The commands are in docs/models.md.
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
