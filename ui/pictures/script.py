"""The viewer's script: one module for the whole page, which strips and the clip player import once someone opens a picture.

Streamlit sends a component's own script with each of its elements, so that one is kept small.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/viewer.js"
FOLDER = Path(__file__).parent


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    constants = {"VIEWER_HTML": read("viewer.html"), "VIEWER_CSS": read("viewer.css")}
    lines = [f"const {name} = {json.dumps(text)};" for name, text in constants.items()]
    return "\n".join([*lines, read("part.js"), read("viewer.js")])


@cache
def url() -> str:
    """Another one for each version of the script, so that browsers may keep it."""
    return f"{PATH}?{hashlib.sha256(_script().encode()).hexdigest()[:16]}"


def send(request: Request) -> Response:
    headers = {"Cache-Control": "private, max-age=604800, immutable"}
    return Response(_script(), media_type="text/javascript", headers=headers)


ROUTE = Route(PATH, send)
