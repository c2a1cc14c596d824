"""A camera, a clip or a stream that a model is asked about again and again, with alerts."""

import streamlit as st

from ui import state
from ui.chat import sidebar
from ui.live import form, past, view

choice = sidebar.draw_model()
st.title("Live")
st.caption(
    "The newest frame is asked about as soon as the last answer ends. Frames that come meanwhile are skipped and counted: nothing "
    "waits in a queue."
)
state.show_notices()
live = view.shown()
if live is None:
    sidebar.warn_if_blind(choice)
    form.draw(choice)
else:
    view.draw(live)
past.draw()
