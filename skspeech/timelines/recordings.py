"""The timeline of a recording, and of live sound."""

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.base import BaseEstimator

from skspeech._extras import how_to_install
from skspeech._objects import objects_in
from skspeech._sklearn import Interval, StrOptions, validate_params
from skspeech._typing import ClipLike, Device
from skspeech._warning import warn
from skspeech.audio import SAMPLING_RATE, AudioError, as_clips
from skspeech.audio.errors import DamagedError, printable
from skspeech.audio.rates import sampling_rate_of
from skspeech.audio.waveforms import RATE_LIMITS, follow
from skspeech.timelines.listening import SECONDS_TOGETHER, Listener
from skspeech.timelines.segments import Segment, join
from skspeech.timelines.smoothing import median, most_probable, viterbi
from skspeech.transformers.base import Extractor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["iter_timeline", "timeline"]

_USUAL_WINDOW = 3.0  # seconds, for models that don't know how long their clips were
_SHORTEST_WINDOW = 0.2
_SHORTEST_HOP = 0.01  # seconds; an hour has 360,000 of them, each of which is kept
_HOPS_A_WINDOW = 2
_LITTLE_SPEECH = 0.05  # a smaller share makes it doubtful that the recording is of speech

_CONSTRAINTS = {
    "window": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "hop": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "smoothing": [StrOptions({"viterbi", "median"}), None],
    "switching_cost": [Interval(Real, 0, None, closed="left")],
    "speech_only": ["boolean", StrOptions({"auto"})],
    "device": "no_validation",
}


@validate_params(
    {
        **_CONSTRAINTS,
        "max_pause": [Interval(Real, 0, None, closed="left")],
        "errors": [StrOptions({"raise", "warn"})],
    },
    prefer_skip_nested_validation=True,
)
def timeline(
    model: BaseEstimator,
    recording: ClipLike,
    *,
    window: float | Literal["auto"] = "auto",
    hop: float | Literal["auto"] = "auto",
    smoothing: Literal["viterbi", "median"] | None = "viterbi",
    switching_cost: float = 2.0,
    speech_only: bool | Literal["auto"] = "auto",
    max_pause: float = 0.5,
    device: Device = "auto",
    errors: Literal["raise", "warn"] = "raise",
) -> "pd.DataFrame":
    """Say what is heard when in a long recording, with a classifier of clips.

    The recording is decoded in parts, so hours of it need no more memory than minutes. The model
    classifies overlapping windows, many at once. Its answer for a moment is the geometric mean over
    the windows around it. Then the labels are smoothed, and equal neighbours are joined.

    Parameters
    ----------
    model : fitted classifier
        Any that takes clips: a Pipeline, a grid search, what :func:`skspeech.load` returns.
    recording : clip
        A path, a ``(waveform, sampling_rate)`` pair, or a waveform at the model's `sampling_rate`,
        16 kHz if it has none.
    window : float or "auto", default="auto"
        Seconds of a window. ``"auto"`` is the length of the model's training clips if a classifier
        in it knows that (``clip_duration_``), as skspeech's do, and otherwise 3 seconds.
    hop : float or "auto", default="auto"
        Seconds between the starts of windows, 0.01 at least, which is also the resolution of
        segment borders. ``"auto"`` is half a window.
    smoothing : {"viterbi", "median"} or None, default="viterbi"
        How labels are smoothed: by the most probable sequence of labels if each change has a cost,
        by the median over a window's length before and after, or not at all.
    switching_cost : float, default=2.0
        For ``"viterbi"``: how much larger the log-probability of another label has to be before
        the label changes. With 0 it may change at any time; more gives fewer and longer segments.
    speech_only : bool or "auto", default="auto"
        Leave out what a small network does not take for speech. ``"auto"`` does so if the package
        silero-vad is installed. Use False if the labels are not about speech.
    max_pause : float, default=0.5
        Seconds of silence that a segment bridges.
    device : str or torch.device, default="auto"
        Where the network that finds speech runs.
    errors : {"raise", "warn"}, default="raise"
        What to do with a damaged recording: an error, or a warning and the timeline of what comes
        before the damage.

    Returns
    -------
    DataFrame
        A row for each segment, in order, with the columns ``start`` and ``end`` (seconds),
        ``label``, and ``probability`` (the label's mean probability). Its ``attrs`` have the name
        of the ``recording``, and ``duration``, ``window`` and ``hop`` in seconds.

    Raises
    ------
    AudioError
        If the recording can't be read.
    ImportError
        If pandas is not installed, or silero-vad with ``speech_only=True``.

    See Also
    --------
    skspeech.timelines.iter_timeline : The same for live sound.
    skspeech.report.write_timeline_page : A page to see and hear.
    skspeech.timelines.export : Labels for Audacity, RTTM, TextGrid, WebVTT, CSV.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import SpectralStatistics, timeline
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(20, n_classes=2, duration=0.5, random_state=0)
    >>> model = make_pipeline(SpectralStatistics(), GaussianNB())
    >>> labels = ["high" if code else "low" for code in tones.target]
    >>> _ = model.fit(tones.data, labels)
    >>> talk, codes = make_tones(2, n_classes=2, duration=5.0, random_state=0, return_X_y=True)
    >>> found = timeline(model, np.concatenate(talk), window=0.5, speech_only=False)
    >>> found["label"].tolist() == [["low", "high"][code] for code in codes]
    True
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"timeline needs pandas, which is not installed. Install it: {how_to_install('plot')}"
        ) from error
    clip = as_clips([recording], sampling_rate=sampling_rate_of(model))[0]
    window, hop = _check_lengths(model, window, hop)
    follower = _speech_follower(speech_only, device)
    n_together = max(1, round(SECONDS_TOGETHER / window))  # type: ignore[operator]
    listener = _listener(model, window, hop, follower, n_together)
    cells = list(_decided(listener, _good_blocks(clip, errors), smoothing, switching_cost))
    if speech_only == "auto" and follower is not None:
        _warn_of_little_speech(clip, cells)
    table = pd.DataFrame(join(cells, max_pause), columns=list(Segment._fields))
    table = table.astype({"start": float, "end": float, "probability": float})
    table.attrs = {
        "recording": clip.name,
        "duration": listener.n_samples / SAMPLING_RATE,
        "window": window,
        "hop": hop,
    }
    return table


@validate_params(
    {
        **_CONSTRAINTS,
        "sampling_rate": [Interval(Real, *RATE_LIMITS, closed="both")],
        "lag": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    },
    prefer_skip_nested_validation=True,
)
def iter_timeline(
    model: BaseEstimator,
    blocks: Iterable[np.ndarray],
    *,
    sampling_rate: float = SAMPLING_RATE,
    window: float | Literal["auto"] = "auto",
    hop: float | Literal["auto"] = "auto",
    lag: float | Literal["auto"] = "auto",
    smoothing: Literal["viterbi", "median"] | None = "viterbi",
    switching_cost: float = 2.0,
    speech_only: bool | Literal["auto"] = "auto",
    device: Device = "auto",
) -> Iterator[Segment]:
    """Say what is heard in live sound, in blocks from a microphone or over a network.

    A moment is decided after **at most `window` + `lag` seconds of further sound**, and a tenth of
    a second more if `sampling_rate` is not 16 kHz, plus the time that the model takes for a window.
    The answers do not depend on how the sound is cut into blocks, and do not change later.

    Parameters
    ----------
    model : fitted classifier
        Any that takes clips.
    blocks : iterable of ndarray of shape (n_samples,) or (n_samples, n_channels)
        The sound, one block after another: floats in [-1, 1], or integers of their full range.
    sampling_rate : float, default=16000
        Samples per second (Hz).
    window : float or "auto", default="auto"
        Seconds of a window; as for :func:`skspeech.timeline`.
    hop : float or "auto", default="auto"
        Seconds between the starts of windows; as for :func:`skspeech.timeline`. The model must
        take less time than that for a window.
    lag : float or "auto", default="auto"
        Seconds of later sound that smoothing waits for. ``"auto"`` is a window. Without smoothing
        there is no lag.
    smoothing : {"viterbi", "median"} or None, default="viterbi"
        As for :func:`skspeech.timeline`; the median is over `lag` before and after.
    switching_cost : float, default=2.0
        As for :func:`skspeech.timeline`.
    speech_only : bool or "auto", default="auto"
        Give sound that is not speech the label None. As for :func:`skspeech.timeline`.
    device : str or torch.device, default="auto"
        Where the network that finds speech runs.

    Yields
    ------
    Segment
        A hop of time, with its ``start`` and ``end`` in seconds since the first sample, its
        ``label`` (None where there is no speech) and its ``probability``.

    See Also
    --------
    skspeech.timeline : The same for a recording, joined to segments.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import SpectralStatistics
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.timelines import iter_timeline
    >>> tones = make_tones(20, n_classes=2, duration=0.5, random_state=0)
    >>> model = make_pipeline(SpectralStatistics(), GaussianNB()).fit(tones.data, tones.target)
    >>> microphone = (block for block in tones.data)  # as it comes
    >>> for moment in iter_timeline(model, microphone, window=0.5, speech_only=False):
    ...     if moment.end > 1:
    ...         break
    >>> moment.start, moment.end
    (1.0, 1.25)
    """
    window, hop = _check_lengths(model, window, hop)
    lag = window if lag == "auto" else lag
    listener = _listener(model, window, hop, _speech_follower(speech_only, device), 1)
    sound = follow(blocks, sampling_rate)
    yield from _decided(listener, sound, smoothing, switching_cost, lag)


def _check_lengths(model, window, hop):
    """Seconds of a window and of a hop; raises first if the model can't classify clips."""
    if not hasattr(model, "predict") or not hasattr(model, "classes_"):
        raise ValueError(
            f"model is a {type(model).__name__} that is not fitted, or no classifier: it has no "
            "classes_. Give a fitted classifier of clips."
        )
    if window == "auto":
        known = [getattr(item, "clip_duration_", np.nan) for item in objects_in(model)]
        known = [seconds for seconds in known if np.isfinite(seconds)]
        window = max(known[0], _SHORTEST_WINDOW) if known else _USUAL_WINDOW
        window = min(window, _heard_at_once(model))
    hop = window / _HOPS_A_WINDOW if hop == "auto" else hop
    longest = min(window, _heard_at_once(model))
    if hop < _SHORTEST_HOP or round(hop * SAMPLING_RATE) > round(longest * SAMPLING_RATE):
        of = "a window" if longest == window else "what the model hears of one, its max_duration"
        raise ValueError(
            f"hop={hop:g} s is not accepted: it has to be {_SHORTEST_HOP:g} s at least, and no "
            f"longer than {of} ({longest:g} s), or some sound would never be heard."
        )
    return window, hop


def _heard_at_once(model):
    """Seconds of a clip that the model hears; infinity if a part of it hears all of them."""
    parts = list(objects_in(model))
    parts = [part for part in parts if isinstance(part, Extractor)] or parts
    limits = [part.max_duration for part in parts if hasattr(part, "max_duration")]
    return max((np.inf if limit is None else limit for limit in limits), default=np.inf)


def _listener(model, window, hop, follower, n_together):
    length, step = round(window * SAMPLING_RATE), round(hop * SAMPLING_RATE)
    return Listener(model, length, step, follower, n_together)


def _speech_follower(speech_only, device):
    if speech_only is False:
        return None
    from skspeech.transformers.vad import SpeechFollower

    try:
        return SpeechFollower(device=device)
    except ImportError as error:
        if speech_only is True:
            raise
        warn(f"Silence gets labels, too: {error} Or say speech_only=False.")
        return None


def _good_blocks(clip, errors):
    try:
        yield from clip.blocks()
    except (OSError, ValueError) as error:
        if errors == "raise" or not isinstance(error, DamagedError):
            raise AudioError([(0, clip.name, str(error))], 1) from error
        warn(f"{printable(clip.name)} {error} The part before that is used.")


def _decided(listener, blocks, smoothing, switching_cost, lag=None):
    """Segments as long as a hop; `lag` None is the whole recording, and a window for the median."""
    cells = listener(blocks)
    n_cells = None if lag is None else int(lag / listener.hop_duration + 1e-6)
    if smoothing == "viterbi":
        decided = viterbi(cells, switching_cost, n_cells)
    elif smoothing == "median":
        decided = median(cells, listener.hops_a_window if n_cells is None else n_cells)
    else:
        decided = most_probable(cells)
    labels = np.asarray(listener.model.classes_).tolist()
    for cell, code in decided:
        start, end = cell.start / SAMPLING_RATE, cell.end / SAMPLING_RATE
        if cell.is_silent:
            yield Segment(start, end, None, np.nan)
        else:
            yield Segment(start, end, labels[code], float(cell.proba[code]))


def _warn_of_little_speech(clip, cells):
    sounding = [cell for cell in cells if cell.label is not None]
    if len(sounding) < _LITTLE_SPEECH * len(cells):
        warn(
            f"Only {len(sounding) / len(cells):.0%} of {printable(clip.name)} is taken for speech, "
            "and the rest is left out. If it is not about speech, say speech_only=False."
        )
