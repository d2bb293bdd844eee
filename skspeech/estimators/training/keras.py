"""How the trained approaches use Keras on TensorFlow without disturbing the rest of the process."""

import contextlib
import os
import random
import re
import sys
import tempfile

import joblib
import numpy as np

__all__ = ["device_scope", "import_keras", "seeded"]


def import_keras(n_threads=None):
    """Import Keras, on TensorFlow, quietly, and let GPU memory grow as needed.

    Parameters
    ----------
    n_threads : int or None, default=None
        Threads of TensorFlow's operations. It has an effect only before TensorFlow has computed
        anything. None is as many as OpenMP may use here, which follows `OMP_NUM_THREADS` and
        threadpoolctl, as in the worker processes of a time-budget run.

    Returns
    -------
    module
        keras

    Raises
    ------
    ImportError
        If Keras was imported earlier with another backend.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    first = "tensorflow" not in sys.modules
    with _chatter_removed() if first else contextlib.nullcontext():
        import tensorflow as tf

    if first:
        n_threads = n_threads or _openmp_threads()
        # After something has been computed these raise RuntimeError; then there is nothing to set.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(n_threads)
            tf.config.threading.set_inter_op_parallelism_threads(n_threads)
        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):
                tf.config.experimental.set_memory_growth(gpu, True)

    import keras

    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            f"Keras runs on {keras.backend.backend()!r} in this process, and this classifier needs "
            "TensorFlow. Set the environment variable KERAS_BACKEND=tensorflow before Python "
            "starts, or before Keras is first imported."
        )
    return keras


# Beginnings of lines that TensorFlow's libraries print while they load, when this can't be turned
# off yet: that they are loaded, and which optional parts are missing.
_CHATTER = re.compile(
    rb"(WARNING: All log messages before absl|[IW]\d{4} |\d{4}-\d\d-\d\d .*: [IW] )"
)


@contextlib.contextmanager
def _chatter_removed():
    """Filter those lines from standard error, including output of C++ libraries."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not _CHATTER.match(line) and line.strip():
                    os.write(2, line)


def _openmp_threads():
    from threadpoolctl import threadpool_info

    counts = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"]
    return min([*counts, joblib.cpu_count()])


def device_scope(device):
    """Context in which Keras computes on `device`.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``, as everywhere in skspeech.

    Returns
    -------
    context manager

    Raises
    ------
    ValueError
        If it is none of these, or TensorFlow does not see that GPU.
    """
    import tensorflow as tf

    name = "auto" if device is None else str(device)
    kind, _, index = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(f"device={device!r} is not accepted. Use 'auto', 'cpu' or 'cuda[:index]'.")
    if kind == "auto":
        return contextlib.nullcontext()
    if kind == "cpu":
        return tf.device("/CPU:0")
    n_gpus = len(tf.config.list_physical_devices("GPU"))
    if int(index or 0) >= n_gpus:
        raise ValueError(
            f"device={name!r} asks for a CUDA device, but TensorFlow sees {n_gpus} here. Install "
            "tensorflow[and-cuda], or use device='auto' to take a GPU only where there is one."
        )
    return tf.device(f"/GPU:{index or 0}")


@contextlib.contextmanager
def seeded(seed):
    """Let Keras draw its random numbers from `seed`; leave Python's and NumPy's as they were."""
    import keras

    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        keras.utils.set_random_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
