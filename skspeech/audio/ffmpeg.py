"""Decode with FFmpeg, through PyAV: m4a, WebM, AMR, WMA, the sound of videos, and rare formats."""

import contextlib
import math

import numpy as np

from skspeech.audio.errors import DamagedError, first_line
from skspeech.audio.waveforms import count_frames

__all__ = []

# FFmpeg's names of containers whose sound is in the file itself: no playlists, which name other
# files and addresses, no devices, no text that is rendered, no images.
CONTAINERS = (
    "aac,ac3,ac4,act,aiff,amr,amrnb,amrwb,ape,asf,ast,au,avi,avr,bonk,caf,dsf,dss,dts,dtshd,eac3,flac,"
    "flv,gxf,hcom,iff,ircam,kvag,loas,lmlm4,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,"
    "nistsphere,nsv,nut,ogg,oma,osq,paf,pvf,qcp,qoa,rm,rso,sbc,sds,shn,sln,smjpeg,sox,swf,tak,tta,"
    "truehd,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)
# Containers whose headers count samples, and those whose headers are right within some hundredths
# of a second. Other lengths are guesses from the bit rate or the first and last time stamps.
_EXACT_CONTAINERS = {"aiff", "ape", "au", "caf", "flac", "mov", "sox", "tak", "tta", "w64", "wv"}
_ABOUT_RIGHT_CONTAINERS = {"asf", "avi", "flv", "matroska"}
# Codecs whose decoders give the same samples again soon after a seek. Of AAC, bands that hold only
# the level of a noise are filled with another noise then.
_EXACTLY_SEEKABLE = ("aac", "ac3", "alac", "eac3", "flac", "mp2", "opus", "pcm_")
_PREROLL = 1.0  # seconds decoded before the wanted part, so that decoders settle
_FRAMES_AT_ONCE = 64


class FFmpegSound:
    """An open recording; the attributes are those of LibsndfileSound."""

    note = None

    def __init__(self, file):
        self._file = file
        self._open()
        rate = self._stream.codec_context.sample_rate
        self.sampling_rate = rate if self._first is None else self._first.sample_rate
        self.n_frames, self.is_exact = self._length_in_header()
        self.is_announced = self.n_frames is not None

    def _open(self):
        import av

        self._file.seek(0)
        self._container = av.open(
            self._file,
            container_options={"format_whitelist": CONTAINERS, "protocol_whitelist": "none"},
            metadata_errors="ignore",
        )
        try:
            self._stream = self._container.streams.best("audio")
            if self._stream is None:
                kinds = sorted({stream.type for stream in self._container.streams})
                raise ValueError(f"no sound in it, only {' and '.join(kinds) or 'nothing'}")
            if self._stream.codec_context is None:
                raise ValueError("sound in a codec that FFmpeg does not know")
            with contextlib.suppress(AttributeError):  # before PyAV 18, pictures are read, too
                for stream in self._container.streams:
                    if stream.index != self._stream.index:
                        stream.discard = av.stream.Discard.all
            self._stream.codec_context.thread_count = 1
            self._frames = self._decode()
            self._first = next(self._frames, None)
        except BaseException:
            self._container.close()
            raise

    def close(self):
        self._container.close()

    @property
    def container(self):
        """FFmpeg's name of the container."""
        return self._container.format.name

    @property
    def has_header(self):
        """Whether a header identifies the container, not bytes that may match by chance."""
        return bool({*self.container.split(",")} & (_EXACT_CONTAINERS | _ABOUT_RIGHT_CONTAINERS))

    @property
    def channels(self):
        return 1 if self._first is None else self._first.layout.nb_channels

    def _length_in_header(self):
        if self._first is None:
            return 0, True
        stream, rate = self._stream, self.sampling_rate
        names = set(self._container.format.name.split(","))
        if stream.duration and names & _EXACT_CONTAINERS:
            n_frames = stream.duration * stream.time_base * rate
            # The samples of a fragmented MP4 are not in its header.
            if "mov" in names and stream.frames == 0:
                return None, False
            if "caf" in names and stream.codec_context.name.startswith("pcm_"):
                n_frames = max(n_frames, stream.frames)  # the duration is of what is there
            return min(math.ceil(n_frames), self._length_in_itunes()), n_frames.denominator == 1
        if self._container.duration and names & _ABOUT_RIGHT_CONTAINERS:
            n_frames = round(self._container.duration * rate / 1_000_000)
            if "matroska" in names:
                n_frames -= getattr(stream.codec_context, "delay", 0) or 0
            return (n_frames if n_frames > 0 else None), False
        return None, False

    def _length_in_itunes(self):
        """Number of samples without the encoder's padding, from the metadata that iTunes writes."""
        fields = self._container.metadata.get("iTunSMPB", "").split()
        try:
            return int(fields[3], 16) or math.inf
        except (IndexError, ValueError):
            return math.inf

    def count(self):
        """Number of frames, by decoding."""
        return count_frames(self.blocks(0, None), self.sampling_rate)

    def blocks(self, start, stop):
        """Samples of all channels, in blocks of shape (n, channels); None as `stop` is the end."""
        begin, frames = self._frames_from(start)
        position = begin
        stop = math.inf if stop is None else stop
        try:
            for block in _joined(frames):
                first, last = max(0, start - position), min(len(block), stop - position)
                position += len(block)
                if first < last:
                    yield block[first:last]
                if position >= stop:
                    return
        except DamagedError as damage:  # counted from where it was sought
            raise DamagedError(begin / self.sampling_rate + damage.seconds, damage.why) from damage

    def _frames_from(self, start):
        """The position of the first sample, at or before `start`, and the frames from there."""
        import av

        stream = self._stream
        ticks = 1 / (stream.time_base * self.sampling_rate)
        can_seek = self.is_exact and stream.codec_context.name.startswith(_EXACTLY_SEEKABLE)
        wanted = start - math.ceil(_PREROLL * self.sampling_rate)
        if can_seek and wanted > 0 and ticks.denominator == 1:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._container.seek(int(wanted * ticks), stream=stream)
                frames, self._frames = self._decode(), None
                first = next(frames, None)
                if first is not None and first.pts is not None and 0 <= first.pts <= start * ticks:
                    return first.pts // int(ticks), self._checked(first, frames)
        if self._frames is None:  # already read once
            self._container.close()
            self._open()
        frames, self._frames = self._frames, None
        return 0, self._checked(self._first, frames)

    def _checked(self, first, frames):
        """The frames, as long as they have one sampling rate."""
        if first is None:
            return
        n_done = 0
        yield first
        for frame in frames:
            n_done += frame.samples
            if frame.sample_rate != self.sampling_rate:
                raise DamagedError(
                    n_done / self.sampling_rate,
                    f"the sampling rate changes to {frame.sample_rate} Hz",
                )
            yield frame

    def _decode(self):
        """Frames from the first that can be decoded: a recorded stream may begin within a frame."""
        import av

        n_done, failures, is_gap = 0, [], False
        for packet in self._demuxed():
            try:
                frames = [frame for frame in packet.decode() if frame.samples]
            except (av.FFmpegError, ValueError) as error:
                failures.append(error)
                continue
            is_gap = bool(failures and frames and n_done and packet.size)
            if is_gap:
                break
            for frame in frames:
                n_done += frame.samples
                yield frame
            if frames and packet.size:
                failures = []
        if failures and not n_done:
            raise ValueError("sound that can't be decoded")
        # A cut-off file ends within a packet: one failure at the end is no damage.
        if is_gap or len(failures) > 1:
            seconds = n_done / max(1, self._stream.codec_context.sample_rate)
            raise DamagedError(seconds, message_of(failures[0])) from failures[0]

    def _demuxed(self):
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError, OSError):
                return  # a recording ends where it can't be read any more
            except IndexError:
                return  # PyAV at its end, if another stream has joined, as in a broadcast
            yield packet


def _joined(frames):
    """Blocks of shape (n, channels): FFmpeg's frames are short, and each costs some arithmetic."""
    shape, waiting, damage = None, [], None
    try:
        for frame in frames:
            layout = (frame.layout.nb_channels, frame.format.name)
            if waiting and (layout != shape or len(waiting) == _FRAMES_AT_ONCE):
                yield _as_block(waiting, shape[0])
                waiting = []
            shape = layout
            waiting.append(frame.to_ndarray())
    except DamagedError as error:
        damage = error
    if waiting:
        yield _as_block(waiting, shape[0])
    if damage is not None:
        raise damage


def _as_block(arrays, channels):
    samples = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
    block = samples.T if len(samples) == channels else samples.reshape(-1, channels)
    return block // 2**32 if block.dtype == np.int64 else block


def message_of(error):
    """FFmpeg's message for an error."""
    message = getattr(error, "strerror", None) or first_line(error)
    return "the data make no sense" if message.startswith("Error number") else message
