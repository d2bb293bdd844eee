"""Crops of clips, and a network's output for evenly spaced crops."""

import copy
import itertools

import numpy as np
import torch
from scipy.special import log_softmax

__all__ = ["FrontEnd", "crop_starts", "log_probas", "pool"]

_PREDICTED_AT_ONCE = 32


class FrontEnd:
    """Turns waveforms into crops of power mel spectrograms.

    Parameters
    ----------
    spectrogram : MelSpectrogram
        The trunk's.
    prepare : callable
        Applied to each waveform first.
    fills : bool
        Whether clips shorter than a crop are repeated to fill it; else the crop is shorter.
    n_dropped : int, default=0
        Frames that are dropped at the end of each clip.
    """

    def __init__(self, spectrogram, prepare, fills, n_dropped=0):
        self.spectrogram = spectrogram
        self.prepare = prepare
        self.fills = fills
        self.n_dropped = n_dropped

    def n_frames(self, seconds):
        """Frames in so many seconds, at least one."""
        return max(1, round(seconds * 16_000 / self.spectrogram.hop_length))

    def spectrograms(self, waveforms):
        """Spectrograms (n_frames, n_mels) of each waveform."""
        prepared = [self.prepare(waveform) for waveform in waveforms]
        frames, starts = self.spectrogram(prepared)
        return [frames[begin : end - self.n_dropped] for begin, end in itertools.pairwise(starts)]

    def stack(self, crops, n_frames):
        """Crops of at most `n_frames` frames in one tensor, and how long each is."""
        if self.fills:
            crops = [crop.repeat(-(-n_frames // len(crop)), 1)[:n_frames] for crop in crops]
        lengths = torch.tensor([len(crop) for crop in crops])
        return torch.nn.utils.rnn.pad_sequence(crops, batch_first=True), lengths


def pool(network, waveforms, front_end, crop, n_crops):
    """Pooled features (n_rows, n_features) of evenly spaced crops, and whose each row is."""
    n_frames = front_end.n_frames(crop)
    crops, owners = [], []
    for owner, spectrogram in enumerate(front_end.spectrograms(waveforms)):
        for begin in crop_starts(len(spectrogram), n_frames, n_crops):
            crops.append(spectrogram[begin : begin + n_frames])
            owners.append(owner)
    order = np.argsort([len(crop) for crop in crops], kind="stable")
    device = network.mean.device
    rows = np.empty((len(crops), len(network.mean)), dtype=np.float32)
    network.eval()
    with torch.inference_mode():
        for begin in range(0, len(order), _PREDICTED_AT_ONCE):
            batch = order[begin : begin + _PREDICTED_AT_ONCE]
            mel, lengths = front_end.stack([crops[i] for i in batch], n_frames)
            rows[batch] = network.pool(mel.to(device), lengths.to(device)).cpu().numpy()
    return rows, np.array(owners)


def log_probas(network, waveforms, front_end, crop, n_crops):
    """Logarithms of probabilities (n_clips, n_classes): the mean over each clip's crops."""
    features, owners = pool(network, waveforms, front_end, crop, n_crops)
    # In double precision, what is left of rounding in the trunk hardly shows in the result.
    head = copy.deepcopy(network).cpu().double().eval()
    with torch.inference_mode():
        rows = head.classify(torch.from_numpy(features).double()).numpy()
    rows = log_softmax(rows, axis=1)
    means = np.add.reduceat(rows, np.flatnonzero(np.diff(owners, prepend=-1)), axis=0)
    return log_softmax(means / np.bincount(owners)[:, None], axis=1)


def crop_starts(length, n_frames, n_crops):
    """First frames of crops that lie evenly in a clip; one where the clip is no longer."""
    room = length - n_frames
    if room <= 0:
        return [0]
    if n_crops == 1:
        return [room // 2]
    return np.unique(np.linspace(0, room, n_crops).round().astype(int)).tolist()
