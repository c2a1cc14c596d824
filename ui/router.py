"""Lists the pages and runs the selected one. Every session starts here; app.py starts the server.

This file must not be next to `pages/`: Streamlit would then open a page by its URL without running this file.
"""

from pathlib import Path

import streamlit as st

from ui import address, navigation, problems, state
from ui.access import account

ICON = Path(__file__).resolve().parent.parent / "assets" / "icon.png"
STYLE = Path(__file__).resolve().parent / "style.css"
WIDE = ("Live", "Batch", "Compare")

# Before the navigation: the browser would fetch the icon of a page that comes first from another host.
st.set_page_config(page_icon=ICON)
pages = [*navigation.pages(), *account.pages(navigation.PAGES)]
page = st.navigation(pages, position="hidden")
# Once a run: where the page itself sets another layout, the browser can miss the second of two changes.
st.set_page_config(layout="wide" if page.title in WIDE else "centered", initial_sidebar_state="auto")
if address.arrive(page.url_path):
    state.clear_notices()
st.html(STYLE)
navigation.draw(pages)
account.draw()
problems.run(page)
