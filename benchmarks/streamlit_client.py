"""A browser without a browser: one Streamlit session over a raw WebSocket, as Streamlit's own front end speaks it.

Runs the script again and waits for `script_finished`, repeats the fragments that ask for it, uploads files, presses buttons.
Protocol: streamlit/proto/{BackMsg,ForwardMsg}.proto and the routes in streamlit/web/server/starlette of 1.67.
Does not know the app's pages.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

MAX_MESSAGE_BYTES = 64 * 2**20
EARLY = 2  # script_finished: the run ended since another one was asked for; another `script_finished` follows


class Broken(Exception):
    """The app showed an exception, or did not answer in time."""


@dataclass
class Run:
    """One run of the script. `texts`: of all Markdown elements, in order."""

    page: str
    seconds: float
    texts: list[str] = field(default_factory=list)


class StreamlitClient:
    """Use it in one thread. `url`: such as http://localhost:8501.

    Raises:
        Broken: from each method.
    """

    def __init__(self, url: str, timeout_seconds: float = 120.0) -> None:
        self.url, self.timeout_seconds = url, timeout_seconds
        self.http = httpx.Client(base_url=url, timeout=timeout_seconds, headers={"Origin": url})
        self.http.get("/_stcore/health")  # sets the cookie that uploads need
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        self.socket = connect(
            f"ws://{urlsplit(url).netloc}/_stcore/stream",
            origin=url,  # type: ignore[arg-type]
            subprotocols=["streamlit"],  # type: ignore[list-item]
            additional_headers={"Cookie": cookies} if cookies else None,
            max_size=MAX_MESSAGE_BYTES,
        )
        self.session = ""
        self.page_hash, self.pages = "", dict[str, str]()
        self.query = ""  # of the page's address
        self.widgets: dict[str, str] = {}  # id by user key, or by label where there is no key
        self.fragments: dict[str, tuple[float, float]] = {}  # id: (interval, when next) in seconds
        self._in_fragment = False

    def close(self) -> None:
        self.socket.close()
        self.http.close()

    def __enter__(self) -> StreamlitClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rerun(self, page: str | None = None, **widgets: Any) -> Run:
        """Run the page's script, or open another `page` (its path; "" is the first). `widgets`: a `WidgetState` field and value
        by key. Waits for the end of the run and of those that follow from it."""
        message = BackMsg()
        state = message.rerun_script
        if page is not None:
            state.page_script_hash = self.pages.get(page, "")
            if not self.pages:
                state.page_name = page
            self.fragments.clear()
            if state.page_script_hash != self.page_hash:
                self.query = ""  # links of the app name what is open on the other page; it is found without, too
            state.query_string = self.query
        else:
            state.page_script_hash, state.query_string = self.page_hash, self.query
        for key, (name, value) in widgets.items():
            self._set(state.widget_states.widgets.add(), key, name, value)
        return self._run(message)

    def rest(self, seconds: float) -> list[Run]:
        """Time passes as in a tab that nobody touches: the page's fragments run again as often as they ask for it."""
        runs, until = [], time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            due = min(self.fragments.items(), key=lambda item: item[1][1], default=None)
            if due is None or due[1][1] > until:
                self._listen(until - now)
                continue
            self._listen(max(0.0, due[1][1] - now))
            if due[0] not in self.fragments:
                continue
            self.fragments[due[0]] = (due[1][0], time.monotonic() + due[1][0])
            message = BackMsg()
            message.rerun_script.page_script_hash, message.rerun_script.query_string = self.page_hash, self.query
            message.rerun_script.fragment_id = due[0]
            message.rerun_script.is_auto_rerun = True
            runs.append(self._run(message))
        return runs

    def upload(self, key: str, name: str, data: bytes, kind: str) -> Run:
        """Put a file into the uploader, and run."""
        message = BackMsg()
        message.file_urls_request.request_id = "1"
        message.file_urls_request.file_names.append(name)
        message.file_urls_request.session_id = self.session
        self.socket.send(message.SerializeToString())
        until = time.monotonic() + self.timeout_seconds
        while True:
            got = self._receive(until - time.monotonic())
            if got is not None and got.WhichOneof("type") == "file_urls_response":
                break
        urls = got.file_urls_response.file_urls[0]
        token = self.http.cookies.get("_streamlit_xsrf", "")
        answer = self.http.put(urls.upload_url, files={"file": (name, data, kind)}, headers={"X-Xsrftoken": token})
        if answer.status_code >= 300:
            raise Broken(f"upload: {answer.status_code} {answer.text[:200]}")
        return self.rerun(**{key: ("file_uploader_state_value", (name, len(data), urls))})

    def _set(self, state: Any, key: str, name: str, value: Any) -> None:
        found = [i for known, i in self.widgets.items() if re.fullmatch(key, known)]
        if not found:
            raise Broken(f"There is no widget {key!r}: {sorted(self.widgets)}")
        state.id = found[-1]
        if name == "file_uploader_state_value":
            file = state.file_uploader_state_value.uploaded_file_info.add()
            file.name, file.size = value[0], value[1]
            file.file_id = value[2].file_id
            file.file_urls.CopyFrom(value[2])
        elif name == "chat_input_value":
            state.chat_input_value.data = value
        else:
            setattr(state, name, value)

    def _run(self, message: BackMsg) -> Run:
        began = time.monotonic()
        self._in_fragment = bool(message.rerun_script.fragment_id)
        self.socket.send(message.SerializeToString())
        texts: list[str] = []
        while True:
            left = self.timeout_seconds - (time.monotonic() - began)
            got = self._receive(left)
            if got is None:
                raise Broken(f"No end of a run within {self.timeout_seconds:.0f} s")
            kind = got.WhichOneof("type")
            if kind == "new_session":
                texts = []
            elif kind == "delta" and got.delta.WhichOneof("type") == "new_element":
                texts += _text(got.delta.new_element)
            elif kind == "script_finished" and got.script_finished != EARLY:
                seconds = time.monotonic() - began
                if not self._goes_on():
                    page = next((path for path, known in self.pages.items() if known == self.page_hash), "")
                    return Run(page, seconds, texts)
                texts = []

    def _goes_on(self) -> bool:
        """`st.rerun()` ends a run and begins the next one at once."""
        got = self._receive(0.02)
        while got is not None:
            if got.WhichOneof("type") == "new_session":
                return True
            got = self._receive(0.02)
        return False

    def _listen(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._receive(left)

    def _receive(self, seconds: float) -> ForwardMsg | None:
        try:
            data = self.socket.recv(timeout=max(0.0, seconds))
        except TimeoutError:
            return None
        message = ForwardMsg()
        message.ParseFromString(data if isinstance(data, bytes) else data.encode())
        self._note(message)
        return message

    def _note(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.page_hash = message.new_session.page_script_hash or self.page_hash
            self.session = message.new_session.initialize.session_id or self.session
            if not self._in_fragment:
                self.fragments.clear()
            self._in_fragment = False  # a fragment that calls st.rerun() is followed by a run of the whole page
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "navigation":
            self.page_hash = message.navigation.page_script_hash or self.page_hash
            self.pages = {
                "" if page.is_default else page.url_pathname: page.page_script_hash
                for page in message.navigation.app_pages
            }
        elif kind == "auto_rerun":
            interval = message.auto_rerun.interval
            self.fragments[message.auto_rerun.fragment_id] = (interval, time.monotonic() + interval)
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self.fragments.pop(fragment, None)
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._note_element(message.delta.new_element)

    def _note_element(self, element: Any) -> None:
        kind = element.WhichOneof("type")
        if kind == "exception":
            raise Broken(
                f"{element.exception.type}: {element.exception.message}\n" + "\n".join(element.exception.stack_trace)
            )
        value = getattr(element, kind) if kind else None
        if identity := getattr(value, "id", ""):
            # "$$ID-<hash>-<key>"; "None" where the app gave no key
            key = identity.split("-", 2)[-1]
            self.widgets[getattr(value, "label", "") if key == "None" else key] = identity


def _text(element: Any) -> list[str]:
    kind = element.WhichOneof("type")
    if kind == "markdown":
        return [element.markdown.body]
    if kind == "alert":
        return [element.alert.body]
    return [element.text.body] if kind == "text" else []
