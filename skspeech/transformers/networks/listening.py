"""From a waveform to the features of a clip, by torch alone: what an exported graph computes.

The extractors do the same for many clips at once, partly with numpy. Here it is one clip, and its
length is a tensor, so that a traced graph takes clips of any length: nothing here may branch on
it.
"""

import math

import torch
from torch import nn

from skspeech._spectrogram import MelSpectrogram

__all__ = [
    "LogMelListener",
    "MelFrames",
    "PieceListener",
    "RunListener",
    "WindowListener",
    "at_least",
    "at_level",
    "decibels",
    "repeated",
    "standardised",
    "surrounded",
    "window_starts",
]


def _length(tensor, dim=0):
    return torch.as_tensor(tensor.shape[dim])


def _range(n):
    return torch.arange(n, dtype=torch.int64)


def _mean(rows):
    """The mean of each row, less what the rounding of a long sum changes."""
    mean = rows.mean(dim=-1, keepdim=True)
    return mean + (rows - mean).mean(dim=-1, keepdim=True)


def at_level(waveform, level, *, shortest, max_gain, floor=1e-6):
    """Remove a waveform's constant offset, and scale it to a level.

    Parameters
    ----------
    waveform : tensor of shape (n_samples,)
    level : float
        Root mean square in decibels of full scale.
    shortest : int
        A shorter waveform keeps its offset.
    max_gain : float
        Decibels.
    floor : float, default=1e-6
        What is left of a waveform, as a share of its peak, counts as silence.

    Returns
    -------
    tensor of shape (n_samples,)
    """
    offset = torch.where(_length(waveform) >= shortest, _mean(waveform), 0.0)
    centred = waveform - offset
    power = centred.square().mean()
    silence = (floor * waveform.abs().max()).square()
    gain = (10 ** (level / 20) / power.sqrt()).clamp(max=10 ** (max_gain / 20))
    return centred * torch.where(power <= silence, 0.0, gain)


def at_least(waveform, level):
    """Amplify a waveform whose root mean square is below `level` (decibels of full scale)."""
    target = 10 ** (level / 20)
    power = waveform.square().mean().sqrt()
    return waveform * torch.where((power == 0) | (power >= target), 1.0, target / power)


def repeated(waveform, n_samples):
    """Repeat a waveform that has fewer samples than `n_samples`."""
    n = _length(waveform)
    return waveform[_range(n.clamp(min=n_samples)) % n.clamp(min=1)]  # 0 would end the program


def standardised(pieces):
    """Scale each row to zero mean and unit variance."""
    centred = pieces - _mean(pieces)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-7).sqrt()


def window_starts(n_frames, size, hop, tail):
    """Where windows start, in a clip that is at least as long as one.

    Parameters
    ----------
    n_frames : tensor of int
        Length of the clip.
    size, hop : int
        Frames in a window, and between the starts of windows.
    tail : int
        The last window ends with the clip, if it adds this many frames at least.

    Returns
    -------
    tensor of int of shape (n_windows,)
    """
    last = n_frames - size
    if tail <= hop:
        count = 1 + (last + hop - tail) // hop
    else:
        count = ((last + hop - 1) // hop).clamp(min=1)
    return torch.minimum(hop * _range(count), last)


def decibels(power, *, amin=1e-10, top_db=80.0):
    """Power (n, n_frames, n_bands) in decibels, clipped at `top_db` below each clip's maximum."""
    levels = 10.0 * power.clamp(min=amin).log10()
    return torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - top_db)


class MelFrames(nn.Module):
    """What a :class:`~skspeech._spectrogram.MelSpectrogram` computes, for rows of equal length.

    The Fourier transform is a convolution with sines and cosines: every runtime of ONNX has that,
    on every kind of device.

    Parameters
    ----------
    spectrogram : MelSpectrogram
    """

    def __init__(self, spectrogram: MelSpectrogram):
        super().__init__()
        n_fft = spectrogram.n_fft
        self.hop_length, self.pad = spectrogram.hop_length, n_fft // 2
        self.reflects = spectrogram.pad_mode == "reflect"
        window, filters = spectrogram.constants("cpu")
        # Angles of whole turns are left out in integers, where nothing is rounded.
        turns = torch.outer(torch.arange(1 + n_fft // 2), torch.arange(n_fft)) % n_fft
        angles = turns.double() * (2 * math.pi / n_fft)
        waves = torch.cat([angles.cos(), angles.sin()]) * window.double()
        self.register_buffer("waves", waves.float()[:, None])
        self.register_buffer("filters", filters.clone())

    def forward(self, waveforms):
        """Power mel spectrograms (n, n_frames, n_mels) of waveforms (n, n_samples)."""
        pad = self.pad
        if self.reflects:
            # Back and forth, as often as it takes.
            last = _length(waveforms, 1) - 1
            steps = (_range(last + 1 + 2 * pad) - pad) % (2 * last)
            waveforms, pad = waveforms[:, torch.minimum(steps, 2 * last - steps)], 0
        parts = nn.functional.conv1d(
            waveforms[:, None], self.waves, stride=self.hop_length, padding=pad
        )
        cosines, sines = parts.square().split(1 + self.pad, dim=1)
        return (cosines + sines).transpose(1, 2) @ self.filters


class _Listener(nn.Module):
    """A clip's features: the statistics `pool` of what the `network` says of its windows.

    `n_most` is the number of samples that are listened to, or None, `prepare` a function that
    changes the waveform first, `listen` the function from a network's input to features.
    """

    def __init__(self, network, spectrogram=None, *, n_most, prepare, listen, pool):
        super().__init__()
        self.network = network
        self.mel = None if spectrogram is None else MelFrames(spectrogram)
        self.n_most, self.prepare, self.listen, self.pool = n_most, prepare, listen, pool

    def forward(self, waveform):
        """Features (n_features,) of a waveform (n_samples,)."""
        return self.pool(self.windows(self.prepare(waveform[: self.n_most])))


class WindowListener(_Listener):
    """Cuts a spectrogram into windows of `size` frames."""

    def __init__(self, network, spectrogram, *, size, hop, tail, **settings):
        super().__init__(network, spectrogram, **settings)
        self.size, self.hop, self.tail = size, hop, tail

    def windows(self, waveform):
        """Features of the windows, (n_windows, n_features)."""
        waveform = repeated(waveform, self.size * self.mel.hop_length)
        n_frames = _length(waveform) // self.mel.hop_length
        starts = window_starts(n_frames, self.size, self.hop, self.tail)
        frames = self.mel(waveform[None])[0]
        windows = frames[starts[:, None] + torch.arange(self.size)]
        # The exporter knows no shapes but those that it is told.
        return self.listen(windows.reshape(-1, self.size, self.mel.filters.shape[1]))


class RunListener(_Listener):
    """Lets the network find its windows, in the decibels of a clip between `margin` of silence."""

    def __init__(self, network, spectrogram, *, margin, amin, scale, **settings):
        super().__init__(network, spectrogram, **settings)
        self.margin, self.amin, self.scale = margin, amin, scale

    def windows(self, waveform):
        """Features of the windows, (n_windows, n_features)."""
        waveform = nn.functional.pad(waveform[None], (self.margin, self.margin))
        return self.listen(self.scale(decibels(self.mel(waveform), amin=self.amin)))[0]


def surrounded(pieces, margin, step):
    """Pieces (n, n_samples) in silence, and more behind them up to a multiple of `step` samples.

    Parameters
    ----------
    pieces : tensor of shape (n, n_samples)
    margin : int
        Samples of silence before and after, a multiple of `step`.
    step : int

    Returns
    -------
    tensor of shape (n, n_samples_in_silence)

    Examples
    --------
    >>> import torch
    >>> from skspeech.transformers.networks.listening import surrounded
    >>> surrounded(torch.tensor([[1.0, 2.0, 3.0]]), 2, 2)
    tensor([[0., 0., 1., 2., 3., 0., 0., 0.]])
    """
    n_samples = _length(pieces, 1)
    places = _range(2 * margin + n_samples + -n_samples % step) - margin
    inside = (places >= 0) & (places < n_samples)
    return pieces[:, torch.minimum(places.clamp(min=0), n_samples - 1)] * inside


class PieceListener(_Listener):
    """Cuts a waveform into pieces of `size` samples; a shorter one is a piece as it is.

    Pieces below `shortest` samples are repeated.
    """

    def __init__(self, network, spectrogram=None, *, size, hop, tail, shortest=0, **settings):
        super().__init__(network, spectrogram, **settings)
        self.size, self.hop, self.tail, self.shortest = size, hop, tail, shortest

    def windows(self, waveform):
        """Features of the pieces, (n_pieces, n_features)."""
        length = _length(waveform).clamp(max=self.size)
        last = _length(waveform) - length
        starts = window_starts(last + self.size, self.size, self.hop, self.tail)
        inside = _range(length.clamp(min=self.shortest)) % length.clamp(min=1)
        return self.hear(waveform[starts[:, None] + inside])

    def hear(self, pieces):
        """Features of the pieces, from their samples."""
        return self.listen(pieces)


class LogMelListener(PieceListener):
    """Gives the network the pieces' spectrograms, scaled as for Whisper."""

    def __init__(self, network, spectrogram, *, standardize, **settings):
        super().__init__(network, spectrogram, **settings)
        self.standardize = standardize

    def hear(self, pieces):
        """Features of the pieces, from their samples."""
        if self.standardize:
            pieces = standardised(pieces)
        power = self.mel(pieces)[:, :-1]  # the last frame extends beyond the end
        frames = decibels(power) / 40.0 + 1.0
        n_frames = _length(frames, 1)
        even = _range(n_frames + n_frames % 2).clamp(max=n_frames - 1)
        return self.listen(frames[:, even], n_frames.expand(_length(frames)))
