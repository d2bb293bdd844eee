"""Clips and sequences of clips. A clip is one recording, decoded on demand."""

import collections.abc
import contextlib
import copy
import functools
import math
import numbers
import os
import threading

import numpy as np

from skspeech._forks import in_each_fork
from skspeech._warning import warn
from skspeech.audio.decoding import note_on_missing, open_sound, part_of_sound
from skspeech.audio.errors import DamagedError, printable
from skspeech.audio.files import FILE_KEYS, digest_held
from skspeech.audio.long import LongWaveform
from skspeech.audio.waveforms import (
    SAMPLING_RATE,
    Overlong,
    Part,
    blocks_of_array,
    check_offset,
    check_seconds,
    checked_rate,
    decode,
    ignored,
    is_finite,
    no_waiting,
    note_on_integers,
    plan,
    stream,
    why_nothing,
)

__all__ = ["Clip", "Clips"]

# Clips share a few locks: a lock for each clip would take more memory than the clip, and locks
# can't be pickled.
_KEY_LOCKS = [threading.Lock() for _ in range(64)]


@in_each_fork
def _renew_key_locks():
    _KEY_LOCKS[:] = [threading.Lock() for _ in _KEY_LOCKS]


class Clip:
    """One recording: a path, a file's content in memory, or a waveform and its sampling rate.

    Made by :func:`as_clips`, which checks its input; nothing is decoded before :meth:`load`.

    Parameters
    ----------
    source : str, bytes or ndarray of shape (n_samples,)
        Path of the file, its content, or the waveform.
    sampling_rate : float or None, default=None
        Samples per second of a waveform (Hz). A file knows its own.
    position : int, str or None, default=None
        Position of the clip in its container, or a name. It identifies a clip without a path.

    Attributes
    ----------
    name : str
        The path, or ``"clip 3"`` for a clip without a path at position 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import as_clips
    >>> clip = as_clips([(np.zeros(8000), 8000)])[0]
    >>> clip.name, clip.duration(), clip.load().shape
    ('clip 0', 1.0, (16000,))
    """

    __slots__ = ("_excerpt", "_key", "_position", "_sampling_rate", "_source", "_speed")

    def __init__(self, source, sampling_rate=None, position=None):
        self._source = source
        self._sampling_rate = sampling_rate
        self._position = position
        self._key = None
        self._speed = 1.0
        self._excerpt = (0.0, None)  # offset and duration in seconds, after the change of speed

    @property
    def name(self):
        if isinstance(self._position, str):
            return self._position
        if isinstance(self._source, str):
            return self._source
        return "clip" if self._position is None else f"clip {self._position}"

    def __repr__(self):
        return f"<Clip {self.name!r}>"

    @property
    def sampling_rate(self):
        """Samples per second (Hz) of the clip itself, before resampling."""
        if isinstance(self._source, np.ndarray):
            return self._sampling_rate
        with open_sound(self._source) as sound:
            return sound.sampling_rate

    @property
    def size(self):
        """Size without opening the clip: samples of a waveform, or bytes of a file.

        None where it is unknown.
        """
        if not isinstance(self._source, str):
            return len(self._source)
        try:
            return os.stat(self._source).st_size
        except (OSError, ValueError):
            return None

    def duration(self):
        """Length in seconds, from the header; the clip is decoded only where the header lacks it.

        Returns
        -------
        float
            Seconds.

        Raises
        ------
        OSError, ValueError
            If the file cannot be opened or is not audio, or a :meth:`variant` begins after its end.
        """
        if isinstance(self._source, np.ndarray):
            seconds = len(self._source) / self._sampling_rate
        else:
            with open_sound(self._source) as sound:
                n_frames = sound.count() if sound.n_frames is None else sound.n_frames
                seconds = n_frames / sound.sampling_rate
        offset, duration = self._excerpt
        seconds /= self._speed
        if offset:
            check_offset(offset, seconds)
        seconds -= offset
        return seconds if duration is None else min(seconds, duration)

    def variant(self, *, speed=1.0, offset=0.0, duration=None):
        """The same recording played faster or slower, or a part of it; nothing is decoded yet.

        Parameters
        ----------
        speed : float, default=1.0
            Playback speed. Pitch and formants change with it, as on a tape.
        offset : float, default=0.0
            Seconds to leave out at the start, after the change of speed.
        duration : float or None, default=None
            Seconds to keep; None keeps all.

        Returns
        -------
        Clip
            With the same name, and its own key.

        Raises
        ------
        ValueError
            If `speed`, `offset` or `duration` is out of range, or `offset` is not before the end of
            a clip that is a variant with a `duration`.

        Examples
        --------
        >>> import numpy as np
        >>> from skspeech.audio import as_clips
        >>> clip = as_clips([np.zeros(16_000)])[0]
        >>> clip.variant(speed=2.0).duration(), clip.variant(offset=0.75).load().shape
        (0.5, (4000,))
        """
        if not (is_finite(speed) and speed > 0):
            raise ValueError(f"speed={speed!r} is not accepted: it has to be a number above 0.")
        check_seconds(duration, offset, "duration")
        # The key has them as text, and NumPy's numbers have another text.
        speed = speed.item() if isinstance(speed, np.generic) else speed
        offset, duration = float(offset), None if duration is None else float(duration)
        variant = copy.copy(self)
        variant._speed = self._speed * speed
        offset_before, duration_before = self._excerpt
        if duration_before is not None:
            check_offset(offset, duration_before / speed)
            left = duration_before / speed - offset
            duration = left if duration is None else min(duration, left)
        variant._excerpt = (offset_before / speed + offset, duration)
        return variant

    def load(self, max_duration=None, offset=0.0, sampling_rate=SAMPLING_RATE):
        """Decode, mix down to mono, resample.

        Parameters
        ----------
        max_duration : float or None, default=None
            Seconds to return at most. No more than that is decoded.
        offset : float, default=0.0
            Seconds to leave out at the start. MP3 and Vorbis are decoded from their start, because
            libsndfile can't seek in them exactly; other formats are not.
        sampling_rate : float, default=16000
            Samples per second of the result (Hz).

        Returns
        -------
        ndarray of shape (n_samples,), float32
            A new array, also where the clip is a waveform in memory.

        Raises
        ------
        OSError, ValueError
            If the clip is missing, not audio, damaged, empty, longer than 6 hours, or holds samples
            that are not finite. The message is the bare reason, without the clip's name.
        """
        check_seconds(max_duration, offset)
        notes = []
        rate = checked_rate(sampling_rate)
        waveform = self._load(max_duration, offset, rate, no_waiting, notes.append)
        for note in notes:
            warn(f"{printable(self.name)} {note}")
        return waveform

    def blocks(self, sampling_rate=SAMPLING_RATE):
        """Decode, mix down and resample a block at a time: hours of audio need little memory.

        Parameters
        ----------
        sampling_rate : float, default=16000
            Samples per second of the result (Hz).

        Yields
        ------
        ndarray of shape (n_samples,), float32
            Joined, the blocks are what :meth:`load` returns, but without its limit of 6 hours.
            Blocks of a waveform in memory may be views of it: don't write to them.

        Raises
        ------
        OSError, ValueError
            As :meth:`load`; for a damaged recording, after its good part.

        Examples
        --------
        >>> import numpy as np
        >>> from skspeech.audio import as_clips
        >>> clip = as_clips([(np.zeros(800_000), 8000)])[0]
        >>> sum(len(block) for block in clip.blocks())
        1600000
        """
        rate = checked_rate(sampling_rate)

        def note(remark):
            warn(f"{printable(self.name)} {remark}")

        with contextlib.closing(self._stream(math.inf, 0.0, rate, note=note)) as blocks:
            yield from filter(len, blocks)

    def _load(self, max_duration, offset, sampling_rate, wait_turn, note, longest=math.inf):
        """The waveform, or a `LongWaveform` if the clip has more than `longest` seconds."""
        damage = None
        with self._opened(max_duration, offset, sampling_rate, note) as part:
            try:
                waveform, damage = decode(part, sampling_rate, wait_turn, longest)
            except Overlong:
                read = functools.partial(self._stream, max_duration, offset, sampling_rate)
                waveform, damage = LongWaveform.measured(read, sampling_rate, wait_turn, note)
                if len(waveform) <= longest * sampling_rate:  # the header announced more
                    waveform = waveform.load()
        if len(waveform) == 0:
            raise damage or ValueError(why_nothing(part.span))
        if damage is not None:
            raise DamagedError(damage.seconds, damage.why, waveform) from damage
        note_on_missing(part, len(waveform) / sampling_rate, note)
        return waveform

    def _stream(self, max_duration, offset, sampling_rate, wait_turn=no_waiting, note=ignored):
        """The waveform, a block of samples at a time."""
        n_samples = 0
        with self._opened(max_duration, offset, sampling_rate, note) as part:
            for chunk in stream(part, sampling_rate, wait_turn):
                n_samples += len(chunk)
                yield chunk
            if n_samples == 0:
                raise ValueError(why_nothing(part.span))
            note_on_missing(part, n_samples / sampling_rate, note)

    @contextlib.contextmanager
    def _opened(self, max_duration, offset, sampling_rate, note):
        """What to decode."""
        first, duration = self._excerpt
        if duration is not None:
            check_offset(offset, duration)
            left = duration - offset
            max_duration = left if max_duration is None else min(max_duration, left)
        offset += first
        if isinstance(self._source, np.ndarray):
            waveform, rate = self._source, self._played_at(self._sampling_rate)
            if remark := note_on_integers(waveform):
                note(remark)
            span = plan(len(waveform), rate, sampling_rate, offset, max_duration)
            blocks = blocks_of_array(waveform, span.start, span.stop)
            yield Part(blocks, span, rate, span.n_samples / sampling_rate)
            return
        with open_sound(self._source) as sound:
            rate = self._played_at(checked_rate(sound.sampling_rate))
            yield part_of_sound(sound, rate, sampling_rate, offset, max_duration, note)

    def _played_at(self, rate):
        """The sampling rate that gives this playback speed."""
        return rate if self._speed == 1.0 else checked_rate(round(rate * self._speed, 3))

    def key(self):
        """Key of the content: equal for equal bytes, whatever the path, unless it tells the format.

        Returns
        -------
        str
            Hexadecimal digest of the bytes of the file as it is now, or of the samples, their type
            and sampling rate; for a :meth:`variant`, a suffix says which one it is.

        Raises
        ------
        OSError, ValueError
            If the file cannot be read or is empty.
        """
        digest = self._digest()
        is_variant = self._speed != 1.0 or self._excerpt != (0.0, None)
        return f"{digest}-{self._speed!r}-{self._excerpt!r}" if is_variant else digest

    def _digest(self):
        """That of what is in memory is computed once; a file may be another one by now."""
        if isinstance(self._source, str):
            try:
                self._key = FILE_KEYS.get(self._source)
            except FileNotFoundError:  # if it was removed since, it counts as it was last
                if self._key is None:
                    raise
        elif self._key is None:
            with _KEY_LOCKS[id(self) // 16 % len(_KEY_LOCKS)]:
                if self._key is None:
                    self._key = digest_held(self._source, self._sampling_rate)
        return self._key


class Clips(collections.abc.Sequence):
    """A checked sequence of clips, decoded one at a time on demand.

    Made by :func:`as_clips`. Indexing with an int gives a :class:`Clip`; a slice, an array of ints
    or a boolean mask gives another `Clips`, whose errors still name positions in the original.

    Parameters
    ----------
    items : list of str or Clip
        Paths, and clips in memory.
    positions : sequence of int or None, default=None
        Positions of the clips in the original container; None is 0, 1, 2, …

    Examples
    --------
    >>> from skspeech.audio import as_clips
    >>> clips = as_clips(["a.wav", "b.wav", "c.wav"])
    >>> len(clips), clips[1].name, [clip.name for clip in clips[[2, 0]]]
    (3, 'b.wav', ['c.wav', 'a.wav'])
    """

    def __init__(self, items, positions=None):
        self._items = items
        self._positions = range(len(items)) if positions is None else positions

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        if isinstance(index, numbers.Integral):
            item = self._items[index]
            return Clip(item) if isinstance(item, str) else item
        if isinstance(index, slice):
            return Clips(self._items[index], self._positions[index])
        index = _as_int_index(index, len(self))
        return Clips([self._items[i] for i in index], [self._positions[i] for i in index])

    def __repr__(self):
        return f"<Clips: {len(self)}>"

    def position(self, index):
        """Position in the original container of the clip at `index` here."""
        return self._positions[index]

    def located(self):
        """The same clips under the same names, for a process in another working folder."""
        return Clips(list(map(_located, self._items)), self._positions)


def _located(item):
    path = item if isinstance(item, str) else item._source
    if not isinstance(path, str) or os.path.isabs(path):
        return item
    clip = copy.copy(Clip(item) if isinstance(item, str) else item)
    clip._source, clip._position = os.path.abspath(path), path
    return clip


def _as_int_index(index, length):
    index = np.asarray(index)
    if index.dtype == bool:
        if index.shape != (length,):
            raise IndexError(f"A mask of shape {index.shape} cannot choose from {length} clips.")
        return np.flatnonzero(index).tolist()
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise IndexError("Clips take an int, a slice, a 1-D array of ints or a boolean mask.")
    return index.tolist()
