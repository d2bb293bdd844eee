"""Extractors as torch modules that can be traced: one waveform in, the features of a clip out."""

import math

import numpy as np

from skspeech.audio import SAMPLING_RATE
from skspeech.audio.level import MAX_GAIN_DB, SHORTEST_PERIOD
from skspeech.transformers._layered import LayeredExtractor
from skspeech.transformers._windowed import _MIN_TAIL
from skspeech.transformers.keyword import _AMIN, _MARGIN, KeywordEmbedding, _scale
from skspeech.transformers.moonshine import _MARGIN as _SILENCE
from skspeech.transformers.moonshine import _STEP, MoonshineEmbedding
from skspeech.transformers.music import MusicEmbedding
from skspeech.transformers.speaker import _TARGET_DBFS, SpeakerEmbedding, time_statistics
from skspeech.transformers.whisper import _SHORTEST, WhisperEmbedding

__all__ = ["TRACEABLE", "as_torch"]


def as_torch(extractor):
    """Make a torch module of an extractor.

    Parameters
    ----------
    extractor : extractor
        A SpeakerEmbedding, MusicEmbedding, KeywordEmbedding, WhisperEmbedding or
        MoonshineEmbedding.

    Returns
    -------
    torch.nn.Module
        It takes a waveform (n_samples,) at 16 kHz, float32, and returns the features
        (n_features,). It computes on the CPU in single precision.

    Raises
    ------
    TypeError
        If it is another extractor.
    """
    build = TRACEABLE.get(type(extractor))
    if build is None:
        raise TypeError(f"{type(extractor).__name__} has no form in torch alone.")
    extractor._validate_params()
    return build(extractor)


def _windows(extractor):
    from skspeech.transformers.networks.listening import WindowListener

    network, common = _common(extractor)
    _, hop = extractor._window_and_hop()
    size = extractor._frames_per_window()
    # The taggers cut a batch into parts, whose number a trace would fix.
    callee = network._layers if isinstance(extractor, MusicEmbedding) else network
    return WindowListener(
        network,
        extractor._spectrogram,
        size=size,
        hop=max(1, round(hop * SAMPLING_RATE / extractor._spectrogram.hop_length)),
        tail=math.ceil(_MIN_TAIL * size),
        listen=lambda mel: extractor._forward(callee, mel),
        **common,
    )


def _runs(extractor):
    from skspeech.transformers.networks.listening import RunListener

    network, common = _common(extractor)
    return RunListener(
        network,
        extractor._spectrogram,
        margin=_MARGIN,
        amin=_AMIN,
        scale=_scale,
        listen=network,
        **common,
    )


def _logmel_pieces(extractor):
    from skspeech.transformers.networks.listening import LogMelListener

    network, common = _common(extractor)

    def listen(frames, n_frames):
        first = None
        if extractor.position == "last":
            first = len(network.embed_positions.weight) - (n_frames + 1) // 2
        # No position is padding: all pieces have one length.
        return extractor._features_of(network(frames, n_frames, first, max(extractor._layers())))

    return LogMelListener(
        network,
        extractor._spectrogram,
        shortest=_SHORTEST,
        standardize=extractor._encoder().standardize,
        listen=listen,
        **_cut(extractor),
        **common,
    )


def _bare_pieces(extractor):
    from skspeech.transformers.networks.listening import PieceListener, surrounded

    network, common = _common(extractor)

    def listen(pieces):
        return extractor._features_of(
            network(surrounded(pieces, _SILENCE, _STEP), max(extractor._layers()))
        )

    return PieceListener(network, listen=listen, **_cut(extractor), **common)


def _cut(extractor):
    size, hop = extractor._size_and_hop()
    return {"size": size, "hop": hop, "tail": math.ceil(_MIN_TAIL * size)}


def _common(extractor):
    import torch

    seconds = extractor.max_duration
    n_most = None if seconds is None else max(1, round(seconds * SAMPLING_RATE))
    with torch.no_grad():  # a trace takes no constants that have gradients
        network = extractor._load_network(torch.device("cpu")).requires_grad_(False)
    merged = isinstance(extractor, SpeakerEmbedding | LayeredExtractor)
    pool = _merge(extractor) if merged else _pool(extractor)
    return network, {"n_most": n_most, "prepare": _prepare(extractor), "pool": pool}


def _prepare(extractor):
    from skspeech.transformers.networks.listening import at_least, at_level

    level = extractor.level
    if level is not None:
        return lambda w: at_level(w, level, shortest=SHORTEST_PERIOD, max_gain=MAX_GAIN_DB)
    if isinstance(extractor, SpeakerEmbedding) and extractor.model == "ge2e":
        return lambda w: at_least(w, _TARGET_DBFS)
    return lambda w: w


def _pool(extractor):
    """What `pool_windows` does."""
    import torch

    statistics = extractor._statistics()
    return lambda windows: torch.cat(time_statistics(windows[None], statistics), dim=1)[0]


def _merge(extractor):
    """What `merge_windows` does."""
    import torch

    names, widths = zip(*extractor._blocks())
    largest = np.repeat([name.endswith("max") for name in names], widths)

    def merge(windows):
        mean = windows.mean(dim=0)
        if largest.any():
            mean = torch.where(torch.from_numpy(largest), windows.amax(dim=0), mean)
        blocks = mean.split(list(widths))
        return torch.cat(
            [
                torch.nn.functional.normalize(block, dim=0) if name == "embedding" else block
                for name, block in zip(names, blocks)
            ]
        )

    return merge


TRACEABLE = {
    SpeakerEmbedding: _windows,
    MusicEmbedding: _windows,
    KeywordEmbedding: _runs,
    WhisperEmbedding: _logmel_pieces,
    MoonshineEmbedding: _bare_pieces,
}
"""What can be traced, and how."""
