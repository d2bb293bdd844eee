"""Threads that decode clips ahead of their use, and end when nobody wants more waveforms."""

import atexit
import functools
import threading
import time
import weakref

from skspeech._forks import in_each_fork

__all__ = []

# How long a thread waits before it checks whether its waveform is still wanted. Normally `close`
# wakes it at once; this covers the case that `close` could not get the lock.
_PATIENCE = 0.5
# How long the end of an iterator, or of the process, waits for a block that is being decoded.
_FAREWELL = 2.0


class _Closed(Exception):
    """Nobody wants the waveforms any more."""


class _Ahead:
    """A buffer: threads put waveforms into it, and the consumer takes them out in order.

    A clip may be decoded while the audio that is decoded but not yet taken stays within `limit`
    seconds; once that is reached, threads go on when half of it is taken. The clip that the
    consumer waits for is always admitted, so there is no deadlock, and memory is bounded by `limit`
    plus one clip.
    """

    def __init__(self, n_clips, limit):
        self._changed = threading.Condition()
        self._unclaimed = iter(range(n_clips))
        self._limit = limit
        self._seconds = {}
        self._total = 0.0
        self._outcomes = {}
        self._next = 0
        self._closed = False
        self._threads = []

    def start(self, work, n_threads):
        """Run `work(self)` in threads.

        They are daemon threads: the interpreter waits for all other threads before it exits, but
        the consumer may itself be a daemon that never takes another clip.
        """
        for number in range(n_threads):
            thread = threading.Thread(
                target=work, args=(self,), name=f"skspeech-decode_{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def claim(self):
        """Index of the next clip to decode, or None."""
        with self._changed:
            return None if self._closed else next(self._unclaimed, None)

    def wait_turn(self, index, seconds):
        """Wait until a clip of `seconds` may be decoded; 0 only checks whether to continue."""
        if seconds == 0:
            if self._closed:
                raise _Closed
            return
        with self._changed:
            while not (self._closed or index == self._next or self._total + seconds <= self._limit):
                self._changed.wait(_PATIENCE)
            if self._closed:
                raise _Closed
            self._total += seconds - self._seconds.pop(index, 0.0)
            self._seconds[index] = seconds

    def put(self, index, outcome):
        with self._changed:
            self._outcomes[index] = outcome
            if index == self._next:
                self._changed.notify_all()

    def take(self, index):
        """Wait for an outcome."""
        with self._changed:
            self._next = index
            if index not in self._outcomes:
                self._changed.notify_all()
                self._changed.wait_for(lambda: index in self._outcomes)
            self._total -= self._seconds.pop(index, 0.0)
            if self._total <= self._limit / 2:  # to wake threads for each clip would take time
                self._changed.notify_all()
            return self._outcomes.pop(index)

    def close(self):
        """Ask the threads to end, without waiting for anything.

        The garbage collector may call this anywhere, even in one of these threads or while other
        locks are held.
        """
        self._closed = True
        if self._changed.acquire(blocking=False):
            self._changed.notify_all()
            self._changed.release()

    def join(self, deadline):
        """Wait for the threads to end, not beyond the deadline."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


_OPEN = weakref.WeakSet()
_OPEN_LOCK = threading.Lock()


@in_each_fork
def _forget_open():
    """After a fork: the parent's threads do not exist in the child."""
    global _OPEN_LOCK
    _OPEN_LOCK = threading.Lock()
    _OPEN.clear()


@atexit.register
def _close_all():
    """End the threads before the interpreter destroys the modules that they use."""
    with _OPEN_LOCK:
        still_open = list(_OPEN)
    for ahead in still_open:
        ahead.close()
    deadline = time.monotonic() + _FAREWELL
    for ahead in still_open:
        ahead.join(deadline)


def in_threads(load, clips, n_threads, limit):
    """Load clips in threads, in order.

    Parameters
    ----------
    load : callable
        Takes a clip and `wait_turn`, a function. It calls `wait_turn` with the clip's seconds
        before it decodes them, and with 0 now and then. It returns a waveform, or an exception
        that is the clip's fault; whatever it raises is raised here.
    clips : Clips
    n_threads : int
    limit : float
        Seconds of audio that may be decoded and waiting.

    Yields
    ------
    ndarray or Exception
        What `load` returned.
    """
    ahead = _Ahead(len(clips), limit)
    with _OPEN_LOCK:
        _OPEN.add(ahead)
    try:
        ahead.start(functools.partial(_work, load, clips), n_threads)
        for index in range(len(clips)):
            is_fault, outcome = ahead.take(index)
            if is_fault:
                raise outcome
            yield outcome
    finally:
        ahead.close()
        ahead.join(time.monotonic() + _FAREWELL)


def _work(load, clips, ahead):
    while (index := ahead.claim()) is not None:
        try:
            outcome = load(clips[index], wait_turn=functools.partial(ahead.wait_turn, index))
        except _Closed:
            return
        except BaseException as error:
            ahead.put(index, (True, error))
        else:
            ahead.put(index, (False, outcome))
