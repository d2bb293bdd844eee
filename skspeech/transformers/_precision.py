"""In which precision an extractor computes, wherever its model goes."""

from typing import Any

from skspeech._device import computes_bfloat16
from skspeech._typing import Self
from skspeech._warning import warn

__all__ = ["KeepsPrecision"]


class KeepsPrecision:
    """The part of an extractor that knows what ``dtype="auto"`` stands for.

    What was trained on features of one precision may answer anything on those of another: inactive
    units spread by 1e-11 in one and by 1e-7 in the other, and are scaled to unit variance.
    So an extractor keeps the precision that it had when it was fitted, wherever it is pickled or
    computes, until it is fitted again or computes something else.
    """

    _kept_precision: str | None = None

    def _precision(self):
        """The arithmetic: the parameter `dtype`, if there is one, else float32."""
        dtype = getattr(self, "dtype", "float32")
        if dtype != "auto":
            return str(dtype)
        return self._kept_precision or self._auto_precision(self._device())

    def _auto_precision(self, device):
        """What ``dtype="auto"`` stands for on a device."""
        return "float32"

    def _keep_precision(self):
        """Choose anew what ``dtype="auto"`` stands for, and keep that."""
        self._kept_precision = None
        if getattr(self, "dtype", None) == "auto":
            self._kept_precision = self._precision()

    def set_params(self, **params: Any) -> Self:
        """Set parameters; one that changes the features ends what was kept.

        Parameters
        ----------
        **params : dict
            Their names and values.

        Returns
        -------
        self : object
        """
        if params.keys() - self._runtime_parameters:  # type: ignore[attr-defined]
            self._kept_precision = None
        return super().set_params(**params)  # type: ignore[misc]

    def _warn_if_slow(self, device):
        if self._kept_precision == "bfloat16" and not computes_bfloat16(device):
            warn(
                f"{type(self).__name__} was fitted on a processor that computes in bfloat16, and "
                "keeps to it, so that answers are the same. This one has no instructions for it "
                "and takes several times as long. For such machines, fit with dtype='float32'."
            )
