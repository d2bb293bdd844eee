"""Decode with libsndfile: WAV, FLAC, OGG, MP3, AIFF, and much that is rare."""

import contextlib
import os

import soundfile

from skspeech.audio.files import open_file
from skspeech.audio.waveforms import (
    BLOCK_SIZE,
    MAX_CLIP_DURATION,
    MAX_DECODED_SIZE,
    as_float,
    mono,
)

__all__ = []

_FFMPEG = "ffmpeg -i input{suffix} output.wav"
# What libsndfile cannot read, by the file's name and by its first bytes.
_FOREIGN_SUFFIXES = (
    *(".3ga", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".dts", ".flv", ".m4a", ".m4b"),
    *(".mka", ".mkv", ".mov", ".mp4", ".mpc", ".mpg", ".ra", ".spx", ".tta", ".webm", ".wma"),
    *(".wmv", ".wv"),
)
_FOREIGN_SIGNATURES = (
    (4, b"ftyp", ".m4a"),
    (0, b"\x30\x26\xb2\x75", ".wma"),
    (0, b"\x1a\x45\xdf\xa3", ".webm"),
    (0, b"#!AMR", ".amr"),
    (0, b"\xff\xf1", ".aac"),
    (0, b"\xff\xf9", ".aac"),
)
_UNKNOWN_LENGTH = 2**62  # libsndfile announces about 2**63 frames where the header has no length
# Where libsndfile finds any sample exactly; in MP3 and Vorbis it is off by up to thousands.
_EXACTLY_SEEKABLE = frozenset(
    ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "OPUS")
)


class _Sound(soundfile.SoundFile):
    """A sound file that is read from front to back.

    soundfile seeks after each read where it can. That resets an MP3 decoder, which is heard at the
    seam of two blocks, and fails at the end of FLAC whose header does not know the length.
    """

    def seekable(self):
        return False


@contextlib.contextmanager
def open_sound(path):
    """Open a file with soundfile; OSError or ValueError with a bare reason where that fails."""
    with open_file(path) as file:
        # A file descriptor means the same to libsndfile as to Python everywhere but on Windows.
        target = path if os.name == "nt" else file.fileno()
        try:
            sound = _Sound(target, closefd=False)
        except soundfile.SoundFileError as error:
            raise ValueError(_why_not_audio(path, file, error)) from error
        with sound:
            yield sound


def _why_not_audio(path, file, error):
    file.seek(0)
    head = file.read(16)
    suffix = os.path.splitext(path)[1].lower()
    foreign = [suffix] if suffix in _FOREIGN_SUFFIXES else []
    foreign += [real for place, sign, real in _FOREIGN_SIGNATURES if head[place:].startswith(sign)]
    if foreign:
        command = _FFMPEG.format(suffix=foreign[0])
        return f"libsndfile cannot read this format. Convert it, for example: {command}"
    reason = f"is not audio that libsndfile can read ({_libsndfile_message(error)})"
    return f"{reason}; it begins with {head!r}."


def _libsndfile_message(error):
    message = (getattr(error, "error_string", "") or "").strip().rstrip(".")
    return message or f"error {getattr(error, 'code', '?')}"


def n_frames(sound):
    if sound.frames < _UNKNOWN_LENGTH:
        return sound.frames
    # The header does not say: a stream was saved as it came. Count, up to what is too long anyway.
    n_most = int(MAX_CLIP_DURATION * sound.samplerate) + 1
    n_frames = sum(map(len, _read(sound, n_most, "int16")))
    sound.seek(0)
    return n_frames


def _read(sound, n_frames, dtype):
    """Blocks of shape (n, channels), all channels' samples as they are, fewer at a file's end."""
    size = max(1, BLOCK_SIZE // sound.channels)
    done = 0
    try:
        while done < n_frames:
            block = sound.read(min(size, n_frames - done), dtype=dtype, always_2d=True)
            if len(block) == 0:
                return
            done += len(block)
            yield block
    except soundfile.SoundFileError as error:
        seconds = done / sound.samplerate
        raise ValueError(
            f"is damaged or cut off after {seconds:.2f} s ({_libsndfile_message(error)}). "
            f"What is left of it may be saved by: {_FFMPEG.format(suffix='')}"
        ) from error


def blocks_of_sound(sound, start, stop):
    """Mono float32 blocks of a file."""
    if (stop - start) * sound.channels > MAX_DECODED_SIZE:
        raise ValueError(
            f"decodes to {stop - start} samples of {sound.channels} channels, too many to read. "
            "Cut it into clips, or give max_duration."
        )
    n_unwanted = start
    if start and sound.subtype in _EXACTLY_SEEKABLE:
        sound.seek(start)
        n_unwanted = 0
    # To read 16-bit samples as they are and scale them here is faster than libsndfile's conversion.
    dtype = "int16" if sound.subtype == "PCM_16" else "float32"
    for block in _read(sound, n_unwanted + stop - start, dtype):
        wanted = block[n_unwanted:]
        n_unwanted = max(0, n_unwanted - len(block))
        if len(wanted):
            yield mono(as_float(wanted))
