"""SmolVLM Lens. Run with `streamlit run app.py`: the pages of ui/router.py, the clips and pictures that they ask for, and the login."""

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Route

from ui import problems
from ui.access import login
from ui.access.start import lifespan
from ui.clip.route import PATH, send_clip
from ui.guard import Guard
from ui.live import route as live
from ui.pictures import route as pictures
from ui.pictures import script
from ui.security_headers import SecurityHeaders
from ui.timeline import downloads
from ui.timeline import route as segments

app = st.App(
    "ui/router.py",
    routes=[
        Route(PATH, send_clip),
        *pictures.ROUTES,
        script.ROUTE,
        segments.ROUTE,
        downloads.ROUTE,
        *live.ROUTES,
        *login.ROUTES,
    ],
    middleware=[Middleware(SecurityHeaders), Middleware(Guard)],
    lifespan=lifespan,
    on_script_error=problems.show_fault,
)
