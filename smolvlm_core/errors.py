"""The errors a user can act on. Anything else is a bug and is left to be seen."""

from __future__ import annotations


class LensError(Exception):
    """Says what was wrong; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.hint}" if self.hint else message


class MediaError(LensError):
    """A picture or clip that cannot be used."""


class PromptError(LensError):
    """A conversation that cannot be put to the model as it is."""


class ModelError(LensError):
    """A model that cannot be found, downloaded or loaded."""


class OutOfMemoryError(ModelError):
    """Not enough GPU memory or RAM for the weights or for what was asked."""


class BackendError(LensError):
    """A backend that failed while answering."""


class NoVision(BackendError):
    """A backend that says itself that it cannot be shown pictures."""


class ContextTooSmall(BackendError):
    """The pictures and the conversation do not fit into what the model can hold at once."""


class StoreError(LensError):
    """The conversation database or media folder cannot be read or written."""
