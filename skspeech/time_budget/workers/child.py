"""A worker process: runs one task after another until its parent goes away or kills it.

The parent starts it with pipes: pickled messages arrive on standard input and leave on standard
output. Output of candidates goes to standard error, of which the parent keeps the end. It is not a
`multiprocessing` process, so that scripts without a main guard and notebooks work.
"""

import contextlib
import faulthandler
import functools
import os
import pickle
import queue
import shutil
import signal
import sys
import threading
import traceback

__all__ = ["FOLDER", "main", "read_messages", "write_message"]

# The environment variable that names the folder in which parent and worker exchange files. All
# processes that a worker starts inherit it: by that they are known as its own.
FOLDER = "SKSPEECH_WORKER"


def write_message(stream, message):
    """Write a message; it is whole even if a part of it can't be pickled."""
    stream.write(pickle.dumps(message))
    stream.flush()


def read_messages(stream):
    """Yield messages until the stream ends, or breaks off in the middle of one."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(stream)


def main():
    """Run as a worker until the process ends."""
    commands = os.fdopen(os.dup(0), "rb")
    results = os.fdopen(os.dup(1), "wb")
    _redirect_standard_streams()
    _be_modest()
    tasks = queue.Queue()
    reader = threading.Thread(target=_read_commands, args=(commands, tasks), daemon=True)
    reader.start()
    own_pid = os.getpid()
    lock = threading.Lock()

    def send(kind, *news):
        if os.getpid() != own_pid:  # a candidate forked, and this is its child
            os._exit(0)
        with lock:
            write_message(results, (kind, *news))

    try:
        send("started")
        while True:
            _run(tasks.get(), send)
    except OSError:
        reader.join()  # nobody reads the results; the reader thread ends the process


def _redirect_standard_streams():
    faulthandler.enable(file=sys.__stderr__)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)


def _be_modest():
    """Leave Ctrl-C and the processor to the parent; if memory runs out, be killed before it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # not Linux, or not allowed: only a precaution


def _read_commands(commands, tasks):
    for payload in read_messages(commands):
        tasks.put(payload)
    # The parent is gone: remove its files, and end this process and all that a candidate started.
    folder = os.environ.get(FOLDER, "")
    for _ in range(10):  # a candidate of this process, or another worker, may be writing there
        if os.path.exists(folder):
            shutil.rmtree(folder, ignore_errors=True)
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _end_by(seconds):
    """Have the kernel end this process, even if it hangs and the parent is gone."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))


def _take(part):
    """Rows of a file that the parent wrote, or None."""
    from skspeech._sklearn import _safe_indexing

    if part is None:
        return None
    path, rows = part
    return _safe_indexing(_load(path), rows)


@functools.lru_cache(maxsize=5)  # so many files stay open
def _load(path):
    import joblib

    # Copy on write: a candidate may change its data without changing the others'.
    return joblib.load(path, mmap_mode="c")


def _run(payload, send):
    try:
        import cloudpickle  # noqa: F401, what cannot be imported here fails by name

        from skspeech._threads import set_threads
        from skspeech.time_budget.workers.tasks import task_messages

        command = pickle.loads(payload)
        _end_by(command["time_left"] + 5.0)
        set_threads(command["n_threads"])
        task = pickle.loads(command["task"])
        send("started")  # what it needs is imported
        X, y, X_test = map(_take, command["rows"])
        for message in task_messages(task, X, y, X_test):
            send(*message)
    except BaseException as error:
        send("error", f"{type(error).__name__}: {error}", traceback.format_exc())
    sys.stdout.flush()
    sys.stderr.flush()
