"""The method `report` of classifiers."""

from pathlib import Path
from typing import Any

from skspeech._typing import ArrayLike, ClipsLike, PathLike

__all__ = ["ReportMixin"]


class ReportMixin:
    """Adds `report` to a classifier."""

    def report(self, X_test: ClipsLike, y_test: ArrayLike, path: PathLike, **options: Any) -> Path:
        """Write an HTML page: scores, mistakes to listen to, and what to know about the data.

        Parameters
        ----------
        X_test : sequence of n_test clips
            Clips that the model was not trained on.
        y_test : array-like of shape (n_test,)
            Their true labels.
        path : str or path-like
            The HTML file.
        **options : dict
            Further arguments of :func:`skspeech.report.write_report`, such as `X_train`, `y_train`
            and `groups_test`.

        Returns
        -------
        pathlib.Path
            The file.
        """
        from skspeech.report import write_report

        return write_report(self, X_test, y_test, path, **options)
