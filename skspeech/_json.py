"""Values as JSON has them."""

import math

import numpy as np

__all__ = ["plain"]


def plain(value):
    """Values without arrays; a number that is not finite, which JSON lacks, becomes None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
