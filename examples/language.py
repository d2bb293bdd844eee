"""
Which language?
===============

Telephone prompts in five languages, about five hundred of each. It is easy to get a score near 1
here, and easy to misunderstand it.
"""

import os

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from skspeech import SpeakerEmbeddingClassifier
from skspeech.datasets import fetch_voice_prompts, make_speech_like

# %%
# The groups are the prompts' names: "good-bye" is in the training part in all languages, or in
# none. If the recordings are unavailable, synthetic words of five synthetic speakers replace them:
# as in the recordings, the voice gives the class away.

in_a_hurry = "SKSPEECH_EXAMPLE_BUDGET" in os.environ  # as in the tests
try:
    clips = fetch_voice_prompts(download_if_missing=not in_a_hurry)
    y = np.array(clips.target_names)[clips.target]
    groups = clips.groups
    pair = ["en", "es"]
except OSError as error:
    print(f"Made-up voices, for want of recordings: their scores say little.\n({error})\n")
    clips = make_speech_like(250, n_classes=10, n_speakers=5, random_state=0)
    y = clips.groups
    groups = np.array(clips.target_names)[clips.target]
    pair = ["speaker 1", "speaker 2"]

chosen = np.random.default_rng(0).permutation(len(y))[: 150 if in_a_hurry else 600]
X, y, groups = [clips.data[i] for i in chosen], y[chosen], groups[chosen]

# %%
# A score near 1
# --------------
# Three seconds of a clip are plenty.

classifier = SpeakerEmbeddingClassifier(max_duration=3.0, n_jobs=-1)
cv = StratifiedGroupKFold(3, shuffle=True, random_state=0)
predicted = cross_val_predict(classifier, X, y, groups=groups, cv=cv)
print(f"All classes: balanced accuracy {balanced_accuracy_score(y, predicted):.3f}")

# %%
# What it means
# -------------
# Each language is read by one voice. The network was trained to tell voices apart. These numbers
# can't show whether it also tells languages apart, because both questions have the same answers
# here. Only English and Spanish share a voice. Between those two, the difference must be something
# else: the language, or the studio and the microphone of the day.

two = np.isin(y, pair)
X_two = [clip for clip, is_one in zip(X, two) if is_one]
predicted = cross_val_predict(classifier, X_two, y[two], groups=groups[two], cv=cv)
print(f"{' against '.join(pair)}: {balanced_accuracy_score(y[two], predicted):.3f}")

# %%
# A second voice in each language, kept for the test, would answer the question: with speakers as
# ``groups``, as in :ref:`sphx_glr_auto_examples_plot_emotion_unseen_speakers.py`. No classifier and
# no score can separate two properties that always occur together in the recordings.
#
# A new clip
# ----------
# ``predict_proba`` gives the probability of each class. The first clip was kept for this.

classifier.fit(X[1:], y[1:])
for label, probability in zip(classifier.classes_, classifier.predict_proba(X[:1])[0]):
    print(f"    {label:<10} {probability:.3f}")
print(f"(It is {y[0]}.)")
