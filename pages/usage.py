"""What each user of a shared app stores: numbers, no contents. For admins."""

import streamlit as st

from smolvlm_core.errors import LensError
from ui import state
from ui.access import usage
from ui.text import show_error

st.title("Usage")
st.caption("How much each user stores. Contents are theirs: this page does not read them.")
if not state.is_admin():
    st.stop()
try:
    usage.draw()
except LensError as error:
    show_error(error)
