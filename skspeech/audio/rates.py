"""At which rate a model takes bare waveforms, and how to hand it waveforms of ours."""

from numbers import Real

from sklearn.base import BaseEstimator

from skspeech._objects import objects_in
from skspeech.audio.waveforms import SAMPLING_RATE

__all__ = ["ready_for", "sampling_rate_of", "takes_clips"]


def sampling_rate_of(model):
    """The rate of bare waveforms for a model, in Hz.

    Parameters
    ----------
    model : estimator
        What takes the clips, or contains what takes them.

    Returns
    -------
    float
        The first `sampling_rate` in the model; 16000 if there is none.
    """
    return next(_rates_in(model), SAMPLING_RATE)


def takes_clips(model):
    """Whether something in a model has a `sampling_rate`, as all of ours that take clips have."""
    return next(_rates_in(model), None) is not None


def _rates_in(model):
    for item in objects_in(model):
        rate = getattr(item, "sampling_rate", None) if isinstance(item, BaseEstimator) else None
        if isinstance(rate, Real):
            yield rate


def ready_for(model):
    """How waveforms at 16 kHz are handed to a model.

    Parameters
    ----------
    model : estimator

    Returns
    -------
    callable
        It takes a list of waveforms, and returns it as it is, or as ``(waveform, 16000)`` pairs for
        a model that would take bare waveforms for such of another rate.
    """
    if sampling_rate_of(model) == SAMPLING_RATE:
        return list
    return lambda waveforms: [(waveform, SAMPLING_RATE) for waveform in waveforms]
