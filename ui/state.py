"""What one browser session remembers, in one typed object, and the workspace that all sessions of the process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from smolvlm_core.access.users import LOCAL, User
from smolvlm_core.compare.run import Caching
from smolvlm_core.conversations.clip_frames import FrameChoice, SampledFrames, StoredClip
from smolvlm_core.conversations.store import ConversationKind
from smolvlm_core.conversations.unsent import UnsentQuestion
from smolvlm_core.errors import LensError
from smolvlm_core.paths import data_folder
from smolvlm_core.preferences import Preference
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import Attachment
from smolvlm_core.workspace import Process, Workspace
from ui import address
from ui.access import current as access
from ui.batch.session import BatchSession
from ui.live.session import LivePage
from ui.text import show_error
from ui.timeline.session import TimelineSession


@dataclass
class CompareSession:
    """The Compare page. `pictures`: by SHA-256. `clip`: SHA-256 and name of the clip that the frames are from.

    `chosen`: labels of backends, None before any choice. `key`: of the comparison that is shown.
    """

    attachments: tuple[Attachment, ...] = ()
    pictures: dict[str, Image.Image] = field(default_factory=dict)
    clip: tuple[str, str] | None = None
    frame_count: int = 8
    chosen: list[str] | None = None
    questions: str = ""
    blind: bool = False
    caching: Caching = "warm"
    key: str | None = None


@dataclass(frozen=True)
class MediaNote:
    """What became of a file that was added: refused, there already, opened on another page. `when`: seconds since the epoch."""

    text: str
    is_problem: bool
    when: float


@dataclass(frozen=True)
class Refused:
    """A question that goes back into its box. `shown`: it is there."""

    question: str
    why: str
    shown: bool = False


@dataclass(eq=False)  # each is itself, and can be in a set
class Session:
    """Everything but the values of widgets, which Streamlit forgets while another page is open.

    Attributes:
        model: key of the backend in use; None before the first page. `model_is_chosen`: by the user; else it is the default.
        precision: of the weights, for backends that offer a choice.
        pending: pictures that go with the next question. `media_notes`: what became of other files that were added.
        starter: a starter question that was clicked, and the page that asks it.
        page_of_media: the page that shows what was just added, where it is not the open one.
        sampled: frames of `clip` that are on the page.
        frame_choices: by SHA-256 of the clip. `restored_choices`: those that the controls must take over.
        clip_panel: whether the clip is shown on a narrow screen, by conversation and number of its questions.
        uploader_round: raised to empty the uploaders: a new key is a new, empty uploader.
        editing: id of the question that is being edited. `deleting`: id of the conversation to confirm.
        preloaded: names of the backends that this session has started to load.
        painted: whether a page was drawn before. `status_in_page`: the status is being drawn with its page, not on its own.
        notices: messages at the top of the page. `told`: problems of the data folder that were dismissed.
        settings_round: raised to fill the controls of the settings. `kept`: what was stored of these for the next start.
        imports: raised to close the form for imports.
        refused: the question that was refused last, by page.
        unsent: questions that could not be stored, to offer again.
    """

    model: str | None = None
    model_is_chosen: bool = False
    precision: str = "bfloat16"
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    open_conversations: dict[ConversationKind, str | None] = field(
        default_factory=lambda: {"image": None, "video": None}
    )
    pending: tuple[Attachment, ...] = ()
    media_notes: tuple[MediaNote, ...] = ()
    starter: tuple[ConversationKind, str] | None = None
    page_of_media: ConversationKind | None = None
    clip: StoredClip | None = None
    sampled: SampledFrames | None = None
    frame_choices: dict[str, FrameChoice] = field(default_factory=dict)
    restored_choices: set[str] = field(default_factory=set)
    clip_panel: dict[tuple[str | None, int], bool] = field(default_factory=dict)
    uploader_round: int = 0
    editing: int | None = None
    deleting: str | None = None
    preloaded: frozenset[str] = frozenset()
    painted: bool = False
    status_in_page: bool = False
    notices: tuple[str, ...] = ()
    told: frozenset[str] = frozenset()
    settings_round: int = 0
    kept: Preference | None = None
    imports: int = 0
    refused: dict[ConversationKind, Refused] = field(default_factory=dict)
    unsent: tuple[UnsentQuestion, ...] = ()
    ollama_models: tuple[str, ...] = ()
    compare: CompareSession = field(default_factory=CompareSession)
    batch: BatchSession = field(default_factory=BatchSession)
    timeline: TimelineSession = field(default_factory=TimelineSession)
    live: LivePage = field(default_factory=LivePage)

    def unsent_media(self) -> frozenset[str]:
        """SHA-256 of what this session added and has not sent yet."""
        clips = {self.clip.sha256} if self.clip is not None else set()
        if self.compare.clip is not None:
            clips.add(self.compare.clip[0])
        waiting = {a.sha256 for question in self.unsent for a in question.attachments}
        return frozenset({a.sha256 for a in self.pending} | clips | waiting | self.live.form.uploaded.keys())


@lru_cache(maxsize=1)
def shared_process() -> Process:
    return Process.new()


@lru_cache(maxsize=8)
def _workspace(folder: Path) -> Workspace:
    return Workspace(folder, shared_process())


@cache
def _workspace_of_user(folder: Path, data: Path) -> Workspace:
    return Workspace(folder, shared_process(), base=_workspace(data), limits=lambda: access.logins().users.limits)


def workspace() -> Workspace:
    """One for each user; all of them share the backends, their verdicts and what is loaded."""
    return workspace_of(access.user())


def workspace_of(user: User) -> Workspace:
    data = data_folder()
    return _workspace(data) if user == LOCAL else _workspace_of_user(user.folder(data), data)


def is_admin() -> bool:
    """Whether this user may change what all users share, and name paths on this machine."""
    return access.user().is_admin


def for_admins(change: Callable[..., object]) -> Callable[..., None]:
    """A callback for admins only. The page that drew its widget may be older than the user's rights."""

    def checked(*args: Any) -> None:
        if is_admin():
            change(*args)
        else:
            notify("Only admins of this app can do this.")

    return checked


def session() -> Session:
    if "session" not in st.session_state:
        st.session_state["session"] = _new_session()
        workspace().unsent.add(st.session_state["session"])  # no other tab deletes what waits in this one
    return st.session_state["session"]  # type: ignore[no-any-return]


def _new_session() -> Session:
    """With the model and the settings that this user used last."""
    last = workspace().preferences.last()
    return Session(
        model=last.model or None,
        model_is_chosen=bool(last.model),
        precision=last.precision,
        settings=last.settings,
        kept=last,
    )


def choose_model(key: str) -> None:
    session().model, session().model_is_chosen = key, True


def conversation(kind: ConversationKind) -> str | None:
    """The open conversation of a page, which its address names; None for a new one, or one that another tab deleted."""
    identity = session().open_conversations[kind]
    named = address.follow(address.CONVERSATION, identity)
    if named != identity:
        open_conversation(kind, named)
    info = workspace().store.info(named) if named is not None else None
    if info is not None and info.kind == kind:
        return info.id
    if named is not None:
        open_conversation(kind, None)
        address.show(address.CONVERSATION, None)
        notify("This conversation was deleted, or it is not yours.")
    return None


def open_conversation(kind: ConversationKind, identity: str | None) -> None:
    clear_notices()
    current = session()
    current.open_conversations[kind] = identity
    current.refused.pop(kind, None)
    current.editing = current.deleting = None
    current.media_notes = ()
    if kind == "image":
        current.pending = ()
    else:
        current.clip = current.sampled = None
        current.timeline.shown &= identity is None  # a conversation is seen in the chat


def forget_upload(upload: UploadedFile) -> None:
    """Streamlit keeps an upload in memory until the session ends, and a clip can be hundreds of megabytes: release it."""
    context = get_script_run_ctx()
    if context is not None:
        manager: Any = context.uploaded_file_mgr  # its interface lacks `remove_file`, which the one in use has
        manager.remove_file(context.session_id, upload.file_id)


def notify(problem: str | LensError) -> None:
    """Show a message at the top of the page. It stays until it is closed, a question is sent, or something else is opened."""
    session().notices = (*session().notices, str(problem))


def show_notices() -> None:
    for number, text in enumerate(session().notices):
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            show_error(text)
            st.button(
                "Close",
                type="tertiary",
                key=f"close_notice_{number}",
                on_click=_close_notice,
                args=(number,),
            )


def _close_notice(number: int) -> None:
    shown = session().notices
    session().notices = (*shown[:number], *shown[number + 1 :])


def clear_notices() -> None:
    """The user went on: what was said before is over."""
    session().notices = ()
