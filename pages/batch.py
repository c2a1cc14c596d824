"""The same question about many pictures and clips."""

import streamlit as st

from ui import state
from ui.batch import export, form, picker, progress, results
from ui.chat import sidebar

choice = sidebar.draw_model()
st.title("Batch")
st.caption("Ask the same question about many pictures and clips, look through the answers, correct and export them.")
state.show_notices()
batch = picker.draw()
if batch is None:
    sidebar.warn_if_blind(choice)
    progress.draw_running_elsewhere(None)
    form.draw(choice)
else:
    progress.draw_running_elsewhere(batch)
    progress.draw(batch)
    results.draw(batch)
    export.draw(batch)
