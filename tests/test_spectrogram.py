"""Spectrograms of many clips at once are librosa's spectrograms of each."""

import librosa
import numpy as np
import pytest

from skspeech._spectrogram import MelSpectrogram, mel_filter_bank  # pure functions


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(
    ("n_fft", "n_mels", "fmin", "fmax"), [(400, 40, 0, None), (512, 96, 20, 7600)]
)
def test_filter_bank_is_librosas(n_fft, n_mels, fmin, fmax, htk, norm):
    ours = mel_filter_bank(16_000, n_fft, n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm)
    theirs = librosa.filters.mel(
        sr=16_000, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm
    )
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "win_length", "n_mels"),
    [(400, 160, None, 40), (512, 256, None, 96), (512, 160, 400, 40)],
)
def test_spectrogram_is_librosas(n_fft, hop_length, win_length, n_mels, pad_mode):
    rng = np.random.default_rng(0)
    lengths = [25_600, 513, 4_000, 47_999, 160_001]
    waveforms = [rng.standard_normal(n).astype(np.float32) for n in lengths]
    spectrogram = MelSpectrogram(
        n_fft, hop_length, n_mels, win_length=win_length, pad_mode=pad_mode
    )
    frames, starts = spectrogram(waveforms)
    for waveform, begin, end in zip(waveforms, starts[:-1], starts[1:], strict=True):
        expected = librosa.feature.melspectrogram(
            y=waveform,
            sr=16_000,
            n_fft=n_fft,
            hop_length=hop_length,
            win_length=win_length,
            n_mels=n_mels,
            pad_mode=pad_mode,
        ).T
        assert end - begin == len(expected) == spectrogram.n_frames(len(waveform))
        np.testing.assert_allclose(
            frames[begin:end], expected, rtol=1e-4, atol=1e-5 * expected.max()
        )


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize(
    ("n_fft", "hop_length"), [(400, 160), (400, 400), (400, 1_000), (512, 2_500)]
)
def test_clips_do_not_touch_each_other(n_fft, hop_length, pad_mode):
    rng = np.random.default_rng(1)
    spectrogram = MelSpectrogram(n_fft, hop_length, 40, pad_mode=pad_mode)
    loud = rng.standard_normal(2_499).astype(np.float32)
    clips = [np.zeros(300, np.float32), loud[:1_999], np.zeros(777, np.float32), loud, -loud[300:]]
    frames, starts = spectrogram(clips)
    assert frames[: starts[1]].max() == frames[starts[2] : starts[3]].max() == 0
    for clip, begin, end in zip(clips, starts[:-1], starts[1:], strict=True):
        np.testing.assert_allclose(frames[begin:end], spectrogram([clip])[0], rtol=1e-5)
