"""Sounds for the tests of the door for audio."""

import numpy as np
import pytest

from skspeech.audio import AudioError, load_waveforms


def noise(seconds, rate=16_000, channels=1, seed=0, scale=0.1):
    shape = (round(seconds * rate), channels) if channels > 1 else round(seconds * rate)
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def sine(seconds, rate, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def reason(item, **options):
    """Why a clip cannot be used; the error must be there."""
    with pytest.raises(AudioError) as caught:
        load_waveforms([item], **options)
    assert len(caught.value.failures) == 1
    return caught.value.failures[0][2]
