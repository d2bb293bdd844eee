"""Where computation happens: devices and threads."""

import contextlib

__all__ = ["cpu_threads", "resolve_device"]


def resolve_device(device="auto"):
    """Turn a user's device choice into a :class:`torch.device`.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        ``"auto"`` is the first CUDA device where there is one, else the CPU. Anything else is
        given to :class:`torch.device`: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the device is not known to torch, or this machine does not have it.
    """
    import torch

    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a device that torch knows. "
            "Use 'auto', 'cpu', 'cuda', 'cuda:<index>' or 'mps'."
        ) from error
    _check_present(resolved)
    return resolved


def _check_present(device):
    import torch

    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ValueError(
                f"device={str(device)!r} asks for a CUDA device, but torch sees {count} here. "
                "Use device='auto' to take a GPU only where there is one."
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            "device='mps' asks for Apple's GPU, which torch does not see here. Use device='auto'."
        )


@contextlib.contextmanager
def cpu_threads(n_threads=None):
    """Run a block with `n_threads` torch threads, and restore the former number after it.

    Parameters
    ----------
    n_threads : int or None, default=None
        Number of threads inside the block; None changes nothing.
    """
    import torch

    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        if n_threads is not None:
            torch.set_num_threads(before)
