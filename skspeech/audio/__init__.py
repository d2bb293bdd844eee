"""Audio input: what a clip is, and how it becomes a waveform.

Everything that takes clips accepts the forms listed in :func:`as_clips`, and gets the same back:
1-D float32 mono waveforms at 16 kHz, decoded on demand, in threads, in order.
"""

from skspeech.audio.clips import Clip, Clips
from skspeech.audio.containers import as_clips
from skspeech.audio.errors import AudioError
from skspeech.audio.loading import AudioLoader, iter_waveforms, load_waveforms
from skspeech.audio.waveforms import MAX_CLIP_DURATION, SAMPLING_RATE
from skspeech.audio.windows import fix_length, in_chunks, window_starts  # noqa: F401

__all__ = [
    "MAX_CLIP_DURATION",
    "SAMPLING_RATE",
    "AudioError",
    "AudioLoader",
    "Clip",
    "Clips",
    "as_clips",
    "fix_length",
    "iter_waveforms",
    "load_waveforms",
    "window_starts",
]
