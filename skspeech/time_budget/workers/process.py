"""The parent's side of worker processes: start, send tasks, watch, kill, and clean up."""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time

from joblib.parallel import ParallelBackendBase

from skspeech.time_budget.workers.child import FOLDER, read_messages, write_message

__all__ = ["WorkerProcess", "available_memory", "describe_exit", "kill_marked"]

LOG_BYTES = 4096
# A candidate that prints without end is read, and so slowed down, at this pace.
LOG_BYTES_PER_SECOND = 4_000_000

_START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from skspeech.time_budget.workers.child import main; main()"
)
_THREAD_VARIABLES = (
    *ParallelBackendBase.MAX_NUM_THREADS_VARS,
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


class WorkerProcess:
    """One worker process.

    Parameters
    ----------
    inbox : queue.Queue
        Gets ``(worker, kind, *news)`` for each message, and ``(worker, "died", exit_code)`` once.
    n_threads : int
        Threads that numerical libraries get in the process.
    folder : str
        Folder for exchanged files. The worker removes it if its parent is gone. Its name, which no
        other pool's has, is in the environment of the process and of all that it starts.
    """

    def __init__(self, inbox, n_threads, folder):
        self.inbox = inbox
        self.task = None  # for the owner's books
        self._log = b""
        self._dead = False
        self._reaping = threading.Lock()
        self._commands = queue.SimpleQueue()
        environment = dict(os.environ)
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(n_threads)))
        environment[FOLDER] = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, *(path or os.getcwd() for path in sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        # Each pipe is closed by the thread that uses it: who else closes it waits for that thread,
        # and a process that has left the worker's family may hold the other end for long.
        self._threads = [
            threading.Thread(target=target, name="skspeech-worker", daemon=True)
            for target in (self._wait, self._read_results, self._read_log, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, command):
        """Send a task, without waiting for the worker to read it; results arrive in the inbox."""
        self._log = b""
        self._commands.put(command)

    @property
    def log(self):
        """The end of what was printed since the last task was sent."""
        return self._log.decode(errors="replace")

    def memory(self):
        """Bytes of memory of the process and its children."""
        import psutil

        total = 0
        for member in self._family():
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
        return total

    def kill(self):
        """Kill the process and all that it started, at once."""
        self._dead = True
        for child in self._family()[1:]:
            with contextlib.suppress(Exception):  # gone already
                child.kill()
        with self._reaping:
            if self.process.returncode is None:
                self._kill_group()
                self.process.kill()
        self._commands.put(None)  # not before: a worker whose commands end removes all files

    def _kill_group(self):
        """Call only before the process is reaped: after that, another process may have its id."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def release(self, timeout=0.5):
        """Wait for a killed process to be gone, and for its pipes to be closed."""
        self._threads[0].join(timeout)
        if self.process.returncode is None:
            return  # in an uninterruptible system call; the kernel ends it when that returns
        for thread in self._threads[1:]:
            thread.join(timeout / 5)

    def _family(self):
        """The process and those that it started; none once it is gone."""
        import psutil

        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.Error:
            return []

    def _read_results(self):
        with self.process.stdout as stream:
            for message in read_messages(stream):
                self.inbox.put((self, *message))

    def _read_log(self):
        start, total = time.monotonic(), 0
        with self.process.stderr as stream:
            while chunk := os.read(stream.fileno(), 65536):
                self._log = (self._log + chunk)[-LOG_BYTES:]
                total += len(chunk)
                ahead = total / LOG_BYTES_PER_SECOND - (time.monotonic() - start)
                if ahead > 0 and not self._dead:
                    time.sleep(min(ahead, 0.2))

    def _write(self):
        # Where the process is dead, the inbox tells.
        with contextlib.suppress(OSError), self.process.stdin as stream:
            while (command := self._commands.get()) is not None:
                write_message(stream, pickle.dumps(command))

    def _wait(self):
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            with self._reaping:
                self._kill_group()  # processes that it started
                code = self.process.wait()
        else:
            code = self.process.wait()
        self._threads[1].join(0.5)  # what it had reported counts
        self.inbox.put((self, "died", code))


def describe_exit(returncode):
    """What a worker's exit code means."""
    if returncode < 0:
        try:
            return f"the worker process was ended by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"the worker process was ended by signal {-returncode}"
    return f"the worker process ended itself with exit code {returncode}"


def kill_marked(folder):
    """Kill all processes that carry a folder's name, even if they have left their parents."""
    import psutil

    own = os.getpid()
    for process in psutil.process_iter():
        if process.pid == own:
            continue
        try:
            if process.environ().get(FOLDER) == folder:
                process.kill()
        except (psutil.Error, OSError):
            continue  # gone, or not ours


def available_memory():
    """Bytes of memory that this process may still use, within the limits of a container."""
    import psutil

    available = psutil.virtual_memory().available
    for folder, limit, usage in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            left = _read_number(folder, limit) - _read_number(folder, usage)
        except (OSError, ValueError):
            continue  # no such limit here
        available = min(available, max(left + _droppable(folder), 0))
    return available


def _read_number(folder, name):
    with open(os.path.join(folder, name)) as file:
        return int(file.read())


def _droppable(folder):
    """Bytes of cached files, which count as used but are freed on demand."""
    with open(os.path.join(folder, "memory.stat")) as file:
        numbers = dict(line.split() for line in file)
    return int(numbers.get("inactive_file", 0))
