"""The processes that are killed. Each says what a user would have seen by now: one JSON line for each thing that is done.

    python -m benchmarks.kills.children KIND FOLDER

They use the core as the pages, the API and the command line do. The answers of `chat` come from a backend that counts, so
that it is plain what a whole answer is; those of `llama-server` come from the bundled model.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from smolvlm_core.backends.base import Backend, Capabilities
from smolvlm_core.backends.remote.server_entry import ServerEntry
from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.models.catalog import bundled
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Stats
from smolvlm_core.workspace import Workspace

WORDS = 60


def say(**facts: Any) -> None:
    """In one write, so that a line is whole or missing."""
    os.write(1, (json.dumps(facts) + "\n").encode())


def whole_answer() -> str:
    return " ".join(str(number) for number in range(WORDS))


class Counts(Backend):
    kind = "counts"

    def __init__(self) -> None:
        self.name, self.spec = "counts", bundled()

    def identity(self) -> str:
        return "counts"

    def capabilities(self) -> Capabilities:
        return Capabilities(images=True, video=False, streaming=True, context_tokens=2048)

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        for number in range(WORDS):
            time.sleep(0.01)
            yield Delta(f"{' ' if number else ''}{number}")
        yield Stats("end", new_tokens=WORDS)


def picture(number: int, side: int = 300) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((side, side), 50 + number % 50).save(out, "PNG")
    return out.getvalue()


def chat(folder: Path) -> None:
    """Four tabs: each adds a picture, asks, and follows the answer."""
    workspace, backend = Workspace(folder), Counts()
    store = workspace.store
    say(ready=True)

    def tab(name: int) -> None:
        for number in range(1000):
            attachment = attach_image(store, picture(name * 1000 + number), "noise.png")
            conversation = store.create("image")
            text = f"tab {name} question {number}"
            question = store.add_question(conversation, text, (attachment,))
            say(question=text, picture=attachment.sha256)
            answer = workspace.answers.start(backend, conversation, question, GenerationSettings())
            answer.wait()
            say(answered=text)

    threads = [threading.Thread(target=tab, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def upload(folder: Path) -> None:
    """Large files, one after another."""
    store = Workspace(folder).store
    say(ready=True)
    for number in range(1000):
        say(stored=store.media.add(os.urandom(8) * 2**20, "clip.mp4", "video/mp4"), number=number)


def migration(folder: Path) -> None:
    """Opens a store of an earlier version, again and again: `run` puts the old one there."""
    say(ready=True)
    store = Workspace(folder).store
    say(opened=len(store.conversations()))
    time.sleep(60)


def settings(folder: Path) -> None:
    """Backends, votes, verdicts: files that are replaced or that grow."""
    workspace = Workspace(folder)
    say(ready=True)
    for number in range(100_000):
        key = f"url:http://127.0.0.1:{number % 500 + 1}/v1"
        workspace.registry.add(ServerEntry(key=key, title=key, added=True, url=key.removeprefix("url:")))
        say(backend=key)
        workspace.comparisons.votes.add({"answers": {"a": "x" * 2000, "b": "y"}, "preferred": "a", "time": number})
        say(votes=number + 1)


def clips(folder: Path) -> None:
    """Frames of a clip, read by decoders in processes of their own."""
    from smolvlm_core.errors import MediaError
    from smolvlm_core.paths import GALLERY
    from smolvlm_core.video.decoders.choice import open_with_each

    path = next(iter(sorted(GALLERY.glob("*.mp4"))))
    store = Workspace(folder).store
    sha256 = store.media.add_file(path.open("rb"), path.name, "video/mp4")
    say(ready=True, stored=sha256)
    for number in range(1000):
        try:
            for clip in open_with_each(store.media.path(sha256)):
                frames = list(clip.frames_at([0.0, 0.5, 1.0]))
                clip.close()
                say(read=len(frames), number=number)
        except MediaError as error:
            say(refused=str(error))


def llama_server(folder: Path) -> None:
    """Answers of a llama-server that this process starts, with the bundled model."""
    from smolvlm_core.backends.llama_cpp import GgufEntry

    workspace = Workspace(folder)
    ggufs = Path(os.environ["KILLS_GGUFS"])
    text = next(path for path in ggufs.glob("*.gguf") if "mmproj" not in path.name)
    projector = next(ggufs.glob("mmproj*.gguf"))
    entry = GgufEntry(key="gguf", title="gguf", text=str(text), projector=str(projector))
    backend = entry.make(workspace.pool)
    store = workspace.store
    backend.preload()
    say(ready=True)
    for number in range(1000):
        attachment = attach_image(store, picture(number), "noise.png")
        conversation, text_of = store.create("image"), f"What color is it? {number}"
        question = store.add_question(conversation, text_of, (attachment,))
        say(question=text_of, picture=attachment.sha256)
        answer = workspace.answers.start(backend, conversation, question, GenerationSettings(max_new_tokens=200))
        answer.wait()
        say(answered=text_of, complete=answer.is_complete)


KINDS = {
    "chat": chat,
    "upload": upload,
    "migration": migration,
    "settings": settings,
    "clips": clips,
    "llama-server": llama_server,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](Path(sys.argv[2]))
