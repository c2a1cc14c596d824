"""SmolVLM Lens. Run with `streamlit run app.py`: the pages of ui/router.py, and the clips that its player asks for."""

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Route

from ui.clip.route import PATH, send_clip
from ui.guard import Guard
from ui.security_headers import SecurityHeaders

app = st.App(
    "ui/router.py", routes=[Route(PATH, send_clip)], middleware=[Middleware(SecurityHeaders), Middleware(Guard)]
)
