"""Decode with libsndfile: WAV, FLAC, OGG, MP3, AIFF, and rare formats."""

import functools
import io
import os
import re

import numpy as np
import soundfile

from skspeech.audio.errors import DamagedError
from skspeech.audio.waveforms import BLOCK_SIZE, count_frames

__all__ = []

_UNKNOWN_LENGTH = 2**62  # libsndfile announces about 2**63 frames where the header has no length
# Subtypes in which libsndfile seeks exactly; in MP3 and Vorbis it is off by up to thousands of
# samples.
_EXACTLY_SEEKABLE = frozenset(
    ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "OPUS")
)
# Line in libsndfile's log where the header announces more bytes than the file holds: of samples or,
# in Wave64 ("riff") and RF64, of all.
_ANNOUNCED = re.compile(
    r"^ *(?:data|data size|ssnd|riff size|(?-i:riff)) *: (\d+) \(should be (\d+)\)",
    re.IGNORECASE | re.MULTILINE,
)
WORTH_A_NOTE = 0.9  # a recording with less than this share of its announced length gets a note
# After an error, the samples before it are read again in blocks of this many frames.
_SMALL_BLOCK = 256


class _FrontToBack(soundfile.SoundFile):
    """A sound file that is read from front to back.

    soundfile seeks after each read where it can. That resets an MP3 decoder, which is audible where
    two blocks meet, and fails at the end of FLAC whose header does not give the length.
    """

    def seekable(self):
        return False


class LibsndfileSound:
    """An open recording.

    Parameters
    ----------
    file : binary file
        Open, at its start.
    path : str or None, default=None
        Open this path instead: libsndfile recognises some formats by their name only.

    Attributes
    ----------
    sampling_rate : int
        Samples per second (Hz).
    n_frames : int or None
        Samples of a channel, from the header; None where the header does not give them.
    is_exact : bool
        Whether `n_frames` can be relied on.
    is_announced : bool
        Whether `n_frames` comes from the header and is not an estimate.
    channels : int
        Number of channels.
    note : str or None
        What a user should know about it; the recording's name is put in front.
    """

    is_exact = True

    def __init__(self, file, path=None):
        self._file, self._path = file, path
        self._sound = self._open()
        self.sampling_rate = self._sound.samplerate
        known = self._sound.frames < _UNKNOWN_LENGTH
        self.n_frames = self._sound.frames if known else None
        self.is_announced = known and not self._sound.subtype.startswith("MPEG")
        self.note = _note_on_length(self._sound.extra_info)

    def _open(self):
        if self._path is not None:
            # soundfile can't encode names that are not text.
            return _FrontToBack(self._path if os.name == "nt" else os.fsencode(self._path))
        self._file.seek(0)
        # On Windows, libsndfile can't use Python's file descriptors.
        if os.name == "nt" or not isinstance(self._file, io.FileIO):
            return _FrontToBack(_without_tag(self._file))
        return _FrontToBack(self._file.fileno(), closefd=False)

    def close(self):
        self._sound.close()

    @property
    def channels(self):
        return self._sound.channels

    def count(self):
        """Number of frames, by decoding; no more can be read then."""
        return count_frames(self._read(np.inf, "int16"), self.sampling_rate)

    def blocks(self, start, stop):
        """Samples of all channels as they are, in blocks of shape (n, channels)."""
        can_seek = start and self._sound.subtype in _EXACTLY_SEEKABLE and self._seek(start)
        n_unwanted = 0 if can_seek else start
        # Reading 16-bit samples unchanged and scaling them here is faster than libsndfile's own
        # conversion.
        dtype = "int16" if self._sound.subtype == "PCM_16" else "float32"
        n_wanted = np.inf if stop is None else n_unwanted + stop - start
        for block in self._read(n_wanted, dtype, start - n_unwanted):
            wanted = block[n_unwanted:]
            n_unwanted = max(0, n_unwanted - len(block))
            if len(wanted):
                yield wanted

    def _seek(self, start):
        """Whether the file can be read from there on; if it is damaged, maybe not."""
        try:
            self._sound.seek(start)
        except soundfile.SoundFileError:
            self._sound.close()
            self._sound = self._open()
            return False
        return True

    def _read(self, n_frames, dtype, first=0):
        """Blocks, fewer at a file's end."""
        size = max(1, BLOCK_SIZE // self.channels)
        done = 0
        try:
            while done < n_frames:
                block = self._sound.read(
                    int(min(size, n_frames - done)), dtype=dtype, always_2d=True
                )
                if len(block) == 0:
                    return
                done += len(block)
                yield block
        except soundfile.SoundFileError as error:
            for block in self._read_again(first + done, dtype):
                done += len(block)
                yield block
            raise DamagedError((first + done) / self.sampling_rate, message_of(error)) from error

    def _read_again(self, start, dtype):
        """Blocks from `start` to the damage: libsndfile returns nothing from a failed read."""
        self._sound.close()
        self._sound = self._open()
        position = 0
        try:
            while len(block := self._sound.read(_SMALL_BLOCK, dtype=dtype, always_2d=True)):
                if position + len(block) > start:
                    yield block[max(0, start - position) :]
                position += len(block)
        except soundfile.SoundFileError:
            return


def _without_tag(file):
    """The file itself, or what follows its ID3 tag.

    Of a WAV or AIFF that is not read through a descriptor, libsndfile leaves out as many bytes at
    the end as such a tag has.
    """
    head = file.read(10)
    if head.startswith(b"ID3"):
        file.seek(functools.reduce(lambda size, byte: 128 * size + byte, head[6:], 0) + len(head))
        rest = file.read()
        if rest.startswith((b"RIFF", b"FORM")):
            return io.BytesIO(rest)
    file.seek(0)
    return file


def _note_on_length(log):
    if not (match := _ANNOUNCED.search(log)):
        return None
    announced, held = map(int, match.groups())
    if held >= WORTH_A_NOTE * announced:
        return None
    return (
        f"holds {held} of the {announced} bytes that its header announces, as of a recorder that "
        "was stopped, a stream, or a download that broke off. It is read to the end of the file."
    )


def message_of(error):
    """libsndfile's message for an error."""
    message = (getattr(error, "error_string", "") or "").strip().rstrip(".")
    return message or f"error {getattr(error, 'code', '?')}"
