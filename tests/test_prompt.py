from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine.encoding import encode_prompt
from smolvlm_core.errors import PromptError
from smolvlm_core.models import catalog
from smolvlm_core.prompt.build import build_prompt
from smolvlm_core.prompt.geometry import VisionGeometry, estimate_tokens
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message, history_before
from tests.conftest import drawn

IMAGE = Attachment(kind="image", sha256="a", name="a.png", mime="image/png", width=300, height=300)
CLIP = Attachment(
    kind="video",
    sha256="v",
    name="clip.mp4",
    mime="video/mp4",
    width=64,
    height=48,
    duration_seconds=75.4,
    frames=(FrameRef(0.0, 0, "f0"), FrameRef(61.2, 612, "f1")),
    decoder="decord",
)


def open_nothing(sha256: str) -> Image.Image:
    raise AssertionError("building a prompt must not open images")


def user(text: str, *attachments: Attachment) -> Message:
    return Message("user", text, attachments)


def test_a_space_follows_the_role_before_text_but_not_before_an_image() -> None:
    assert build_prompt([user("Hi")], open_nothing).text == "<|im_start|>User: Hi<end_of_utterance>\nAssistant:"
    assert (
        build_prompt([user("What?", IMAGE)], open_nothing).text
        == "<|im_start|>User:<image>What?<end_of_utterance>\nAssistant:"
    )


def test_several_turns_have_one_start_token() -> None:
    messages = [user("What?", IMAGE), Message("assistant", "A circle."), user("Color?")]
    assert build_prompt(messages, open_nothing, "Be brief.").text == (
        "<|im_start|>System: Be brief.<end_of_utterance>\nUser:<image>What?<end_of_utterance>\n"
        "Assistant: A circle.<end_of_utterance>\nUser: Color?<end_of_utterance>\nAssistant:"
    )


def test_the_video_text_of_vlmevalkit() -> None:
    """Its parts (vlmeval/vlm/smolvlm.py, `build_prompt_video`) joined by spaces, as it joins them."""
    start = "<|im_start|>"
    parts = [f"{start}System:", "pay attention to the video and answer the question", "<end_of_utterance>\n"]
    parts += [f"{start}User:", "Here are some frames sampled from a video:\n"]
    parts += ["Frame from 00:00:", "<image>", "Frame from 01:01:", "<image>", "\n"]
    parts += ["What happens?", "<end_of_utterance>", "\nAssistant:"]
    prompt = build_prompt([user("What happens?", CLIP)], open_nothing, video_prompt="vlmevalkit")
    assert prompt.text == " ".join(parts) and len(prompt.slots) == 2
    own = build_prompt([user("What happens?", CLIP)], open_nothing, "Be brief.", "vlmevalkit")
    assert own.text.startswith(f"{start}System: Be brief. <end_of_utterance>\n {start}User: Here")
    assert own.fingerprint != prompt.fingerprint
    assert build_prompt([user("Hi")], open_nothing, video_prompt="vlmevalkit") == build_prompt(
        [user("Hi")], open_nothing
    )


def test_the_video_text_is_smolvlm2s() -> None:
    prompt = build_prompt([user("What happens?", CLIP)], open_nothing)
    assert prompt.text == (
        "<|im_start|>User: You are provided the following series of two frames from a 0:01:15 [H:MM:SS] video.\n\n"
        "Frame from 00:00:<image>\nFrame from 01:01:<image>\n\nWhat happens?<end_of_utterance>\nAssistant:"
    )
    assert [slot.tiled for slot in prompt.slots] == [False, False]


def test_the_published_chat_template_gives_the_same_text() -> None:
    """The bundled checkpoint ships the published template. Here Jinja renders it, as transformers does."""
    import jinja2

    template = json.loads((catalog.bundled().folder / "chat_template.json").read_text())["chat_template"]  # type: ignore[operator]
    messages = [user("What?", IMAGE), Message("assistant", "A circle."), user("Color?")]
    rendered = jinja2.Template(template).render(
        messages=[
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A circle."}]},
            {"role": "user", "content": [{"type": "text", "text": "Color?"}]},
        ],
        add_generation_prompt=True,
    )
    assert build_prompt(messages, open_nothing).text == rendered


def test_the_same_messages_give_the_same_fingerprint() -> None:
    messages = [user("What?", IMAGE)]
    assert build_prompt(messages, open_nothing).fingerprint == build_prompt(list(messages), open_nothing).fingerprint
    other = build_prompt([user("What?", replace(IMAGE, sha256="b"))], open_nothing)
    assert (
        other.text == build_prompt(messages, open_nothing).text
        and other.fingerprint != build_prompt(messages, open_nothing).fingerprint
    )


@pytest.mark.parametrize(
    "token", ["<image>", "<end_of_utterance>", "<|im_start|>", "<fake_token_around_image>", "<row_1_col_1>"]
)
def test_reserved_tokens_are_refused_not_changed(token: str) -> None:
    with pytest.raises(PromptError, match="reserves"):
        build_prompt([user(f"what is {token}?", IMAGE)], open_nothing)


def test_two_clips_images_with_a_clip_and_a_missing_question_are_refused() -> None:
    with pytest.raises(PromptError, match="one clip"):
        build_prompt([user("What?", CLIP, CLIP)], open_nothing)
    with pytest.raises(PromptError, match="not both"):
        build_prompt([user("What?", IMAGE, CLIP)], open_nothing)
    with pytest.raises(PromptError, match="no question"):
        build_prompt([user("What?"), Message("assistant", "x")], open_nothing)


def test_a_hidden_image_is_not_in_the_prompt() -> None:
    prompt = build_prompt([user("What?", replace(IMAGE, shown=False))], open_nothing)
    assert prompt.slots == () and "<image>" not in prompt.text


def test_images_of_a_failed_turn_move_to_the_next_question() -> None:
    messages = [
        replace(user("first", IMAGE), id=1),
        Message("assistant", "", id=2, reply_to=1, status="failed"),
        replace(user("again"), id=3, parent=2),
    ]
    history = history_before(messages, 3)
    assert [m.text for m in history] == ["again"] and history[0].attachments == (IMAGE,)


# Width, height in px. The tests below compare the grid with SmolVLM's image processor.
SIZES = [
    (1, 1),
    (300, 300),
    (640, 360),
    (360, 640),
    (1000, 100),
    (100, 1000),
    (1920, 1080),
    (333, 334),
    (4000, 3000),
    (199, 101),
    (192, 96),
]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_tile_grid_matches_the_image_processor(width: int, height: int, backend: TransformersBackend) -> None:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(backend.spec.folder, backend="pil")
    encoded = processor(images=[[Image.new("RGB", (width, height))]], return_row_col_info=True, return_tensors="pt")
    assert backend.spec.geometry.grid(width, height) == (encoded["rows"][0][0], encoded["cols"][0][0])


@pytest.mark.parametrize(("tile", "edge"), [(384, 1536), (512, 2048)])
@pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (1920, 1080), (1080, 1920), (500, 500), (2000, 300), (1001, 997)]
)
def test_the_tile_grid_matches_for_the_published_tile_sizes(tile: int, edge: int, width: int, height: int) -> None:
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    processor = SmolVLMImageProcessorPil(size={"longest_edge": edge}, max_image_size={"longest_edge": tile})
    encoded = processor(images=[[Image.new("RGB", (width, height))]], return_row_col_info=True, return_tensors="pt")
    assert VisionGeometry(tile, edge, 64).grid(width, height) == (encoded["rows"][0][0], encoded["cols"][0][0])


def test_the_token_estimate_matches_the_encoded_prompt(backend: TransformersBackend) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer

    spec = backend.spec
    tokenizer, processor = (
        AutoTokenizer.from_pretrained(spec.folder),
        AutoImageProcessor.from_pretrained(spec.folder, backend="pil"),
    )
    pictures = {"a": drawn(), "f0": drawn("blue", size=64), "f1": drawn("green", size=64)}
    for attachments in ((IMAGE,), (CLIP,), (IMAGE, replace(IMAGE, width=640, height=300))):
        prompt = build_prompt([user("What color is the circle?", *attachments)], pictures.__getitem__)
        encoded = encode_prompt(prompt, spec, tokenizer, processor)
        images, text = estimate_tokens(prompt, spec.geometry)
        if len(attachments) == 1:
            assert encoded.image_tokens == images == len(encoded.tile_starts) * spec.geometry.tokens_per_tile
            assert abs(len(encoded.ids) - images - text) < 0.35 * (len(encoded.ids) - images) + 12
        assert encoded.ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 1


def test_image_token_costs_of_the_published_models() -> None:
    large, middle, small = catalog.PUBLISHED
    wide = build_prompt([user("x", replace(IMAGE, width=1920, height=1080))], open_nothing).slots[0]
    assert small.geometry.image_tokens([wide]) == middle.geometry.image_tokens([wide]) == 832
    assert large.geometry.image_tokens([wide]) == 1053


def test_the_published_tokenizer_reads_the_same_prompt(backend: TransformersBackend) -> None:
    """Needs the tokenizer of SmolVLM-256M in the fixtures folder."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "fixtures" / "smolvlm-256m"
    if not folder.is_dir():
        pytest.skip("the published tokenizer is not on this machine")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = build_prompt([user("What?", IMAGE)], open_nothing)
    assert tokenizer.encode(prompt.text).tokens[:4] == ["<|im_start|>", "User", ":", "<image>"]
