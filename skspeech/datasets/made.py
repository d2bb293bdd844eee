"""Synthetic clips, for tests and examples."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skspeech._sklearn import Interval, validate_params
from skspeech._typing import RandomState
from skspeech.datasets.synthesis import WORDS, draw_speaker, say

__all__ = ["make_speech_like", "make_tones"]


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_classes": [Interval(Integral, 1, 40, closed="both")],
        "duration": [Interval(Real, 0, None, closed="neither")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "sampling_rate": [Interval(Integral, 4000, None, closed="left")],
        "random_state": ["random_state"],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_tones(
    n_samples: int = 60,
    *,
    n_classes: int = 3,
    duration: float = 1.0,
    noise: float = 0.1,
    sampling_rate: int = 16_000,
    random_state: RandomState = None,
    return_X_y: bool = False,
) -> Bunch | tuple:
    """Make clips of tones, one pitch for each class: easy, quick and offline.

    Each class is a note with four harmonics. The first is 110 Hz, each next class four semitones
    higher, wrapped into five octaves. Phase, loudness and tuning (up to a quarter of a semitone)
    are random for each clip, and white noise is added.

    Parameters
    ----------
    n_samples : int, default=60
        Number of clips, assigned to the classes in turn and then shuffled.
    n_classes : int, default=3
        Number of classes, at most 40.
    duration : float, default=1.0
        Length of each clip in seconds.
    noise : float, default=0.1
        Standard deviation of the noise; the tone's amplitude is between 0.2 and 0.5.
    sampling_rate : int, default=16000
        Samples a second, in Hz.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws; an int gives the same clips each time.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of ndarray of shape (n,), dtype float32
            The waveforms.
        target : ndarray of shape (n_samples,), dtype int
            Index of each clip's class in `target_names`.
        target_names : list of str
            The pitches, such as "110 Hz".
        groups : None
            There are no groups.
        DESCR : str
            The description.

    Examples
    --------
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(6, random_state=0)
    >>> len(tones.data), tones.data[0].shape, tones.target_names
    (6, (16000,), ['110 Hz', '139 Hz', '175 Hz'])
    """
    rng = check_random_state(random_state)
    pitches = 110.0 * 2 ** ((4 * np.arange(n_classes) % 61) / 12)
    target = rng.permutation(np.arange(n_samples) % n_classes)
    time = np.arange(max(1, round(duration * sampling_rate))) / sampling_rate
    data = []
    for pitch in pitches[target] * 2 ** (rng.uniform(-0.25, 0.25, n_samples) / 12):
        harmonics = np.arange(1, 5)
        harmonics = harmonics[harmonics * pitch < sampling_rate / 2]
        angles = (
            2 * np.pi * (np.outer(harmonics * pitch, time) + rng.random_sample((len(harmonics), 1)))
        )
        tone = (np.sin(angles) / harmonics[:, None] ** 2).sum(axis=0)
        waveform = rng.uniform(0.2, 0.5) * tone + noise * rng.standard_normal(len(time))
        data.append(waveform.astype(np.float32))
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=[f"{pitch:.0f} Hz" for pitch in pitches],
        groups=None,
        DESCR=f"{n_samples} tones in noise, made by make_tones.",
    )


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_classes": [Interval(Integral, 1, len(WORDS), closed="both")],
        "n_speakers": [Interval(Integral, 1, None, closed="left")],
        "duration": [Interval(Real, 0.2, None, closed="left")],
        "sampling_rate": [Interval(Integral, 8_000, None, closed="left")],
        "random_state": ["random_state"],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_speech_like(
    n_samples: int = 100,
    *,
    n_classes: int = 4,
    n_speakers: int = 6,
    duration: float = 0.7,
    sampling_rate: int = 16_000,
    random_state: RandomState = None,
    return_X_y: bool = False,
) -> Bunch | tuple:
    """Make synthetic clips that resemble speech, offline.

    It is a source-filter model: a pulse train with a pitch contour (or noise, for "s" and "sh")
    excites resonances at the formants of each sound. Each class is a word of three sounds, said by
    all speakers. Each speaker has a vocal-tract length, a pitch, a breathiness and a pace; pitch,
    pace, loudness and background noise also vary from clip to clip.

    Parameters
    ----------
    n_samples : int, default=100
        Number of clips, assigned to all pairs of word and speaker in turn and then shuffled.
    n_classes : int, default=4
        Number of words.
    n_speakers : int, default=6
        Number of speakers.
    duration : float, default=0.7
        Average length of a clip in seconds; clips are at most a third longer or shorter.
    sampling_rate : int, default=16000
        Samples a second, in Hz; at 8000 the fricatives lose most of their energy.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws; an int gives the same clips each time.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of ndarray of shape (n,), dtype float32
            The waveforms, of different lengths.
        target : ndarray of shape (n_samples,), dtype int
            Index of each clip's word in `target_names`.
        target_names : list of str
            The words, such as "a-s-i".
        groups : ndarray of shape (n_samples,), dtype str
            The speakers, such as "speaker 1".
        DESCR : str
            The description.

    References
    ----------
    .. [1] G. E. Peterson and H. L. Barney, "Control methods used in a study of the vowels",
       Journal of the Acoustical Society of America 24, 1952: the vowels' formants.

    Examples
    --------
    >>> from skspeech.datasets import make_speech_like
    >>> words = make_speech_like(12, n_classes=2, n_speakers=3, random_state=0)
    >>> len(words.data), len(words.target_names), sorted(set(words.groups.tolist()))
    (12, 2, ['speaker 1', 'speaker 2', 'speaker 3'])
    """
    rng = check_random_state(random_state)
    words = [WORDS[i] for i in sorted(rng.choice(len(WORDS), n_classes, replace=False))]
    speakers = [draw_speaker(rng) for _ in range(n_speakers)]

    order = rng.permutation(n_samples)
    target = order % n_classes
    speaker_of = order // n_classes % n_speakers
    data = [
        say(words[word], speakers[speaker], duration, sampling_rate, rng)
        for word, speaker in zip(target, speaker_of)
    ]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=["-".join(word) for word in words],
        groups=np.array([f"speaker {i + 1}" for i in speaker_of]),
        DESCR=f"{n_samples} clips of {n_classes} made-up words by {n_speakers} made-up speakers,"
        " made by make_speech_like.",
    )
