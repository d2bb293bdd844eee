"""Code shared by the approaches that train networks on the clips."""

__all__ = []
