"""Detect speech in clips and cut out the rest."""

import importlib.util
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from skspeech._columns import remember_columns
from skspeech._device import resolve_device
from skspeech._extras import how_to_install
from skspeech._sklearn import Interval, StrOptions, _fit_context
from skspeech._threads import within_cores
from skspeech._typing import ClipsLike, Device, Self
from skspeech.audio import SAMPLING_RATE, as_clips, in_chunks, iter_waveforms
from skspeech.audio.level import DEFAULT_LEVEL, LEVELS, MAX_GAIN_DB, at_level
from skspeech.audio.loading import GivesWaveforms
from skspeech.audio.waveforms import as_float
from skspeech.transformers._windowed import shared_network

__all__ = ["SpeechFollower", "VoiceActivityTrimmer"]

# Seconds of audio that go through the network together.
_CHUNK_SECONDS = 120.0
# A follower normalises sound by its level in about the last 10 seconds. In a long series of short
# words the network remembers the pauses: at the usual clip level it misses every other word, so
# followed sound gets a higher one.
_LEVEL_SECONDS = 10.0
_FOLLOWED_LEVEL = -14.0
# Speech that has begun continues while its probability is at most this far below the threshold.
_HYSTERESIS = 0.15


class VoiceActivityTrimmer(GivesWaveforms, BaseEstimator):
    """Cut everything but speech from clips, with a small network for voice activity detection.

    Use it before an extractor in a Pipeline. It learns nothing: `fit` only checks its input. The
    network comes from the package silero-vad: ``pip install '.[vad]'``.

    Parameters
    ----------
    mode : {"trim", "speech"}, default="trim"
        ``"trim"`` cuts everything before the first and after the last speech, ``"speech"`` also the
        pauses in between.
    threshold : float, default=0.5
        A frame is speech from this probability on, between 0 and 1. Lower values keep more.
    min_speech : float, default=0.1
        Shortest speech in seconds; anything shorter is treated as noise.
    min_silence : float, default=0.3
        Shortest pause, in seconds, that ends a segment of speech.
    padding : float, default=0.1
        Seconds to keep before and after each segment of speech: its onset is quiet.
    level : float or None, default=-20.0
        Level in decibels of full scale (root mean square) to which each clip is brought for the
        network, after its constant offset is removed, so that speech is found in quiet recordings
        too. None keeps the level of the recording. The returned waveforms keep their own level.
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own. What is returned is at 16 kHz, so that the next step keeps its default.
    device : str or torch.device, default="auto"
        ``"auto"`` is a GPU where there is one, else the CPU.
    n_jobs : int or None, default=None
        Threads that decode audio.
    errors : {"raise", "warn"}, default="raise"
        What to do with clips that can't be read: one error that names them all, or one warning and
        silence in their place.

    Attributes
    ----------
    n_features_in_ : int
        Samples a clip; only where `fit` saw a 2-D array.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Columns of the table; only where `fit` saw a DataFrame of numbers.

    See Also
    --------
    skspeech.AudioLoader : Decodes clips and leaves them as they are.

    Notes
    -----
    A clip without speech is returned whole, so no clip becomes empty.

    References
    ----------
    Silero Team (2024). Silero VAD. https://github.com/snakers4/silero-vad (MIT).

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import SpeakerEmbedding, VoiceActivityTrimmer
    >>> pipeline = make_pipeline(VoiceActivityTrimmer(), SpeakerEmbedding())
    >>> features = pipeline.fit_transform(["one.wav", "two.wav"])  # doctest: +SKIP
    """

    _parameter_constraints: dict = {
        "mode": [StrOptions({"trim", "speech"})],
        "threshold": [Interval(Real, 0, 1, closed="neither")],
        "min_speech": [Interval(Real, 0, None, closed="left")],
        "min_silence": [Interval(Real, 0, None, closed="left")],
        "padding": [Interval(Real, 0, None, closed="left")],
        "level": LEVELS,
        "max_duration": [Interval(Real, 0, None, closed="neither"), None],
        "sampling_rate": [Interval(Integral, 1, None, closed="left")],
        "device": "no_validation",
        "n_jobs": [Integral, None],
        "errors": [StrOptions({"raise", "warn"})],
    }

    def __init__(
        self,
        *,
        mode: Literal["trim", "speech"] = "trim",
        threshold: float = 0.5,
        min_speech: float = 0.1,
        min_silence: float = 0.3,
        padding: float = 0.1,
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = None,
        sampling_rate: int = SAMPLING_RATE,
        device: Device = "auto",
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
    ) -> None:
        self.mode = mode
        self.threshold = threshold
        self.min_speech = min_speech
        self.min_silence = min_silence
        self.padding = padding
        self.level = level
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.device = device
        self.n_jobs = n_jobs
        self.errors = errors

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ClipsLike, y: Any = None) -> Self:
        """Check the parameters and the form of `X`. Nothing is learnt and nothing is decoded.

        Parameters
        ----------
        X : sequence of clips
            Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array with a clip a row.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : object
            The trimmer itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, or `X` holds no clips.
        """
        as_clips(X, sampling_rate=self.sampling_rate)
        remember_columns(self, X)
        return self

    def transform(self, X: ClipsLike) -> np.ndarray:
        """Cut everything but speech.

        Parameters
        ----------
        X : sequence of clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips,), dtype object
            Each element a 1-D float32 waveform at 16 kHz, with at least one sample. A Series, where
            :meth:`set_output` says so.

        Raises
        ------
        AudioError
            If clips can't be read and ``errors="raise"``. It names every one of them.
        ImportError
            If the package silero-vad is not installed.
        """
        return self._column([self._cut(*found) for found in self._detect(X)], X)

    def detect(self, X: ClipsLike) -> list[np.ndarray]:
        """Find the speech in clips, whatever `mode` is.

        Parameters
        ----------
        X : sequence of clips
            As in :meth:`fit`.

        Returns
        -------
        list of ndarray of shape (n_segments, 2), dtype float64
            One array per clip: start and end of each speech segment with its padding, in seconds.
            A clip without speech has no segments.

        Raises
        ------
        AudioError
            As :meth:`transform`.
        ImportError
            As :meth:`transform`.
        """
        return [segments / SAMPLING_RATE for _, segments in self._detect(X)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self):
        return True

    def __setstate__(self, state):
        super().__setstate__({"level": None, **state})  # pickled before `level` existed

    def _detect(self, X):
        """Yield each clip's waveform and its segments, in samples."""
        import torch

        self._validate_params()
        clips = as_clips(X, sampling_rate=self.sampling_rate)
        device = resolve_device(self.device)
        network = shared_network("silero-vad", device, _load_network)
        decoded = iter_waveforms(
            clips, max_duration=self.max_duration, n_jobs=self.n_jobs, errors=self.errors
        )
        for waveforms in in_chunks((waveform for _, waveform in decoded), _CHUNK_SECONDS):
            with within_cores(), torch.inference_mode():
                tensors = [
                    torch.from_numpy(_bounded(at_level(w, self.level))).to(device)
                    for w in waveforms
                ]
                probabilities = [p.cpu().numpy() for p in network(tensors)]
            for waveform, probability in zip(waveforms, probabilities, strict=True):
                yield waveform, self._segments(probability, len(waveform))

    def _segments(self, probabilities, n_samples):
        """Where speech starts and ends, in samples: an array of shape (n_segments, 2)."""
        from skspeech.transformers.networks.silero import SileroVAD

        def n_frames(seconds):
            return seconds * SAMPLING_RATE / SileroVAD.frame_length

        segments = _speech_frames(probabilities, self.threshold, n_frames(self.min_silence))
        lengths = segments[:, 1] - segments[:, 0]
        segments = segments[lengths >= n_frames(self.min_speech)] * SileroVAD.frame_length
        padding = round(self.padding * SAMPLING_RATE)
        return _merge(np.clip(segments + np.array([-padding, padding]), 0, n_samples))

    def _cut(self, waveform, segments):
        if not len(segments):
            return waveform
        if self.mode == "trim":
            return waveform[segments[0, 0] : segments[-1, 1]].copy()
        return np.concatenate([waveform[start:end] for start, end in segments])


class SpeechFollower:
    """Probability of speech in sound that arrives in blocks: from a microphone or a long file.

    The result does not depend on how the sound is cut into blocks.

    Parameters
    ----------
    level : float or None, default=-14.0
        Level in decibels of full scale (root mean square) to which the sound is brought for the
        network, measured over the last ten seconds. None keeps the level of the recording.
    device : str or torch.device, default="auto"
        ``"auto"`` is a GPU where there is one, else the CPU.

    Attributes
    ----------
    frame_length : int
        Samples of a frame, at 16 kHz.

    Raises
    ------
    ImportError
        If the package silero-vad is not installed.

    Examples
    --------
    >>> from skspeech.transformers.vad import SpeechFollower
    >>> follower = SpeechFollower()
    >>> probabilities = follower(np.zeros(800, dtype=np.float32))
    >>> len(probabilities), len(follower(np.zeros(800, dtype=np.float32)))
    (1, 2)
    """

    frame_length = 512

    def __init__(self, *, level=_FOLLOWED_LEVEL, device="auto"):
        self.level = level
        self.device = resolve_device(device)
        self._network = shared_network("silero-vad", self.device, _load_network)
        self._state = None
        self._left = np.empty(0, dtype=np.float32)
        self._heard = np.zeros(self._network.context_length, dtype=np.float32)
        self._n_frames, self._mean, self._power = 0, 0.0, 0.0

    def __call__(self, samples):
        """Continue with the next block of sound.

        Parameters
        ----------
        samples : ndarray of shape (n_samples,)
            Mono, at 16 kHz, directly after the previous block: floats in [-1, 1], or integers of
            their full range.

        Returns
        -------
        ndarray of shape (n_frames,), float32
            Probability of speech in each frame that is now complete.

        Raises
        ------
        ValueError
            If the block is no mono sound or has samples that are not finite. Nothing is heard of
            it, and the next block can follow.
        """
        import torch

        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind not in "fiu":
            raise ValueError(
                f"A block of shape {samples.shape} and type {samples.dtype} is no mono sound: "
                "numbers of shape (n_samples,) were expected."
            )
        try:
            samples = np.concatenate([self._left, as_float(samples)])
        except ValueError as error:
            raise ValueError(f"The block {error}") from error
        n_whole = len(samples) // self.frame_length * self.frame_length
        self._left = samples[n_whole:]
        if n_whole == 0:
            return np.empty(0, dtype=np.float32)
        frames = samples[:n_whole].reshape(-1, self.frame_length)
        levelled = np.concatenate([self._heard, self._levelled(frames).ravel()])
        self._heard = levelled[-len(self._heard) :]
        with within_cores(), torch.inference_mode():
            windows = torch.from_numpy(levelled).to(self.device)
            size = len(self._heard) + self.frame_length
            probabilities, self._state = self._network.follow(
                windows.unfold(0, size, self.frame_length), self._state
            )
        return probabilities.cpu().numpy()

    def _levelled(self, frames):
        if self.level is None:
            return frames
        wanted, most = 10 ** (self.level / 10), 10 ** (MAX_GAIN_DB / 10)
        means = frames.mean(axis=1, dtype=np.float64)
        squares = np.square(frames, dtype=np.float64).mean(axis=1)
        offsets, gains = np.empty_like(means), np.empty_like(means)
        slowest = self.frame_length / (_LEVEL_SECONDS * SAMPLING_RATE)
        for i, (mean, square) in enumerate(zip(means.tolist(), squares.tolist())):
            self._n_frames += 1
            weight = max(1 / self._n_frames, slowest)
            self._mean += weight * (mean - self._mean)
            self._power += weight * (square - self._power)
            power = self._power - self._mean**2
            offsets[i] = self._mean
            gains[i] = min(wanted / power, most) if power > 1e-12 * self._power else 0.0
        levelled = (frames - offsets[:, None]) * np.sqrt(gains)[:, None]
        return np.clip(levelled, -1, 1).astype(np.float32)


def _speech_frames(probabilities, threshold, min_silence):
    """First frame of each speech segment and the frame after its last, (n_segments, 2).

    Speech starts at the threshold and ends where the probability stays below a lower threshold for
    `min_silence` frames. With one threshold, a probability close to it would split the speech.
    """
    is_loud = probabilities >= threshold
    is_quiet = probabilities < max(threshold - _HYSTERESIS, 0.01)
    # Between the two thresholds, a frame is classified like the last frame outside of them.
    decided = np.where(is_loud | is_quiet, np.arange(len(probabilities)), -1)
    last_decided = np.maximum.accumulate(decided)
    is_speech = (last_decided >= 0) & is_loud[np.maximum(last_decided, 0)]
    edges = np.diff(np.concatenate([[0], is_speech.astype(np.int8), [0]]))
    segments = np.column_stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)])
    if len(segments) < 2:
        return segments
    pauses = segments[1:, 0] - segments[:-1, 1]
    is_cut = pauses >= min_silence
    starts = segments[np.concatenate([[True], is_cut]), 0]
    ends = segments[np.concatenate([is_cut, [True]]), 1]
    return np.column_stack([starts, ends])


def _merge(segments):
    """Join segments whose padding touches."""
    if len(segments) < 2:
        return segments
    is_apart = segments[1:, 0] > segments[:-1, 1]
    starts = segments[np.concatenate([[True], is_apart]), 0]
    ends = segments[np.concatenate([is_apart, [True]]), 1]
    return np.column_stack([starts, ends])


def _bounded(waveform):
    """Scale a waveform to a peak of at most 1: far above it, the network's spectrum overflows."""
    peak = np.abs(waveform).max()
    return waveform if peak <= 1 else waveform / peak


def _load_network(device):
    import torch

    from skspeech._onnx import read_initializers
    from skspeech.transformers.networks.silero import SileroVAD

    tensors = read_initializers(_weights_file())
    network = SileroVAD()
    network.load_state_dict(
        {
            name: torch.from_numpy(tensors[published].copy())
            for name, published in SileroVAD.published_names().items()
        }
    )
    return network.to(device).eval()


def _weights_file():
    """The file in the installed package, which is not imported: that sets torch to one thread."""
    spec = importlib.util.find_spec("silero_vad")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "data", "silero_vad_16k_op15.onnx")
        if path.is_file():
            return path
    found = "which is not installed" if spec is None else "of which a later version is needed"
    raise ImportError(
        f"To find speech, the package silero-vad is needed, {found}. Install it: "
        f"{how_to_install('vad')}."
    )
