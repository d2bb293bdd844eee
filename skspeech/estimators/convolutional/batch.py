"""What the network of `MixupCNNClassifier` sees: spectrograms, and crops of them in batches."""

from typing import NamedTuple

import numpy as np

from skspeech._device import resolve_device
from skspeech.estimators.training import batches
from skspeech.estimators.training.spectrograms import Spectrograms, log_mel

__all__ = ["Examples", "draw_batch", "spectrograms_of", "standardized_crops"]


class Examples(NamedTuple):
    """Spectrograms of clips, and their classes."""

    spectrograms: Spectrograms
    codes: np.ndarray

    def joined(self, other):
        """These clips, followed by others."""
        return Examples(
            self.spectrograms.joined(other.spectrograms), np.concatenate([self.codes, other.codes])
        )


def spectrograms_of(classifier, waveforms):
    """Spectrograms of waveforms, as the parameters of a classifier say."""
    found = log_mel(
        waveforms,
        n_fft=classifier.n_fft,
        hop_length=classifier.hop_length,
        n_mels=classifier.n_mels,
        fmin=classifier.fmin,
        fmax=classifier.fmax,
        device=resolve_device(classifier.device),
    )
    return found.clips_standardized() if classifier.normalization == "clips" else found


def draw_batch(classifier, examples, rows, rng):
    """Draw one crop of each given clip; warp, blend and mask the crops.

    Parameters
    ----------
    classifier : MixupCNNClassifier
        Its parameters and band statistics are used.
    examples : Examples
    rows : ndarray of int of shape (n_crops,)
    rng : RandomState

    Returns
    -------
    x : ndarray of shape (n_crops, n_frames, n_mels), float32
    y : ndarray of shape (n_crops, n_classes), float32
        Probabilities of the classes.
    """
    clf, n_rows = classifier, len(rows)
    speeds = np.exp(rng.uniform(-clf.time_warp, clf.time_warp, n_rows))
    room = np.maximum(examples.spectrograms.counts[rows] - clf.crop_frames_ * speeds, 0)
    offsets = room * rng.uniform(size=n_rows)
    x = standardized_crops(clf, examples.spectrograms, rows, offsets, speeds)
    if clf.frequency_warp:
        factors = np.exp(rng.uniform(-clf.frequency_warp, clf.frequency_warp, n_rows))
        x = batches.warp_bands(x, batches.warp_matrices(factors, clf.n_mels, clf.fmin, clf.fmax))
    y = batches.smooth_labels(examples.codes[rows], len(clf.classes_), clf.label_smoothing)
    if clf.mixup:
        shares = rng.beta(clf.mixup, clf.mixup, n_rows)
        x, y = batches.mixup(x, y, shares, rng.permutation(n_rows))
    for axis, widest in ((1, clf.time_mask), (2, clf.frequency_mask)):
        widest = min(widest, x.shape[axis] // 2)
        widths = rng.randint(widest + 1, size=n_rows)
        widths *= rng.uniform(size=n_rows) < clf.mask_probability
        begins = (rng.uniform(size=n_rows) * (x.shape[axis] - widths + 1)).astype(int)
        x = batches.mask(x, axis, begins, widths)
    return x, y.astype(np.float32)


def standardized_crops(classifier, spectrograms, clips, offsets, speeds=1.0):
    """Crops of some clips, in which each band has zero mean and unit variance over all clips."""
    x = batches.crops(spectrograms, clips, offsets, classifier.crop_frames_, speeds)
    return (x - classifier.band_mean_) / classifier.band_scale_
