"""Sounds that tests make for themselves; most take the fixture `tones`."""

from fractions import Fraction

import numpy as np
import pytest

from skspeech.audio import AudioError, load_waveforms
from skspeech.datasets import make_tones


def labelled_tones(n_samples=24, labels=("low", "middle", "high"), duration=0.3):
    """Clips of tones, as many kinds as there are labels, and the label of each clip."""
    X, codes = make_tones(
        n_samples, n_classes=len(labels), duration=duration, random_state=0, return_X_y=True
    )
    return X, np.array(labels)[codes]


def noise(seconds, rate=16_000, channels=1, seed=0, scale=0.1):
    shape = (round(seconds * rate), channels) if channels > 1 else round(seconds * rate)
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def sine(seconds, rate=16_000, frequency=440.0):
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def reason(item, **options):
    """Why a clip cannot be used; the error must be there."""
    with pytest.raises(AudioError) as caught:
        load_waveforms([item], **options)
    assert len(caught.value.failures) == 1
    return caught.value.failures[0][2]


def write_av(path, samples, rate, *, container, codec, bit_rate=128_000, options=None):
    """Write a sound file with FFmpeg; samples of shape (n,) or (n, channels)."""
    import av

    samples = np.atleast_2d(samples.T)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.layout = layout
        stream.bit_rate = bit_rate
        formats = [f.name for f in stream.codec_context.codec.audio_formats or ()]
        best = [f for f in ("fltp", "flt", "s32p", "s32", "s16p", "s16") if f in formats]
        stream.format = best[0] if best else stream.format
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, dtype=np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        waiting = av.AudioFifo()
        for part in resampler.resample(frame):
            waiting.write(part)
        size = stream.codec_context.frame_size or 1024
        while (part := waiting.read(size) or waiting.read(size, partial=True)) is not None:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return str(path)
