"""
Emotions of people one has never heard
======================================

A classifier of emotions is used on people who are not in its training data, so it should be scored
on such people, too. This script scores one classifier both ways, on known and on new people, and
then shows the mistakes that remain.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/leaderboard.png"

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict

from skspeech import FusedEmbeddingClassifier
from skspeech.datasets import fetch_emodb, make_speech_like

in_a_hurry = "SKSPEECH_EXAMPLE_BUDGET" in os.environ  # as in the tests
try:
    clips = fetch_emodb(download_if_missing=not in_a_hurry)
except OSError as error:
    print(f"Made-up words, for want of recordings: their scores say little.\n({error})\n")
    clips = make_speech_like(300, n_classes=5, n_speakers=10, random_state=0)

n_clips = 150 if in_a_hurry else len(clips.data)
chosen = np.random.default_rng(0).permutation(len(clips.data))[:n_clips]
X = [clips.data[i] for i in chosen]
y = np.array(clips.target_names)[clips.target[chosen]]
speakers = clips.groups[chosen]
print(f"{len(X)} clips of {len(set(speakers))} people, {len(set(y))} classes.")

# %%
# The same classifier, two questions
# ----------------------------------
# Shuffled folds measure how well emotions are recognised for people whose other clips are in the
# training part. Grouped folds measure it for people who are not there at all. Every clip goes
# through the networks once; both cross-validations share the embeddings.

classifier = FusedEmbeddingClassifier(n_jobs=-1)
shuffled = StratifiedKFold(5, shuffle=True, random_state=0)
grouped = StratifiedGroupKFold(5, shuffle=True, random_state=0)
predicted = {
    "people it knows": cross_val_predict(classifier, X, y, cv=shuffled),
    "people it does not": cross_val_predict(classifier, X, y, groups=speakers, cv=grouped),
}
scores = {question: balanced_accuracy_score(y, p) for question, p in predicted.items()}
for question, score in scores.items():
    print(f"{question:<20} {score:.3f}")

# %%
# The first number is the one that disappoints later. The gap is not noise, and every classifier has
# it: voices differ more than moods do, and a classifier that has heard a person angry makes use of
# that.
#
# What is mistaken for what
# -------------------------
# Each row shows how the clips of one emotion were classified.

figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for ax, (question, guess) in zip(axes, predicted.items()):
    ConfusionMatrixDisplay.from_predictions(
        y, guess, normalize="true", values_format=".2f", xticks_rotation=60, ax=ax, colorbar=False
    )
    ax.set_title(f"{question}: {scores[question]:.2f}")
plt.show()

# %%
# Some people are harder to read
# ------------------------------
# With few speakers, a score depends on who they are. An honest error bar comes from the spread
# between people, not from the number of clips.

guess = predicted["people it does not"]
by_speaker = {s: np.mean(guess[speakers == s] == y[speakers == s]) for s in np.unique(speakers)}
for speaker, accuracy in sorted(by_speaker.items(), key=lambda item: item[1]):
    print(f"    {speaker:<12} {accuracy:.2f}  {'█' * round(30 * accuracy)}")
accuracies = np.array(list(by_speaker.values()))
print(f"Accuracy a person: {accuracies.mean():.2f} ± {accuracies.std(ddof=1):.2f}")
