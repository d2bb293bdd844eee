"""Where computation happens: devices and threads."""

import collections
import concurrent.futures
import contextlib

from skspeech._shared_setting import SharedSetting
from skspeech._stopping import stop_check

__all__ = [
    "computes_bfloat16",
    "in_single_precision",
    "map_in_threads",
    "n_threads_for",
    "resolve_device",
]

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # names of torch.cpu.get_capabilities


def resolve_device(device="auto"):
    """Turn a user's device choice into a :class:`torch.device`.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        ``"auto"`` is the first CUDA device if there is one, else the CPU. Anything else is
        given to :class:`torch.device`: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine does not have it.
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


def computes_bfloat16(device, instructions=_BFLOAT16_INSTRUCTIONS):
    """Whether a device multiplies matrices in bfloat16 faster than in single precision.

    Parameters
    ----------
    device : torch.device
        Which.
    instructions : sequence of str, default=("avx512_bf16", "amx_bf16")
        Instructions of a CPU, any of which does so.

    Returns
    -------
    bool
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False  # older versions of torch don't tell
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in instructions)


def in_single_precision(device):
    """Let float32 mean single precision inside a block, on a GPU too.

    There, torch lets convolutions and recurrent layers round to TF32, with 10 bits in the place of
    23. That is enough to train networks, but what was trained on features from one device has to
    meet the same features from another. The setting is one for the process: it is restored when the
    last of such blocks ends.

    Parameters
    ----------
    device : torch.device
        Where the block computes. On other devices than CUDA's, nothing changes.

    Returns
    -------
    context manager
    """
    return _single_precision.block() if device.type == "cuda" else contextlib.nullcontext()


def _forbid_tf32():
    settings = _tf32_settings()
    before = [getattr(place, name) for place, name, _ in settings]
    for place, name, exact in settings:
        setattr(place, name, exact)

    def restore():
        for (place, name, _), value in zip(settings, before, strict=True):
            setattr(place, name, value)

    return restore


_single_precision = SharedSetting(_forbid_tf32)


def _tf32_settings():
    """Where torch keeps the setting, its name there, and its value for single precision."""
    from torch import backends

    matmul, cudnn = backends.cuda.matmul, backends.cudnn
    if hasattr(cudnn, "conv"):  # since torch 2.9
        return [(place, "fp32_precision", "ieee") for place in (cudnn.conv, cudnn.rnn, matmul)]
    return [(place, "allow_tf32", False) for place in (cudnn, matmul)]


def n_threads_for(device):
    """How many pieces of work to run at once: torch's threads on a CPU, one on a GPU.

    Parameters
    ----------
    device : torch.device
        Where they run.

    Returns
    -------
    int
    """
    import torch

    return torch.get_num_threads() if device.type == "cpu" else 1


def map_in_threads(function, items, n_threads):
    """Apply a function that computes with torch to items in parallel, one thread for each.

    Parameters
    ----------
    function : callable
        Called with one item. Torch's settings of the calling thread, such as inference mode, do not
        reach into it.
    items : iterable
        What to work on. No more than `n_threads` items are taken ahead of the results.
    n_threads : int
        Items to work on at once. With 1, the function runs in the calling thread.

    Yields
    ------
    object
        The results, in the order of `items`. If `items` raises an error, the results of the items
        before it come first.

    Raises
    ------
    Stopped
        Before an item, if the surrounding work is no longer needed.
    """
    import torch

    check = stop_check()

    def unless_stopped(item):
        check()
        return function(item)

    if n_threads == 1:
        yield from map(unless_stopped, items)
        return
    n_before = torch.get_num_threads()
    pool = concurrent.futures.ThreadPoolExecutor(
        n_threads, "skspeech-network", torch.set_num_threads, (1,)
    )
    try:
        yield from _in_order(pool, unless_stopped, iter(items), n_threads)
    finally:
        pool.shutdown(cancel_futures=True)
        # The setting was local to the threads, except in the linear algebra library.
        torch.set_num_threads(n_before)


def _in_order(pool, function, items, n_ahead):
    waiting, error = collections.deque(), None
    while True:
        try:
            waiting.append(pool.submit(function, next(items)))
        except StopIteration:
            break
        except Exception as caught:
            error = caught
            break
        if len(waiting) > n_ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
    if error is not None:
        raise error
