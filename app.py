"""SmolVLM Lens: routes to the pages. Run with `streamlit run app.py`."""

import streamlit as st

st.set_page_config(
    page_title="SmolVLM Lens", page_icon=":material/visibility:", layout="centered", initial_sidebar_state="auto"
)
st.navigation(
    [
        st.Page("pages/image_chat.py", title="Image chat", icon=":material/image:", default=True),
        st.Page("pages/video_chat.py", title="Video chat", icon=":material/movie:"),
    ]
).run()
