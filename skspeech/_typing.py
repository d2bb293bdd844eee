"""Names of the types in the signatures of public functions and estimators.

Data comes in more forms than a type checker can tell apart (lists, arrays, columns of a table,
tensors), so their types are names for the reader; numbers, options and results are checked.
"""

import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import joblib
import numpy as np

__all__ = [
    "ArrayLike",
    "ClipLike",
    "ClipsLike",
    "Device",
    "Memory",
    "PathLike",
    "RandomState",
    "Self",
]

if sys.version_info >= (3, 11):
    from typing import Self
else:
    Self = Any

if TYPE_CHECKING:
    import torch

    Device: TypeAlias = str | torch.device
else:
    Device = str  # so that torch is not imported

ArrayLike: TypeAlias = Any
ClipLike: TypeAlias = Any  # a path, a waveform, a (waveform, sampling_rate) pair, and so on
ClipsLike: TypeAlias = Any  # clips, or the rows of a table where a classifier takes both
PathLike: TypeAlias = str | os.PathLike[str]
Memory: TypeAlias = bool | PathLike | joblib.Memory | None
RandomState: TypeAlias = int | np.random.RandomState | None
