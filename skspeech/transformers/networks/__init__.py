"""The pretrained networks as torch modules: no files, no network access."""

__all__ = []
