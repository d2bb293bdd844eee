"""
Who speaks?
===========

The speaker network was trained to tell people apart, so a few clips of each are enough. This script
enrols people with more and more clips, and then compares clips of people who are not enrolled. The
task is hard: people act emotions, and sound angry in one clip and bored in the next.
"""

import os

import numpy as np
from sklearn.metrics import balanced_accuracy_score, roc_curve
from sklearn.preprocessing import normalize

from skspeech import SpeakerEmbedding, SpeakerEmbeddingClassifier
from skspeech.datasets import fetch_emodb, make_speech_like

# %%
# Ten people say ten sentences in seven emotions. If the recordings are unavailable, ten synthetic
# voices replace them.

in_a_hurry = "SKSPEECH_EXAMPLE_BUDGET" in os.environ  # as in the tests
try:
    clips = fetch_emodb(task="speaker", download_if_missing=not in_a_hurry)
    X, people, sentences = clips.data, clips.speaker, clips.groups
except OSError as error:
    print(f"Made-up voices, for want of recordings: their scores say little.\n({error})\n")
    clips = make_speech_like(240, n_classes=6, n_speakers=10, random_state=0)
    X, people = clips.data, clips.groups
    sentences = np.array(clips.target_names)[clips.target]

# %%
# How many clips does it take?
# ----------------------------
# Nobody is tested on a sentence that was used to enrol them: otherwise the classifier might
# recognise the words rather than the voice.

rng = np.random.default_rng(0)
order = rng.permutation(len(X))
enrolled = np.isin(sentences, np.unique(sentences)[: len(np.unique(sentences)) // 2])
test = [i for i in order if not enrolled[i]][: 100 if in_a_hurry else None]
X_test = [X[i] for i in test]

for n_clips in (1, 3, 10):
    train = [
        i
        for person in np.unique(people)
        for i in [i for i in order if enrolled[i] and people[i] == person][:n_clips]
    ]
    classifier = SpeakerEmbeddingClassifier(n_jobs=-1)
    classifier.fit([X[i] for i in train], people[train])
    score = balanced_accuracy_score(people[test], classifier.predict(X_test))
    print(f"{n_clips:>2} clips of each person: balanced accuracy {score:.3f}")

# %%
# Is it the same person?
# ----------------------
# Sometimes the question is about people without any training clips: do two clips come from the same
# person? The network's own utterance embedding answers it without a classifier, by the angle
# between the embeddings of two clips. ``layers="embedding"`` gives this embedding.

extractor = SpeakerEmbedding(layers="embedding", n_jobs=-1)
embeddings = normalize(extractor.fit_transform(X_test))
similarity = embeddings @ embeddings.T

first, second = np.triu_indices(len(test), k=1)
same = people[test][first] == people[test][second]
values = similarity[first, second]
print(f"Similarity of two clips of one person: {values[same].mean():.2f} on average,")
print(f"of two people: {values[~same].mean():.2f}.")

# %%
# Whatever the threshold, some pairs are on the wrong side. The equal error rate is where both
# errors are equally frequent: two people taken for one, and one person taken for two.

false_alarms, hits, thresholds = roc_curve(same, values)
where = np.argmin(np.abs(false_alarms - (1 - hits)))
print(
    f"Equal error rate {(false_alarms[where] + 1 - hits[where]) / 2:.3f}, "
    f"at a similarity of {thresholds[where]:.2f}."
)
