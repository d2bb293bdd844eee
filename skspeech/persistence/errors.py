"""What may be wrong with a model file."""

__all__ = ["ModelFileError", "ModelVersionWarning"]


class ModelFileError(ValueError):
    """A file is no model file, is damaged, is not safe to load, or a model can't be put in one."""


class ModelVersionWarning(UserWarning):
    """A model was saved with other versions of the libraries than those that load it."""
