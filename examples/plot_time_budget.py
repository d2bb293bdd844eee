"""
A time budget and its learning curve
====================================

How long do you want to wait? :class:`~skspeech.TimeBudgetClassifier` takes the answer as a
parameter. It gives a first ensemble within seconds, improves it while there is time, and returns on
time. This script watches it at work.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/learning_curve.png"

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold

from skspeech import TimeBudgetClassifier
from skspeech.datasets import fetch_emodb, make_speech_like
from skspeech.plotting import LeaderboardDisplay, LearningCurveDisplay

# The tests set a short one.
TIME_BUDGET = float(os.environ.get("SKSPEECH_EXAMPLE_BUDGET", 60))

# %%
# Seven acted emotions by ten people, three of whom are kept for the test; or synthetic words, if
# the recordings are unavailable.

try:
    clips = fetch_emodb(download_if_missing="SKSPEECH_EXAMPLE_BUDGET" not in os.environ)
except OSError as error:
    print(f"Made-up words, for want of recordings: their scores say little.\n({error})\n")
    clips = make_speech_like(200, n_classes=7, n_speakers=10, random_state=0)

y = np.array(clips.target_names)[clips.target]
splitter = StratifiedGroupKFold(3, shuffle=True, random_state=0)
train, test = next(splitter.split(clips.data, y, clips.groups))
X_train, X_test = [clips.data[i] for i in train], [clips.data[i] for i in test]

# %%
# Every better ensemble, as it comes
# ----------------------------------
# ``iter_fit`` yields a fitted ensemble each time there is a better one. Training continues while
# the loop's body runs. Here the body scores the ensemble on the test clips; a service would start
# to answer with it. Leaving the loop early keeps the best one so far. If you only need the final
# ensemble, call ``fit``.

classifier = TimeBudgetClassifier(time_budget=TIME_BUDGET, random_state=0)
seconds, test_scores = [], []
for snapshot in classifier.iter_fit(X_train, y[train], groups=clips.groups[train]):
    seconds.append(snapshot.time_)
    test_scores.append(balanced_accuracy_score(y[test], snapshot.predict(X_test)))
    members = ", ".join(name for name, _ in snapshot.estimators)
    print(f"{seconds[-1]:6.1f} s  test score {test_scores[-1]:.3f}  {members}")

# %%
# What happened
# -------------

print(classifier.summary())

# %%
# Every candidate has a row in the leaderboard: its score on held-out clips, and its weight in the
# ensemble. In a notebook, the classifier itself shows this table.

print(classifier.leaderboard().head(8).round(3).to_string())

# %%
# Two curves against time, on the logarithmic axis of the AutoSpeech challenge: the first seconds
# count as much as many later ones. One is the classifier's own estimate, from people that it held
# out of each training; the other is the score on people that it never saw.

curve = classifier.learning_curve_
known = np.isfinite(curve["score"])  # a first answer may never have been validated
display = LearningCurveDisplay.from_curves(
    {
        "validated": (curve["time"][known], curve["score"][known]),
        "test": (seconds, test_scores),
    },
    time_budget=TIME_BUDGET,
)
display.ax_.set_title("The ensemble over time")
plt.show()

# %%
# And the leaderboard as a picture. The members of the ensemble are coloured.

LeaderboardDisplay.from_estimator(classifier, max_rows=10)
plt.show()

# %%
# The promise
# -----------

total = classifier.timing_["total"]
print(f"fit took {total:.1f} s of {TIME_BUDGET:g} s; the test score is {test_scores[-1]:.3f}.")
for step, spent in classifier.timing_.items():
    print(f"    {step:<12} {spent:6.2f} s")
