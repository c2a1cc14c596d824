"""A user of the real app, over its WebSocket: asks one question after another and says which ones were shown."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import Any

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

SECONDS = 60.0


def wait_until_ready(port: int, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError("the app did not start")


def ask(port: int, said: list[dict[str, Any]], stop: threading.Event) -> None:
    """Until the app is gone. `said` gets each question that the page shows as part of the conversation."""
    with contextlib.suppress(WebSocketException, OSError, TimeoutError, EOFError):
        with connect(f"ws://127.0.0.1:{port}/_stcore/stream", max_size=None, open_timeout=30) as socket:
            input_id = _run(socket, None, "", said)
            while input_id and not stop.is_set():
                input_id = _run(socket, input_id, f"What is it? {uuid.uuid4().hex}", said) or input_id


def _run(socket: ClientConnection, input_id: str | None, question: str, said: list[dict[str, Any]]) -> str | None:
    """One run of the script, with a question where `input_id` names the chat's field. Returns the field's ID."""
    message = BackMsg()
    message.rerun_script.query_string = ""
    if input_id is not None:
        state = message.rerun_script.widget_states.widgets.add()
        state.id = input_id
        state.chat_input_value.data = question
    socket.send(message.SerializeToString())
    found, ends = input_id, time.monotonic() + SECONDS
    while time.monotonic() < ends:
        data = socket.recv(timeout=SECONDS)
        forward = ForwardMsg()
        forward.ParseFromString(data if isinstance(data, bytes) else data.encode())
        element = forward.delta.new_element
        if element.HasField("chat_input"):
            found = element.chat_input.id
        if question and element.HasField("text") and element.text.body == question:
            said.append({"question": question})
        if forward.WhichOneof("type") == "script_finished":
            return found
    return None
