"""The core of SmolVLM Lens: media, prompts, models, backends, checks and conversations. Never imports Streamlit."""

__version__ = "0.1.0"
