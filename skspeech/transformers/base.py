"""The base class of extractors: clips in, features out, each clip computed once."""

import itertools
import math
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from skspeech._columns import remember_columns
from skspeech._device import in_single_precision, map_in_threads, resolve_device
from skspeech._progress import progress_bar
from skspeech._sklearn import Interval, StrOptions, _fit_context
from skspeech._threads import within_cores
from skspeech._typing import ClipsLike, Memory, Self
from skspeech.audio import SAMPLING_RATE, as_clips, iter_waveforms
from skspeech.audio.errors import first_line, printable
from skspeech.audio.loading import Remarks
from skspeech.cache import open_cache
from skspeech.transformers._precision import KeepsPrecision
from skspeech.transformers.keys import clip_keys, definition
from skspeech.transformers.workers import chosen_workers

__all__ = ["Extractor"]

# Seconds of audio that are decoded before they are turned into features together.
_CHUNK_SECONDS = 120.0
# Chunks per thread that these seconds are cut into: several, so that threads finish together.
_CHUNKS_A_THREAD = 2
# But no shorter ones: on 16 cores, 16 threads with chunks of a few clips waited for Python's
# interpreter more than they computed.
_SHORTEST_CHUNK = 30.0
# Fewer chunks than that are embedded as one.
_FEW_CHUNKS = 4


class Extractor(KeepsPrecision, TransformerMixin, BaseEstimator, ABC):
    """Base of everything that turns clips into features and learns nothing.

    A subclass writes one method, ``_extract``, which takes a list of waveforms and returns a row of
    features for each. This class does the rest: it accepts clips in any form, decodes them in
    threads, some at a time, names every bad clip in its errors, names the features, and caches
    them.

    The cache key is made of the clip's content, the subclass (its source, if it is not part of
    skspeech, and what its methods read of its module: functions and classes of its package,
    plain values, arrays), its parameters (files by content, functions and classes of your own by
    source, also in lists and dicts) and the arithmetic, if it has a parameter ``dtype``. Those that
    only say how to compute (all below but `max_duration`; `device`, `batch_size`) are not part.

    Parameters
    ----------
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own.
    memory : None, False, str, path-like or joblib.Memory, default=None
        Where features are remembered: in memory (None), in a folder too, or nowhere (False).
        See :func:`skspeech.cache.open_cache`.
    n_jobs : int or None, default=None
        Threads that decode audio.
    errors : {"raise", "warn"}, default="raise"
        What to do with clips that can't be read: one error that names them all, or one warning and
        silence in their place.
    verbose : int, default=0
        Show a progress bar where it takes longer than half a second.

    See Also
    --------
    SpectralStatistics : An extractor without a network.

    Notes
    -----
    A subclass with its own parameters writes an ``__init__`` that sets them, like any scikit-learn
    estimator. Parameters above that it leaves out keep their defaults.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech import Extractor
    >>> class Loudness(Extractor):
    ...     def _extract(self, waveforms):
    ...         return [[np.abs(w).mean(), np.abs(w).max()] for w in waveforms]
    >>> Loudness().fit_transform([np.array([0.5, -0.5]), np.array([0.0, 1.0])])
    array([[0.5, 0.5],
           [0.5, 1. ]], dtype=float32)
    """

    _parameter_constraints: dict = {
        "max_duration": [Interval(Real, 0, None, closed="neither"), None],
        "sampling_rate": [Interval(Integral, 1, None, closed="left")],
        "memory": "no_validation",
        "n_jobs": [Integral, None],
        "errors": [StrOptions({"raise", "warn"})],
        "verbose": ["verbose"],
    }
    # Parameters that say how, where and how verbosely to compute, but not what.
    _runtime_parameters = frozenset(
        {"batch_size", "device", "errors", "memory", "n_jobs", "sampling_rate", "verbose"}
    )

    # Defaults for a subclass whose __init__ does not take these parameters.
    max_duration: float | None = None
    sampling_rate: float = SAMPLING_RATE
    memory: Memory = None
    n_jobs: int | None = None
    errors: str = "raise"
    verbose: int = 0

    def __init__(
        self,
        *,
        max_duration=None,
        sampling_rate=SAMPLING_RATE,
        memory=None,
        n_jobs=None,
        errors="raise",
        verbose=0,
    ):
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.memory = memory
        self.n_jobs = n_jobs
        self.errors = errors
        self.verbose = verbose

    @abstractmethod
    def _extract(self, waveforms):
        """Compute the features of some clips.

        Parameters
        ----------
        waveforms : list of ndarray of shape (n_samples,), dtype float32
            Mono, at 16 000 Hz. Silence replaces clips that could not be read.

        Returns
        -------
        array-like of shape (n_waveforms, n_features)
            Finite numbers, as many for each waveform of any call.
        """

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
            The extractor itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, or `X` holds no clips.
        """
        self._clips(X)
        remember_columns(self, X)
        self._keep_precision()
        return self

    def transform(self, X: ClipsLike) -> np.ndarray:
        """Embed clips.

        Parameters
        ----------
        X : sequence of clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_features), dtype float32
            One row a clip, in the order of `X`.

        Raises
        ------
        AudioError
            If clips can't be read and ``errors="raise"``. It names every one of them.
        ValueError
            If the features of a clip are not finite, or not as many as those of another.
        """
        self._validate_params()
        clips = self._clips(X)
        rows = _Rows(self, clips)
        self._embed_clips(clips, rows, pooled=True)
        return rows.matrix

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features.

        Parameters
        ----------
        input_features : object, default=None
            Ignored: the features do not come from columns of `X`.

        Returns
        -------
        ndarray of shape (n_features,), dtype object
        """
        self._validate_params()
        return np.asarray(self._feature_names(), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    # -- What a subclass may change ----------------------------------------------------------------

    def _feature_names(self):
        """Names of the features: here numbered, as many as a second of silence gives."""
        (row,) = self._rows([np.zeros(SAMPLING_RATE, dtype=np.float32)])
        return [f"{type(self).__name__.lower()}{i}" for i in range(len(row))]

    def _device(self):
        """Where to compute: the parameter `device`, if there is one, else the CPU."""
        return resolve_device(getattr(self, "device", "cpu"))

    def _variant_id(self):
        """Identifies the class and its arithmetic: features of another one differ."""
        return f"{definition(type(self))}-{self._precision()}"

    def _target_sampling_rate(self):
        """Sampling rate in Hz of the waveforms."""
        return SAMPLING_RATE

    def _shortest(self):
        """Seconds that the shortest clip counts as: it costs as much as a clip this long."""
        return 0.0

    def _longest(self):
        """Seconds of the longest clip kept in memory; a longer one is a `LongWaveform`."""
        return math.inf

    def _seconds_per_chunk(self):
        """Seconds of audio that are decoded before they are embedded together."""
        return _CHUNK_SECONDS

    def _n_threads(self):
        """Number of chunks embedded at the same time."""
        return 1

    def _embedder(self, pooled):
        """A function from a list of waveforms to one array per clip; loads what that needs."""
        return self._rows

    # -- How it is done ----------------------------------------------------------------------------

    def _clips(self, X):
        return as_clips(X, sampling_rate=self.sampling_rate)

    def _rows(self, waveforms):
        rows = self._extract(waveforms)
        if not isinstance(rows, list | tuple):
            rows = np.atleast_1d(np.asarray(rows))
        if len(rows) != len(waveforms):
            raise ValueError(
                f"{type(self).__name__}._extract returned {len(rows)} rows for {len(waveforms)} "
                "waveforms. It has to return a row of features for each."
            )
        return rows

    def _embed_clips(self, clips, results, *, pooled):
        """Put one array per clip into `results`.

        Pooled, it holds the clip's features; else a row per window, with its centre in front.
        """
        cache = open_cache(self.memory)
        keys = clip_keys(self, clips, pooled) if cache.stores else [None] * len(clips)
        found = cache.get_many([key for key in keys if key is not None])
        todo = np.flatnonzero([key not in found for key in keys])
        for index, key in enumerate(keys):
            if key in found:
                results[index] = found[key]
        if len(todo):
            for indices, arrays, reusable in self._compute(clips, todo, pooled):
                here, kept = clips[indices], {}
                now = clip_keys(self, here, pooled) if cache.stores else [None] * len(here)
                for index, array, keep, key in zip(indices, arrays, reusable, now, strict=True):
                    results[index] = array = _checked(self, clips[index], array, pooled)
                    if keep and key is not None and key == keys[index]:  # not written anew since
                        kept[key] = array
                cache.set_many(kept)

    def _compute(self, clips, todo, pooled):
        """Yield (indices, arrays, reusable) for chunks of the clips ``todo``."""
        progress = progress_bar(
            total=len(todo),
            desc=type(self).__name__,
            unit="clip",
            disable=not self.verbose,
            delay=0.5,
        )
        remarks = Remarks()
        workers = chosen_workers()
        compute = self._compute_here if workers is None else workers.compute(self)
        for result in compute(clips, todo, pooled, remarks):
            yield result
            progress.update(len(result[0]))
        progress.close()
        remarks.tell(self.errors, len(clips))

    def _compute_here(self, clips, todo, pooled, remarks):
        """The same in threads of this process."""
        with within_cores(), in_single_precision(self._device()):
            yield from self._compute_in_threads(clips, todo, pooled, remarks)

    def _compute_in_threads(self, clips, todo, pooled, remarks):
        embed_waveforms = self._embedder(pooled)
        n_threads = self._n_threads()

        def embed(chunk):
            indices, waveforms, reusable = chunk
            return indices, embed_waveforms(waveforms), reusable

        seconds, few = self._seconds_per_chunk(), 1
        if n_threads > 1:
            seconds = max(seconds / (_CHUNKS_A_THREAD * n_threads), _SHORTEST_CHUNK)
            few = _FEW_CHUNKS
        chunks = _chunks(self, clips, todo, seconds, remarks)
        first = list(itertools.islice(chunks, few))
        if first and len(first) < few:
            # Few clips: all of them in one chunk, with a thread for each batch.
            first, n_threads = [[list(itertools.chain(*parts)) for parts in zip(*first)]], 1
        # Many clips: a thread for each chunk, so that the spectrograms of one chunk are computed
        # while another goes through the network.
        yield from map_in_threads(embed, itertools.chain(first, chunks), n_threads)


def _chunks(extractor, clips, todo, max_seconds, remarks):
    """Group decoded clips: enough to fill some batches, few enough to bound the memory.

    Yields (indices, waveforms, reusable). Silence in place of a bad clip, or the good part of a
    damaged one, must not be cached as that clip's embedding.
    """
    shortest = extractor._shortest()
    sampling_rate = extractor._target_sampling_rate()
    indices, waveforms, reusable, seconds = [], [], [], 0.0
    decoded = iter_waveforms(
        clips[todo],
        max_duration=extractor.max_duration,
        n_jobs=extractor.n_jobs,
        errors=extractor.errors,
        target_sampling_rate=sampling_rate,
        remarks=remarks,
        longest=extractor._longest(),
    )
    for position, waveform in decoded:
        indices.append(todo[position])
        waveforms.append(waveform)
        reusable.append(position not in remarks.bad)
        seconds += max(len(waveform) / sampling_rate, shortest)
        if seconds >= max_seconds:
            yield indices, waveforms, reusable
            indices, waveforms, reusable, seconds = [], [], [], 0.0
    if indices:
        yield indices, waveforms, reusable


def _checked(extractor, clip, array, pooled):
    """What an extractor computed of a clip, as finite float32."""
    try:
        with np.errstate(over="ignore"):
            checked = np.asarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise _no_features(extractor, clip, f"what is no number: {first_line(error)}") from None
    if checked.ndim != (1 if pooled else 2):
        raise _no_features(extractor, clip, f"an array of shape {checked.shape} as its row")
    if not np.isfinite(checked).all():
        raise _no_features(extractor, clip, "NaN, or an infinite or too large number")
    return checked


def _no_features(extractor, clip, what):
    name = type(extractor).__name__
    return ValueError(
        f"{name} returned {what}, for {printable(clip.name)}. Features have to be finite numbers, "
        "as many for each clip."
    )


class _Rows:
    """A matrix that is filled row by row; the first row sets its width."""

    def __init__(self, extractor, clips):
        self._extractor, self._clips = extractor, clips
        self.matrix = None

    def __setitem__(self, index, row):
        if self.matrix is None:
            self.matrix = np.empty((len(self._clips), len(row)), dtype=row.dtype)
        n_features = self.matrix.shape[1]
        if len(row) != n_features:  # a single number would fill the row
            what = f"{len(row)} features, and {n_features} for another clip"
            raise _no_features(self._extractor, self._clips[index], what)
        self.matrix[index] = row
