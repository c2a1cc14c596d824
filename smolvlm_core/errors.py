"""Errors that users can act on. Any other exception is a bug and is not caught."""

from __future__ import annotations


class LensError(Exception):
    """`message` says what is wrong, `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.hint}" if self.hint else message


class MediaError(LensError):
    """An image or clip cannot be used."""


class PromptError(LensError):
    """A conversation cannot be sent to the model as it is."""


class ModelError(LensError):
    """A model cannot be located, downloaded or loaded."""


class OutOfMemoryError(ModelError):
    """There is not enough GPU memory or RAM for the weights or the prompt."""


class BackendError(LensError):
    """A backend failed while answering."""


class NoVision(BackendError):
    """A backend reports that it does not accept images."""


class ContextTooSmall(BackendError):
    """The conversation and its images do not fit the context window of the model."""


class ConversationFileError(LensError):
    """A file is not a conversation that can be imported."""


class StoreError(LensError):
    """The conversation database or the media folder cannot be read or written."""


class DeletedError(StoreError):
    """A conversation or message is not in the store any more. Trying again does not help."""
