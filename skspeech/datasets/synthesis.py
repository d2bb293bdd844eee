"""Speech-like sounds by a source-filter model, for :func:`skspeech.datasets.make_speech_like`."""

from itertools import pairwise, product

import numpy as np

__all__ = ["WORDS", "draw_speaker", "say"]

# Formants in Hz of an adult's vocal tract. Vowels are excited by the voice, fricatives by noise.
_VOWELS = {
    "a": (730, 1090, 2440, 3400),
    "e": (530, 1840, 2480, 3500),
    "i": (270, 2290, 3010, 3700),
    "o": (570, 840, 2410, 3300),
    "u": (300, 870, 2240, 3300),
}
_FRICATIVES = {"s": (4800, 5600, 6600), "sh": (2500, 3500, 4800)}
_FORMANTS = _VOWELS | _FRICATIVES
WORDS = [
    (first, middle, last)
    for first, middle, last in product(_VOWELS, _FORMANTS, _VOWELS)
    if first != middle != last
]


def draw_speaker(rng):
    # A shorter vocal tract has higher formants and usually a higher pitch.
    tract = 2 ** rng.uniform(-0.3, 0.3)
    return {
        "formant_scale": tract,
        "pitch": 150 * (tract**3) * 2 ** rng.uniform(-0.3, 0.3),
        "breath": rng.uniform(0.01, 0.1),
        "pace": rng.uniform(0.85, 1.15),
    }


def say(word, speaker, duration, sampling_rate, rng):
    """One clip: `word` said by `speaker`, with random variation."""
    n = round(duration * speaker["pace"] * rng.uniform(0.85, 1.15) * sampling_rate)
    voice = _voice(n, speaker, sampling_rate, rng)
    hiss = rng.standard_normal(n)
    waveform = np.zeros(n)
    for phone, weight in zip(word, _crossfades(len(word), n, sampling_rate, rng)):
        source, level = (hiss, 0.3) if phone in _FRICATIVES else (voice, 1.0)
        formants = speaker["formant_scale"] * np.array(_FORMANTS[phone])
        sound = _resonate(source, formants * 2 ** rng.normal(0, 0.1, len(formants)), sampling_rate)
        waveform += level * weight * sound / sound.std()
    waveform *= rng.uniform(0.03, 0.12)
    waveform += waveform.std() * 10 ** rng.uniform(-1.25, -0.5) * rng.standard_normal(n)
    return np.clip(waveform, -1, 1).astype(np.float32)


def _voice(n, speaker, sampling_rate, rng):
    """Pulses of the vocal folds, with falling pitch and breath noise."""
    position = np.linspace(0, 1, n)
    octaves = rng.normal(0.1, 0.1) - rng.uniform(0.1, 0.5) * position
    octaves = octaves + 0.05 * np.sin(2 * np.pi * (position * rng.uniform(0.5, 2) + rng.uniform()))
    cycles = np.cumsum(speaker["pitch"] * 2**octaves) / sampling_rate
    pulses = np.diff(np.floor(cycles), prepend=0)
    return pulses + speaker["breath"] * rng.standard_normal(n)


def _crossfades(n_phones, n, sampling_rate, rng):
    """Weight of each phone at each sample, with slopes of 40 ms between them and at the ends."""
    shares = rng.uniform(0.8, 1.2, n_phones)
    edges = np.cumsum([0, *shares]) / shares.sum() * (n - 1)
    slope = min(0.02 * sampling_rate, n / (4 * n_phones))
    time = np.arange(n)
    return [
        np.interp(time, [start - slope, start + slope, end - slope, end + slope], [0, 1, 1, 0])
        for start, end in pairwise(edges)
    ]


def _resonate(source, formants, sampling_rate):
    """Filter `source` by a chain of resonators, after damping its high frequencies."""
    from scipy.signal import sosfilt

    formants = formants[formants < 0.47 * sampling_rate]
    radius = np.exp(-np.pi * (50 + 0.04 * formants) / sampling_rate)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * formants / sampling_rate), radius**2
    zeros = np.zeros(len(formants))
    chain = np.column_stack([1 + a1 + a2, zeros, zeros, np.ones(len(formants)), a1, a2])
    tilt = [[0.05, 0, 0, 1, -0.95, 0]]
    return sosfilt(np.vstack([tilt, chain]), source)
