"""Mel spectrograms of many clips at once, with torch.

The definitions are librosa's (``center=True``, zero padding at the ends, periodic Hann window); the
tests compare with librosa. All clips of a call are put one after another into one flat signal, each
starting on a multiple of the hop, so that one batched FFT computes them all.
"""

import functools
import math

import numpy as np

__all__ = [
    "BLOCK_FRAMES",
    "MelSpectrogram",
    "check_bands",
    "check_limits",
    "lay_out",
    "mel_filter_bank",
    "mel_frequencies",
    "power_spectrum",
    "power_to_db",
    "ranges",
]

# Frames in one FFT call: enough to keep the cores busy, few enough to stay in their cache.
BLOCK_FRAMES = 1024


def _hz_to_mel(frequencies, htk):
    frequencies = np.asarray(frequencies, dtype=np.float64)
    if htk:
        return 2595.0 * np.log10(1.0 + frequencies / 700.0)
    linear = 3.0 * frequencies / 200.0
    logarithmic = 15.0 + 27.0 * np.log(np.maximum(frequencies, 1e-10) / 1000.0) / math.log(6.4)
    return np.where(frequencies >= 1000.0, logarithmic, linear)


def _mel_to_hz(mels, htk):
    mels = np.asarray(mels, dtype=np.float64)
    if htk:
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    linear = 200.0 * mels / 3.0
    logarithmic = 1000.0 * np.exp(math.log(6.4) * (mels - 15.0) / 27.0)
    return np.where(mels >= 15.0, logarithmic, linear)


def mel_frequencies(n_mels, fmin, fmax, htk=False):
    """Frequencies in Hz that are evenly spaced in mel, from `fmin` to `fmax`; (n_mels,)."""
    return _mel_to_hz(np.linspace(_hz_to_mel(fmin, htk), _hz_to_mel(fmax, htk), n_mels), htk)


@functools.lru_cache(maxsize=32)
def mel_filter_bank(sampling_rate, n_fft, n_mels, *, fmin=0.0, fmax=None, htk=False, norm="slaney"):
    """Triangular mel filters, equal to :func:`librosa.filters.mel`.

    Reimplemented because importing librosa takes longer than embedding a hundred clips.

    Parameters
    ----------
    sampling_rate : int
        In Hz.
    n_fft : int
        Length of the FFT, in samples.
    n_mels : int
        Number of bands.
    fmin, fmax : float, default=0.0 and None
        Band edges in Hz; None is half of `sampling_rate`.
    htk : bool, default=False
        The HTK mel scale in place of Slaney's.
    norm : {"slaney", None}, default="slaney"
        ``"slaney"`` gives every filter the same area.

    Returns
    -------
    ndarray of shape (n_mels, 1 + n_fft // 2), dtype float32
    """
    fmax = sampling_rate / 2 if fmax is None else fmax
    bins = np.fft.rfftfreq(n_fft, 1.0 / sampling_rate)
    edges = mel_frequencies(n_mels + 2, fmin, fmax, htk)
    widths = np.diff(edges)
    ramps = edges[:, np.newaxis] - bins
    rising = -ramps[:-2] / widths[:-1, np.newaxis]
    falling = ramps[2:] / widths[1:, np.newaxis]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if norm == "slaney":
        filters *= (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    return filters.astype(np.float32)


def check_bands(n_mels, n_fft, *, fmin=0.0, fmax=None, name="n_mels"):
    """Raise a ValueError that names the parameter if some mel bands would always be empty."""
    if not mel_filter_bank(16_000, n_fft, n_mels, fmin=fmin, fmax=fmax).any(axis=1).all():
        raise ValueError(
            f"{name}={n_mels!r} is too many for n_fft={n_fft!r}: some bands are narrower than the "
            "spectrum's resolution and would always be empty. Use fewer bands or longer frames."
        )


def check_limits(fmin, fmax, of_what="frequency"):
    """Raise a ValueError that names both parameters unless `fmin` is below `fmax`."""
    if fmin >= fmax:
        raise ValueError(
            f"fmin={fmin!r} is not below fmax={fmax!r}: they are the lowest and the highest "
            f"{of_what} in Hz."
        )


class MelSpectrogram:
    """Power mel spectrograms of a list of waveforms.

    Parameters
    ----------
    n_fft : int
        Length of the FFT in samples; also the length of the window, unless `win_length` is given.
    hop_length : int
        Samples between frames.
    n_mels : int
        Number of mel bands.
    win_length : int or None, default=None
        Length of the Hann window in samples, centred in the FFT; None is `n_fft`.
    sampling_rate : int, default=16000
        In Hz.
    fmin, fmax, htk, norm
        As in :func:`mel_filter_bank`.
    pad_mode : {"constant", "reflect"}, default="constant"
        How a clip is padded before its first and after its last sample.
    """

    def __init__(
        self,
        n_fft,
        hop_length,
        n_mels,
        *,
        win_length=None,
        sampling_rate=16_000,
        fmin=0.0,
        fmax=None,
        htk=False,
        norm="slaney",
        pad_mode="constant",
    ):
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.n_mels = n_mels
        self.win_length = n_fft if win_length is None else win_length
        self.pad_mode = pad_mode
        self.filters = mel_filter_bank(
            sampling_rate, n_fft, n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm
        )

    def n_frames(self, n_samples):
        """Number of frames of a clip of `n_samples` samples."""
        return 1 + n_samples // self.hop_length

    def __call__(self, waveforms, device="cpu"):
        """Compute the spectrograms.

        Parameters
        ----------
        waveforms : list of ndarray of shape (n_samples,), dtype float32
        device : torch.device or str, default="cpu"

        Returns
        -------
        frames : torch.Tensor of shape (n_frames_in_all, n_mels)
            The frames of all clips, one clip after another, on `device`.
        starts : ndarray of shape (n_clips + 1,), dtype int64
            Clip `i` owns the rows ``starts[i]:starts[i + 1]``.
        """
        import torch

        flat, first_frames, counts = lay_out(waveforms, self.n_fft, self.hop_length, self.pad_mode)
        starts = np.concatenate([[0], np.cumsum(counts)])
        rows = ranges(first_frames, counts)
        window, filters = self.constants(torch.device(device))
        frames = torch.from_numpy(flat).to(device).unfold(0, self.n_fft, self.hop_length)
        out = torch.empty((len(rows), self.n_mels), device=device)
        contiguous = len(rows) == rows[-1] + 1
        rows = None if contiguous else torch.from_numpy(rows).to(device)
        for begin in range(0, len(out), BLOCK_FRAMES):
            end = begin + BLOCK_FRAMES
            block = frames[begin:end] if contiguous else frames[rows[begin:end]]
            block = block[: len(out) - begin]
            torch.matmul(power_spectrum(block * window), filters, out=out[begin:end])
        return out, starts

    def constants(self, device):
        """The window (n_fft,) and the transposed filters (1 + n_fft // 2, n_mels) as tensors."""
        return _torch_constants(self.n_fft, self.win_length, self.filters.tobytes(), device)


def power_spectrum(frames, n_fft=None):
    """Squared magnitude of the Fourier transform of real frames, (n_frames, 1 + n_fft // 2)."""
    import torch

    spectrum = torch.view_as_real(torch.fft.rfft(frames, n=n_fft)).square_()
    return spectrum[..., 0] + spectrum[..., 1]  # several times as fast as sum() over an axis of two


def lay_out(waveforms, frame_length, hop_length, pad_mode="constant"):
    """One flat signal that contains every clip, padded so that its frames are centred.

    Returns the signal, the index of each clip's first frame in it (in hops), and each clip's number
    of frames.
    """
    pad = frame_length // 2
    lengths = np.array([len(w) for w in waveforms])
    counts = 1 + lengths // hop_length
    # The frames of one clip span (count - 1) hops and one frame's length, and frames that are far
    # apart end before the clip does; the next clip begins on the next multiple of the hop.
    ends = np.maximum((counts - 1) * hop_length + frame_length, pad + lengths)
    spans = -(-ends // hop_length)
    first_frames = np.concatenate([[0], np.cumsum(spans)[:-1]])
    flat = np.zeros(int(spans.sum()) * hop_length + frame_length, dtype=np.float32)
    for waveform, first in zip(waveforms, first_frames, strict=True):
        begin = int(first) * hop_length
        if pad_mode == "constant":
            flat[begin + pad : begin + pad + len(waveform)] = waveform
        else:
            flat[begin : begin + len(waveform) + 2 * pad] = _reflect(waveform, pad)
    return flat, first_frames, counts


def _reflect(waveform, pad):
    if len(waveform) < 2:
        return np.pad(waveform, pad, mode="edge")
    return np.pad(waveform, pad, mode="reflect")


def ranges(firsts, counts, step=1):
    """Concatenate ``first + step * arange(count)`` of all pairs."""
    positions = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(firsts, counts) + step * positions


@functools.lru_cache(maxsize=32)
def _torch_constants(n_fft, win_length, filters, device):
    import torch

    window = torch.hann_window(win_length, periodic=True)
    left = (n_fft - win_length) // 2
    window = torch.nn.functional.pad(window, (left, n_fft - win_length - left)).to(device)
    bank = np.frombuffer(filters, dtype=np.float32).reshape(-1, 1 + n_fft // 2)
    return window, torch.from_numpy(bank.T.copy()).to(device)


def power_to_db(power, starts, *, amin=1e-10, top_db=80.0, loudest=None):
    """Convert power to decibels, as :func:`librosa.power_to_db` does, for each clip by itself.

    Parameters
    ----------
    power : torch.Tensor of shape (n_frames_in_all, n_bands)
        Changed in place.
    starts : ndarray of shape (n_clips + 1,)
        Clip `i` owns the rows ``starts[i]:starts[i + 1]``.
    amin : float, default=1e-10
        Smaller powers are raised to this.
    top_db : float, default=80.0
        Lower limit, in decibels below the loudest value of a clip.
    loudest : float, default=None
        The clip's largest power, if these frames are only a part of one clip.

    Returns
    -------
    torch.Tensor of shape (n_frames_in_all, n_bands)
        `power` itself.
    """
    import torch

    decibels = power.clamp_(min=amin).log10_().mul_(10.0)
    if loudest is not None:
        return decibels.clamp_(min=10.0 * math.log10(max(loudest, amin)) - top_db)
    counts = torch.from_numpy(np.diff(starts)).to(power.device)
    loudest = torch.segment_reduce(decibels.amax(dim=1), "max", lengths=counts)
    floor = torch.repeat_interleave(loudest - top_db, counts)
    return torch.maximum(decibels, floor[:, None], out=decibels)
