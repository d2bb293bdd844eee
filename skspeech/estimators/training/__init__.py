"""What the approaches that train networks on the clips share."""

__all__ = []
