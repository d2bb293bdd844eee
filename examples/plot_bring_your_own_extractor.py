"""
Bring your own extractor
========================

What a clip sounds like is told by an extractor: something that turns clips into rows of numbers.
skspeech has several, and anything of yours can stand where they do. This script adds one in two
ways, and lets both compete with each other. It needs no network and takes a few seconds.

    python examples/plot_bring_your_own_extractor.py
    python examples/plot_bring_your_own_extractor.py --figure rhythm.png
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from skspeech._spectrogram import MelSpectrogram
from skspeech.audio import SAMPLING_RATE, load_waveforms
from skspeech.datasets import make_speech_like
from skspeech.transformers._base import BaseExtractor

# %%
# Any transformer will do
# -----------------------
# The short way is a scikit-learn transformer whose ``transform`` takes clips in whatever form they
# come and returns a matrix. ``load_waveforms`` decodes them. This one knows nothing but how loud a
# clip is from one twentieth of its length to the next.


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
# The longer way is a subclass of ``BaseExtractor``, which is what the extractors of skspeech are.
# It says which network to load, what the network sees, and what it answers. For that it gets:
# windows of many clips in one batch, clips of any length, a GPU where there is one, embeddings
# that are remembered, decoding in threads, errors that name the clip, names of the features.
#
# The network here is a classical one: the modulation spectrum. In each mel band it measures how
# fast the energy goes up and down. A syllable lasts about a quarter of a second, so speech is
# strongest at around 4 Hz, and each word has a rhythm of its own.


class ModulationSpectrum(BaseExtractor):
    """How strongly the energy of each mel band fluctuates, at six rates from 1 to 32 Hz."""

    _spectrogram = MelSpectrogram(n_fft=400, hop_length=160, n_mels=20)
    _edges = 2.0 ** np.arange(-0.5, 6)  # of the rates' bands, in Hz

    def __init__(
        self,
        *,
        window=1.0,
        hop=0.5,
        max_duration=None,
        sampling_rate=SAMPLING_RATE,
        batch_size=64,
        device="auto",
        memory=None,
        n_jobs=None,
        errors="raise",
        verbose=0,
    ):
        self.window = window
        self.hop = hop
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.device = device
        self.memory = memory
        self.n_jobs = n_jobs
        self.errors = errors
        self.verbose = verbose

    # What the network is. Embeddings are remembered under this name: change it with the weights.

    def _network_id(self):
        return "modulation-spectrum-1"

    def _load_network(self, device):
        """The weights: which bins of a Fourier transform over a window's frames make up a rate."""
        import torch

        frames_per_second = SAMPLING_RATE / self._spectrogram.hop_length
        rates = np.fft.rfftfreq(self._frames_per_window(), 1 / frames_per_second)
        below, above = self._edges[:-1, None], self._edges[1:, None]
        chosen = ((rates >= below) & (rates < above)).astype(np.float32)
        weights = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
        return torch.from_numpy(weights.T.copy()).to(device)

    # What it sees, and what it answers.

    def _frames_per_window(self):
        return max(1, round(self.window * SAMPLING_RATE / self._spectrogram.hop_length))

    def _forward(self, network, mel):
        """Features (n, 120) of windows (n, n_frames, 20)."""
        import torch

        logmel = torch.log(mel + 1e-6)
        logmel = logmel - logmel.mean(dim=1, keepdim=True)
        modulation = torch.fft.rfft(logmel, dim=1).abs() / mel.shape[1]
        return torch.log((modulation.transpose(1, 2) @ network).flatten(1) + 1e-4)

    def _pool(self, windows):
        """Features of a clip from those of its windows."""
        return windows.mean(axis=0)

    def _feature_names(self):
        centres = np.sqrt(self._edges[:-1] * self._edges[1:])
        return [
            f"modulation_band{band}_{rate:g}Hz"
            for band in range(self._spectrogram.n_mels)
            for rate in np.round(centres)
        ]


# %%
# The line in the registry
# ------------------------
# To make it one of skspeech's own, move the class to ``skspeech/transformers/modulation.py``, with
# ``__all__ = ["ModulationSpectrum"]``, and add a line to the lazy exports in
# ``skspeech/__init__.py``:

LINE = '"transformers.modulation": ["ModulationSpectrum"],'

# %%
# The tests discover every class that is exported: the checks of scikit-learn, those of skspeech
# and those of the documentation run on it from then on.
#
# The experiment
# --------------
# Made-up words of made-up speakers; those who are tested on are never in the training clips. Each
# extractor alone, and both side by side, which takes nothing but scikit-learn's own union.


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
    print(f"\nOne class in one file, and one line in skspeech/__init__.py:\n    {LINE}")


def draw(clips, words, path):
    """How each word's modulation spectrum differs from the average one."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    features = ModulationSpectrum().transform(clips)  # remembered: nothing is computed again
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
