"""
Pipelines and grid search
=========================

The pretrained networks are plain transformers: clips in, a table of numbers out. So any estimator
of scikit-learn for tables can follow them in a Pipeline, and every tool that tunes Pipelines can
tune them. This script builds a Pipeline, searches its parameters, and shows the result.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/confusion.png"

import os
import time

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, train_test_split
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skspeech import SpeakerEmbedding, SpectralStatistics
from skspeech.datasets import fetch_fsdd, make_speech_like

# %%
# Clips, labels, groups
# ---------------------
# Spoken digits by six people or, if they are unavailable, synthetic words of synthetic speakers. A
# clip is the path of a file or an array of samples: the rest of the script is the same for both.

in_a_hurry = "SKSPEECH_EXAMPLE_BUDGET" in os.environ  # as in the tests
try:
    clips = fetch_fsdd(download_if_missing=not in_a_hurry)
except OSError as error:
    print(f"Made-up words, for want of recordings: their scores say little.\n({error})\n")
    clips = make_speech_like(1000, n_classes=5, random_state=0)

n_clips = 120 if in_a_hurry else 600
everything = np.arange(len(clips.data))
chosen, _ = train_test_split(everything, train_size=n_clips, stratify=clips.target, random_state=0)
X = [clips.data[i] for i in chosen]
y = np.array(clips.target_names)[clips.target[chosen]]
groups = clips.groups[chosen]

# %%
# The people in the test set are in no training clip: a third of the people are kept for the end.

train, test = next(StratifiedGroupKFold(3, shuffle=True, random_state=0).split(X, y, groups))
X_train, y_train, groups_train = [X[i] for i in train], y[train], groups[train]
X_test, y_test = [X[i] for i in test], y[test]
print(f"{len(train)} training clips of {len(set(groups_train))} people, {len(test)} test clips.")

# %%
# A Pipeline
# ----------
# An extractor comes first. Its ``fit`` learns nothing, so each clip goes through the network once,
# however often the Pipeline is fitted.

pipeline = make_pipeline(SpeakerEmbedding(n_jobs=-1), StandardScaler(), PCA(0.95), SVC())

start = time.perf_counter()
pipeline.fit(X_train, y_train)
print(f"First fit: {time.perf_counter() - start:.2f} s, with the network.")

start = time.perf_counter()
pipeline.fit(X_train, y_train)
print(f"Second fit: {time.perf_counter() - start:.2f} s, the embeddings are remembered.")

# %%
# Columns have names: the network, its layer, and the statistic over time. With ``set_output``, the
# result is a DataFrame.

table = SpeakerEmbedding().set_output(transform="pandas").fit_transform(X_train[:3])
print(table.iloc[:, :3])

# %%
# A grid search
# -------------
# The folds keep people apart, too: ``groups`` is passed to `fit`. Balanced accuracy counts every
# class the same, however many clips it has.

grid = {"svc__C": [0.1, 1, 10], "pca__n_components": [0.9, 0.99]}
search = GridSearchCV(
    pipeline,
    grid,
    cv=StratifiedGroupKFold(3),
    scoring="balanced_accuracy",
)
start = time.perf_counter()
search.fit(X_train, y_train, groups=groups_train)
n_fits = len(search.cv_results_["params"]) * search.n_splits_ + 1
print(f"{n_fits} fits in {time.perf_counter() - start:.1f} s; no clip was embedded again.")
for params, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"]):
    print(f"    {score:.3f}  {params}")

# %%
# Searching over the extractor
# ----------------------------
# A step can be searched like any parameter. Is the network better alone, or together with classical
# features of pitch, loudness and spectrum?

speaker, spectral = SpeakerEmbedding(n_jobs=-1), SpectralStatistics(n_jobs=-1)
extractors = {"network": speaker, "both": make_union(speaker, spectral)}
search.set_params(
    estimator=search.best_estimator_,
    param_grid={"speakerembedding": list(extractors.values())},
)
search.fit(X_train, y_train, groups=groups_train)
for name, score in zip(extractors, search.cv_results_["mean_test_score"]):
    print(f"{name:<10} {score:.3f}")

# %%
# The final test is on the people who were kept out. ``best_estimator_`` was refitted on all
# training clips.

score = balanced_accuracy_score(y_test, search.predict(X_test))
print(f"Balanced accuracy on people never heard: {score:.3f} (guessing: {1 / len(set(y)):.3f})")
