"""Open and decode recordings: libsndfile first, then FFmpeg, whatever the file's name."""

import contextlib
import math
import os

import soundfile

import skspeech.audio.ffmpeg as ffmpeg
import skspeech.audio.libsndfile as libsndfile
from skspeech.audio.files import HEADERLESS, open_source
from skspeech.audio.waveforms import (
    MAX_DECODED_SIZE,
    Mixer,
    Part,
    as_float,
    check_duration,
    plan,
)

__all__ = []

# A larger file is not an empty recording, even if its header announces no samples.
_LARGEST_HEADER = 4096
# A recording may be this much shorter (seconds) than its header says: some headers round.
_LITTLE = 0.05
# Space allocated at first for a recording whose header does not give its length.
_GUESSED_SECONDS = 30.0


@contextlib.contextmanager
def open_sound(source):
    """Open a recording; if that fails, OSError or ValueError with the reason only.

    Parameters
    ----------
    source : str or bytes
        Path of a file, or its content.

    Yields
    ------
    LibsndfileSound or FFmpegSound
    """
    with open_source(source) as file:
        sound = _open(file, source if isinstance(source, str) else None)
        try:
            yield sound
        finally:
            sound.close()


def _open(file, path):
    try:
        sound = libsndfile.LibsndfileSound(file)
    except soundfile.SoundFileError as error:
        return _open_otherwise(file, path, [f"libsndfile: {libsndfile.message_of(error)}"])
    if sound.n_frames == 0 and (size := file.seek(0, os.SEEK_END)) > _end_of_header(file):
        sound.close()
        return _open_although_empty(file, size)
    return sound


def _end_of_header(file):
    """Number of bytes at the start that hold no samples; for a WAV, those before its samples."""
    start = _head(file).find(b"data")
    return _LARGEST_HEADER if start < 0 else start + 8


def _open_otherwise(file, path, reasons):
    """Open a file that libsndfile does not recognise by its content."""
    suffix = "" if path is None else os.path.splitext(path)[1].lower()
    head = _head(file)
    if known := _known_otherwise(head):
        raise ValueError(known)  # in an archive, FFmpeg would find bytes that look like MPEG
    import av

    sound = None
    try:
        sound = ffmpeg.FFmpegSound(file)
    except (av.FFmpegError, OSError, ValueError) as error:
        reasons.append(f"FFmpeg: {ffmpeg.message_of(error)}")
    if suffix in HEADERLESS and not (_is_text(head) or (sound and sound.has_header)):
        if sound is not None:
            sound.close()
        return libsndfile.LibsndfileSound(file, path)
    # libsndfile reads any file named .au or .snd as telephone sound without a header.
    is_guess = suffix in (".au", ".snd", *HEADERLESS)
    if path is not None and not is_guess and (sound is None or sound.container == "mp3"):
        # libsndfile drops the padding that an MP3 encoder adds, but may recognise an MP3 by its
        # name only.
        with contextlib.suppress(soundfile.SoundFileError):
            by_name = libsndfile.LibsndfileSound(file, path)
            if sound is not None:
                sound.close()
            return by_name
    if sound is None:
        raise ValueError(_why_not_audio(head, reasons))
    return sound


def _open_although_empty(file, size):
    """Open a file that has samples although its header announces none."""
    import av

    with contextlib.suppress(av.FFmpegError, OSError, ValueError):
        sound = ffmpeg.FFmpegSound(file)
        sound.note = (
            "is empty by its header, as of a recorder that was stopped, or a stream. It is read to "
            "the end of the file."
        )
        return sound
    raise ValueError(f"is empty: it has no samples by its header, but {size} bytes.")


# Files that are often mistaken for a recording, by their first bytes.
_NO_AUDIO = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the recording: run git lfs pull."),
    (b"<!doctype html", "is an HTML page, not a recording: a download has failed."),
    (b"<html", "is an HTML page, not a recording: a download has failed."),
    (b"<?xml", "is an XML text, not a recording: a download may have failed."),
    (b'{"', "is a JSON text, not a recording: a download may have failed."),
    (b"#extm3u", "is a playlist, which only names recordings. Give the recordings."),
    (b"pk\x03\x04", "is a ZIP archive. Unpack it, and give the recordings in it."),
    (b"\x1f\x8b", "is compressed with gzip. Unpack it: gunzip."),
    (b"bzh", "is compressed with bzip2. Unpack it: bunzip2."),
    (b"\xfd7zxz", "is compressed with xz. Unpack it: unxz."),
    (b"rar!", "is a RAR archive. Unpack it, and give the recordings in it."),
    (b"7z\xbc\xaf", "is a 7-Zip archive. Unpack it, and give the recordings in it."),
    (b"%pdf", "is a PDF document, not a recording."),
    (b"\x89png", "is a PNG image, not a recording."),
    (b"\xff\xd8\xff", "is a JPEG image, not a recording."),
    (b"sqlite format 3", "is an SQLite database, not a recording."),
    (b"\x93numpy", "is a NumPy file: give [numpy.load(path)], a waveform, instead of the path."),
    (b"par1", "is a Parquet table, not a recording. Give its column of recordings."),
)
_MARKS_OF_TEXT = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def _why_not_audio(head, reasons):
    """The cause, as far as the first bytes show it, and the decoders' messages."""
    if not head.strip(b"\0"):
        return "begins with zeros only: it was never written to its end, or is not audio."
    if _is_text(head):
        return f"is not audio but text; it begins with {head[:40]!r}."
    return f"is not audio that can be read ({'; '.join(reasons)}); it begins with {head[:16]!r}."


def _head(file):
    file.seek(0)
    return file.read(512) or b""


def _known_otherwise(head):
    """What a file is if its start shows that it is not a recording; else an empty string."""
    if head[257:262] == b"ustar":
        return "is a TAR archive. Unpack it, and give the recordings in it."
    start = head.lower()
    for mark in _MARKS_OF_TEXT:
        start = start.removeprefix(mark)
    start = start.lstrip()
    return next((what for signature, what in _NO_AUDIO if start.startswith(signature)), "")


def _is_text(head):
    return all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head)


def part_of_sound(sound, rate, target, offset, max_duration, note):
    """The part of an open recording to decode.

    Parameters
    ----------
    sound : LibsndfileSound or FFmpegSound
        The recording.
    rate : float
        Sampling rate (Hz) at which it is played: its own, or another to change its speed.
    target : float
        Sampling rate (Hz) of the waveform.
    offset : float
        Seconds to leave out at the start.
    max_duration : float or None
        Seconds to read at most.
    note : callable
        Called with what a user should know about the recording.

    Returns
    -------
    Part
    """
    if sound.note is not None:
        note(sound.note)
    span = plan(sound.n_frames if sound.is_exact else None, rate, target, offset, max_duration)
    seconds = math.inf if span.n_samples is None else span.n_samples / target
    if not sound.is_exact or sound.n_frames is None:
        known = _GUESSED_SECONDS if sound.n_frames is None else sound.n_frames / rate
        left = max(1.0, known - offset)
        if max_duration is None:
            check_duration(left)
        seconds = min(seconds, left)
    announced = None
    if sound.note is None and sound.is_announced:
        announced = min(max(0.0, sound.n_frames / rate - offset), max_duration or math.inf)
    blocks = mono_blocks(sound, span.start, span.stop, note)
    return Part(blocks, span, rate, seconds, announced)


def note_on_missing(part, lasts, note):
    """Add a note if a part of a recording lasts less (seconds) than its header announces."""
    announced = part.announced
    if announced is not None and lasts < min(
        libsndfile.WORTH_A_NOTE * announced, announced - _LITTLE
    ):
        note(
            f"lasts {lasts:.2f} s, although its header announces {announced:.2f} s: a download "
            "or a copy may have stopped early."
        )


def mono_blocks(sound, start, stop, note):
    """Mono float32 blocks of a recording."""
    n_left = MAX_DECODED_SIZE
    if sound.is_exact and stop is not None and (stop - start) * sound.channels > n_left:
        raise ValueError(
            f"decodes to {stop - start} samples of {sound.channels} channels, too many to read. "
            "Cut it into clips, or give max_duration."
        )
    mixer = Mixer(note)
    for block in sound.blocks(start, stop):
        n_left -= block.size
        if n_left < 0:
            raise ValueError(
                f"decodes to more than {MAX_DECODED_SIZE} samples of all channels, too many to "
                "read. Cut it into clips, or give max_duration."
            )
        yield mixer.mono(as_float(block))
