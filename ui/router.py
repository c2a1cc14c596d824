"""Lists the pages and runs the selected one. Every session starts here; app.py starts the server.

This file must not be next to `pages/`: Streamlit would then open a page by its URL without running this file.
"""

from pathlib import Path

import streamlit as st

from ui import problems
from ui.access import account

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "pages"

WIDE = ("Batch", "Compare")

page = st.navigation(
    [
        st.Page(PAGES / "image_chat.py", title="Image chat", icon=":material/image:", default=True),
        st.Page(PAGES / "video_chat.py", title="Video chat", icon=":material/movie:"),
        st.Page(PAGES / "batch.py", title="Batch", icon=":material/photo_library:"),
        st.Page(PAGES / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(PAGES / "backends.py", title="Backends", icon=":material/dns:"),
        *account.pages(PAGES),
    ]
)
# Once a run: where the page itself sets another layout, the browser can miss the second of two changes.
st.set_page_config(
    page_title="SmolVLM Lens",
    page_icon=ROOT / "assets" / "icon.png",  # the browser would fetch a Material icon from another host
    layout="wide" if page.title in WIDE else "centered",
    initial_sidebar_state="auto",
)
account.draw()
problems.run(page)
