"""
What a music tagger hears
=========================

The music network was trained to predict the tags that listeners gave to songs. Its last layer
describes a clip by fifty tags; earlier layers give features for your own classes. This script
applies it to synthetic tones, chords and beats.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_score

from skspeech import MusicEmbedding, MusicEmbeddingClassifier
from skspeech.datasets import make_tones
from skspeech.transformers.networks.musicnn import MTT_TAGS

RATE = 16_000

# %%
# Sounds from nothing
# -------------------
# A plucked string, a chord of plucked strings, a held synthetic chord, a beat, and noise: four
# seconds each.


def plucked(pitch, seconds=4.0, notes_per_second=2):
    """A string that is plucked again and again: harmonics that decay."""
    time = np.arange(int(seconds * RATE)) / RATE
    since = time % (1 / notes_per_second)
    harmonics = np.arange(1, 9)[:, None]
    waves = np.sin(2 * np.pi * pitch * harmonics * time) * np.exp(-4 * harmonics * since)
    return (waves / harmonics).sum(axis=0)


def held(pitch, seconds=4.0):
    """A sawtooth, soft in its upper harmonics."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = np.arange(1, 13)[:, None]
    return (np.sin(2 * np.pi * pitch * harmonics * time) / harmonics).sum(axis=0)


def beat(seconds=4.0, beats_per_minute=128):
    """A bass drum on each beat, and noise between."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * RATE)) / RATE
    since = time % (60 / beats_per_minute)
    drum = np.sin(2 * np.pi * (50 * since + 6 * (1 - np.exp(-30 * since)))) * np.exp(-9 * since)
    hat_since = (time + 30 / beats_per_minute) % (60 / beats_per_minute)
    return drum + 0.2 * rng.standard_normal(len(time)) * np.exp(-60 * hat_since)


def loud(waveform, peak=0.5):
    return (peak * waveform / np.abs(waveform).max()).astype(np.float32)


triad = 220 * 2 ** (np.array([0, 4, 7]) / 12)
sounds = {
    "plucked note": plucked(220),
    "plucked chord": sum(plucked(pitch, notes_per_second=4) for pitch in triad),
    "held chord": sum(held(pitch) for pitch in triad),
    "beat": beat(),
    "beat and chord": beat() + 0.2 * sum(held(pitch) for pitch in triad),
    "noise": np.random.default_rng(0).standard_normal(4 * RATE),
}
clips = [loud(waveform) for waveform in sounds.values()]

# %%
# The tags of each
# ----------------
# ``layers="tags"`` gives fifty probabilities. The network was trained on MagnaTagATune; another
# one, ``model="msd_musicnn"``, knows the tags of the Million Song Dataset.

tags = np.array(MTT_TAGS)
probabilities = MusicEmbedding("mtt_musicnn", layers="tags").fit_transform(clips)
for name, row in zip(sounds, probabilities):
    top = np.argsort(-row)[:4]
    print(f"{name:<15} {', '.join(f'{tags[i]} {row[i]:.2f}' for i in top)}")

# %%
# It was trained on real music only, so it gives the tags of the music most like these sounds.

shown = np.argsort(-probabilities.max(axis=0))[:16]
figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
image = ax.imshow(probabilities[:, shown], cmap="magma", vmin=0, aspect="auto")
ax.set_xticks(range(len(shown)), tags[shown], rotation=60, ha="right")
ax.set_yticks(range(len(sounds)), sounds)
figure.colorbar(image, label="Probability")
plt.show()

# %%
# Tags over time
# --------------
# Now a clip that changes halfway. ``embed`` returns the features of every window of three seconds,
# here one window per second, with the time of its centre.

change = np.concatenate([clips[0], clips[0], clips[3], clips[3]])
tagger = MusicEmbedding("mtt_musicnn", layers="tags", hop=1.0)
(windows,), (middles,) = tagger.embed([change], return_timestamps=True)
strings, electronic = (MTT_TAGS.index(tag) for tag in ("guitar", "techno"))
for middle, row in zip(middles, windows):
    print(f"{middle:5.1f} s   guitar {row[strings]:.2f}   techno {row[electronic]:.2f}")

# %%
# Classes of one's own
# --------------------
# Before the tags, the network computes 753 features of timbre and time, which are useful for
# classes that it was not trained on. Here: three pitches.

tones = make_tones(30, n_classes=3, random_state=0)
scores = cross_val_score(
    MusicEmbeddingClassifier(), tones.data, tones.target, cv=3, scoring="balanced_accuracy"
)
print(f"Which of three notes? Balanced accuracy {scores.mean():.3f}")
