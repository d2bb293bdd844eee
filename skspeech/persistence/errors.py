"""Errors and warnings about model files."""

__all__ = ["ModelFileError", "ModelVersionWarning"]


class ModelFileError(ValueError):
    """A file is not a model file, is damaged or is unsafe to load, or a model can't be saved."""


class ModelVersionWarning(UserWarning):
    """A model was saved with other versions of the libraries than the installed ones."""
