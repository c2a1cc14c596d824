"""A session of the app as a program opens it: a WebSocket that sends and gets Streamlit's messages, without a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import connect

SECONDS = 60.0


class RawSession:
    """`id`: Streamlit's, after the first run. `widgets`: by label, those that were drawn; `pages`: hashes by name."""

    def __init__(
        self, url: str, cookies: Mapping[str, str], *, back_to: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._stack = ExitStack()
        opened = connect(
            f"{url.replace('http', 'ws', 1)}/_stcore/stream",
            additional_headers={"Cookie": cookie, **(headers or {})},
            subprotocols=["streamlit", "token", *([back_to] if back_to else [])],  # type: ignore[list-item]
            max_size=None,
            proxy=None,
        )
        self._socket = self._stack.enter_context(opened)
        self.id = ""
        self.widgets: dict[str, Any] = {}
        self.pages: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def run(self, page: str = "", *, states: Sequence[WidgetState] = (), fragment: str = "") -> list[str]:
        """Run a page, and return its texts. `page`: a name of `pages`. `states`: of widgets, as a browser sends them."""
        message = BackMsg()
        wanted = message.rerun_script
        wanted.page_script_hash, wanted.fragment_id = self.pages.get(page, page), fragment
        wanted.widget_states.widgets.extend(states)
        self._socket.send(message.SerializeToString())
        texts: list[str] = []
        while True:
            came = ForwardMsg()
            came.ParseFromString(self._socket.recv(timeout=SECONDS))
            kind = came.WhichOneof("type")
            if kind == "script_finished":
                return texts
            if kind == "new_session":
                self.id = came.new_session.initialize.session_id or self.id
            elif kind == "navigation":
                self.pages = {each.page_name: each.page_script_hash for each in came.navigation.app_pages}
            elif kind == "delta" and came.delta.WhichOneof("type") == "new_element":
                texts += self._text_of(came.delta.new_element)

    def _text_of(self, element: Any) -> list[str]:
        drawn = getattr(element, element.WhichOneof("type"))
        label = getattr(drawn, "label", "")
        if getattr(drawn, "id", ""):
            self.widgets[label] = drawn
        return [text for text in (getattr(drawn, "body", ""), label, getattr(drawn, "message", "")) if text]
