"""
Bring your own extractor
========================

An extractor describes the sound of clips: it turns each clip into a row of numbers. skspeech has
several, and you can use your own in their place. This script writes two extractors, in two
different ways, and compares them. It needs no network and takes a few seconds.

    python examples/plot_bring_your_own_extractor.py
    python examples/plot_bring_your_own_extractor.py --figure rhythm.png
"""

import argparse
from pathlib import Path

import librosa
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from skspeech import Extractor
from skspeech.audio import SAMPLING_RATE, load_waveforms
from skspeech.datasets import make_speech_like

# %%
# Any transformer will do
# -----------------------
# The short way is a scikit-learn transformer whose ``transform`` takes clips in any form and
# returns a matrix. ``load_waveforms`` decodes them. This one measures only how loud each twentieth
# of a clip is.


class LoudnessContour(TransformerMixin, BaseEstimator):
    """Loudness of a clip in twenty steps, in decibels below its loudest step."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.stack([self._contour(waveform) for waveform in load_waveforms(X)])

    def _contour(self, waveform):
        steps = np.array_split(waveform, 20)
        power = np.array([np.mean(np.square(step)) for step in steps])
        return 10 * np.log10(power / max(power.max(), 1e-12) + 1e-6)


# %%
# An extractor among the others
# -----------------------------
# The better way is a subclass of :class:`~skspeech.Extractor`, like the extractors of skspeech
# itself. It defines one method, ``_extract``: waveforms in, a row of features for each out. The
# base class does the rest: it decodes clips in any form, in threads and bounded memory; names bad
# clips in errors; names the features; and caches them by the clip's content, this class and its
# parameters. If a parameter names a file of weights, the file's content counts.
#
# This extractor is classical: the modulation spectrum. In each mel band it measures how fast the
# energy goes up and down. A syllable lasts about a quarter of a second, so speech is strongest at
# around 4 Hz, and each word has its own rhythm.


class ModulationSpectrum(Extractor):
    """How strongly the energy of each mel band fluctuates, at six rates from 1 to 32 Hz."""

    hop_length = 160  # samples between frames
    edges = 2.0 ** np.arange(-0.5, 6)  # of the rates' bands, in Hz

    def __init__(self, *, n_mels=20, max_duration=None, memory=None, errors="raise"):
        self.n_mels = n_mels
        self.max_duration = max_duration
        self.memory = memory
        self.errors = errors

    def _extract(self, waveforms):
        return [self._modulation(waveform) for waveform in waveforms]

    def _modulation(self, waveform):
        mel = librosa.feature.melspectrogram(
            y=np.resize(waveform, max(len(waveform), SAMPLING_RATE)),
            sr=SAMPLING_RATE,
            n_fft=400,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
        )
        logmel = np.log(mel + 1e-6)
        logmel -= logmel.mean(axis=1, keepdims=True)
        modulation = np.abs(np.fft.rfft(logmel, axis=1)) / logmel.shape[1]
        rates = np.fft.rfftfreq(logmel.shape[1], self.hop_length / SAMPLING_RATE)
        bands = [
            modulation[:, (rates >= low) & (rates < high)].mean(axis=1)
            for low, high in zip(self.edges, self.edges[1:])
        ]
        return np.log(np.stack(bands, axis=1).ravel() + 1e-4)

    # Without this method the features would be called modulationspectrum0, modulationspectrum1 ...

    def _feature_names(self):
        centres = np.sqrt(self.edges[:-1] * self.edges[1:])
        return [
            f"modulation_band{band}_{rate:g}Hz"
            for band in range(self.n_mels)
            for rate in np.round(centres)
        ]


# %%
# The line in the registry
# ------------------------
# To make it one of skspeech's own, move the class to ``skspeech/transformers/modulation.py``, with
# ``__all__ = ["ModulationSpectrum"]``, and add a line to the list of names in
# ``skspeech/transformers/__init__.pyi``:

LINE = "from .modulation import ModulationSpectrum as ModulationSpectrum"

# %%
# The tests discover every exported class: from then on, the checks of scikit-learn, of skspeech
# and of the documentation run on it.
#
# The experiment
# --------------
# The clips are synthetic words of synthetic speakers; test speakers are never in the training
# clips. We score each extractor alone, and both joined by scikit-learn's own union.


def main():
    arguments = parse_arguments()
    bunch = make_speech_like(160, n_classes=5, n_speakers=8, random_state=0)
    words = np.array(bunch.target_names)[bunch.target]

    extractors = {
        "loudness contour": LoudnessContour(),
        "modulation spectrum": ModulationSpectrum(),
        "both": make_union(LoudnessContour(), ModulationSpectrum()),
    }
    guessing = 1 / len(bunch.target_names)
    print(f"Balanced accuracy on unseen speakers (guessing gives {guessing:.2f})")
    for name, extractor in extractors.items():
        classifier = make_pipeline(extractor, StandardScaler(), LogisticRegression(C=0.1))
        scores = cross_val_score(
            classifier,
            bunch.data,
            words,
            groups=bunch.groups,
            cv=StratifiedGroupKFold(n_splits=4),
            scoring="balanced_accuracy",
        )
        print(f"    {name:<20} {scores.mean():.3f}  {'█' * round(40 * scores.mean())}")

    if arguments.figure:
        draw(bunch.data, words, arguments.figure)
        print(f"\nRhythm of each word, less that of all: {arguments.figure}")
    print(f"\nOne class in one file, and one line in transformers/__init__.pyi:\n    {LINE}")


def draw(clips, words, path):
    """How each word's modulation spectrum differs from the average one."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    features = ModulationSpectrum().transform(clips)  # from the cache: nothing is computed again
    names = np.unique(words)
    figure, axes = plt.subplots(1, len(names), sharey=True, figsize=(10, 3), layout="constrained")
    for ax, name in zip(axes, names):
        difference = features[words == name].mean(axis=0) - features.mean(axis=0)
        image = ax.imshow(difference.reshape(20, 6), origin="lower", aspect="auto", cmap="RdBu_r")
        image.set_clim(-1.6, 1.6)
        ax.set(title=name, xlabel="rate (Hz)", xticks=range(6), xticklabels=2 ** np.arange(6))
    axes[0].set(ylabel="mel band", yticks=range(0, 20, 5))
    figure.colorbar(image, ax=axes, label="log magnitude")
    figure.savefig(path)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--figure", type=Path, help="file to draw the words' rhythms into")
    return parser.parse_args()


if __name__ == "__main__":
    main()
