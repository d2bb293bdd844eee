"""The progress bar: a widget in notebooks that can show one, text everywhere else."""

import warnings

__all__ = ["progress_bar"]


def progress_bar(*args, disable=False, **kwargs):
    """Make the kind of `tqdm` bar that suits the environment.

    Parameters
    ----------
    *args, **kwargs
        As for `tqdm.tqdm`.
    disable : bool, default=False
        Whether to show nothing.

    Returns
    -------
    tqdm.tqdm
    """
    if disable:
        from tqdm.std import tqdm
    else:
        from tqdm import TqdmWarning

        with warnings.catch_warnings():
            # In a notebook without ipywidgets the bar is text, which is as good: no need to warn.
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm
    return tqdm(*args, disable=disable, **kwargs)
