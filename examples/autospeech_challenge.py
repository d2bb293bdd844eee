"""
The AutoSpeech challenge
========================

In the AutoSpeech challenge, a program gets labelled clips of an unknown task and a time limit. It
is asked for predictions again and again while the clock runs, and its score is the area under its
learning curve, so answers must be early *and* good. This script makes a data set in the challenge's
layout, runs two entries under its protocol, and compares their curves.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/learning_curve.png"

import os
import tempfile
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from skspeech.challenge import load_autospeech, run_local_test, save_autospeech
from skspeech.datasets import fetch_fsdd, make_speech_like

TIME_BUDGET = float(os.environ.get("SKSPEECH_EXAMPLE_BUDGET", 60))
in_a_hurry = "SKSPEECH_EXAMPLE_BUDGET" in os.environ  # as in the tests

# %%
# A data set
# ----------
# The challenge's own data are not public, so we make our own: spoken digits, split by speaker.

try:
    clips = fetch_fsdd(download_if_missing=not in_a_hurry)
except OSError as error:
    print(f"Made-up words, for want of recordings: their scores say little.\n({error})\n")
    clips = make_speech_like(1000, n_classes=5, random_state=0)

n_clips = 120 if in_a_hurry else 600
everything = np.arange(len(clips.data))
chosen, _ = train_test_split(everything, train_size=n_clips, stratify=clips.target, random_state=0)
X, y = [clips.data[i] for i in chosen], clips.target[chosen]
splitter = StratifiedGroupKFold(3, shuffle=True, random_state=0)
train, test = next(splitter.split(X, y, clips.groups[chosen]))

scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
save_autospeech(
    folder / "DIGITS",
    [X[i] for i in train],
    y[train],
    [X[i] for i in test],
    y[test],
    time_budget=TIME_BUDGET,
)
data = load_autospeech(folder / "DIGITS")
print(data.metadata)

# %%
# Two entries
# -----------
# An entry is a folder with a `model.py`, which has a class `Model` with `train` and `test`. The
# first is skspeech's own, which the official program can run too. The second uses its own
# classifier, answers once and stops.

entries = {
    "skspeech": "from skspeech.challenge import Model\n",
    "one answer": """
from skspeech import SpeakerEmbedding, TimeBudgetClassifier
from skspeech.challenge import Model as Base
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline


class Model(Base):
    def __init__(self, metadata):
        pipeline = make_pipeline(SpeakerEmbedding(), GaussianNB())
        classifier = TimeBudgetClassifier([("bayes", pipeline)], refit=False)
        super().__init__(metadata, classifier=classifier)
""",
}
for name, code in entries.items():
    (folder / name).mkdir()
    (folder / name / "model.py").write_text(code)

# %%
# The test
# --------
# Each entry runs in its own process. Only its calls use up the time. The same on the command line:
# ``python -m skspeech.challenge -dataset_dir=DIGITS -code_dir=my_entry``.

results = {}
for name in entries:
    results[name] = result = run_local_test(
        folder / "DIGITS",
        folder / name,
        output_dir=folder / name / "answers",
        score_dir=folder / name / "scores",
    )
    first, last = (f"{result.scores[i]:.3f} at {result.times[i]:.1f} s" for i in (0, -1))
    print(f"{name:<12} ALC {result.alc:.3f}   {len(result.times)} answers, {first} to {last}")
    if not result.success:
        print("It failed then; the answers so far count.")

# %%
# Both leave files in the official program's format with their answers and scores, and a picture of
# the learning curve.

print(sorted(file.name for file in (folder / "skspeech" / "scores").iterdir()))
scratch.cleanup()
