"""SmolVLM Lens without its pages: media, prompts, models, conversations. Never imports streamlit."""

__version__ = "0.1.0"
