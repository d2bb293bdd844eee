"""
On a Dask cluster
=================

Clips can be embedded on a cluster, and candidates that take long to train can train there. A
:class:`joblib.parallel_config` context says where, as it does for scikit-learn. This script starts
a cluster of two processes on this machine; for a real cluster, only the address changes.

It needs ``pip install '.[distributed]'``.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/leaderboard.png"

import os
import time

import numpy as np
from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skspeech import SpeakerEmbedding, TimeBudgetClassifier
from skspeech.datasets import fetch_fsdd, make_speech_like

TIME_BUDGET = float(os.environ.get("SKSPEECH_EXAMPLE_BUDGET", 60))
in_a_hurry = "SKSPEECH_EXAMPLE_BUDGET" in os.environ  # as in the tests

# %%
# Candidates
# ----------
# We use the line-up for speech (``"auto"``) and two candidates of our own. The line-up's linear
# classifiers are quick. They run here, on features from the cluster: paths are sent there, and rows
# of numbers come back. The others train on the cluster, except for their first step: the extractor
# learns nothing, so each clip is embedded once for all of them, and they get a table of numbers.


def own_candidates():
    return [
        (name, make_pipeline(SpeakerEmbedding(), StandardScaler(), classifier))
        for name, classifier in {
            "trees": ExtraTreesClassifier(300),
            "perceptron": MLPClassifier((128,), max_iter=100),
        }.items()
    ]


# %%
# Clips
# -----


def load():
    try:
        clips = fetch_fsdd(download_if_missing=not in_a_hurry)
    except OSError as error:
        print(f"Made-up words, for want of recordings: their scores say little.\n({error})\n")
        clips = make_speech_like(1000, n_classes=5, random_state=0)
    n_clips = 120 if in_a_hurry else 600
    everything = np.arange(len(clips.data))
    chosen, _ = train_test_split(
        everything, train_size=n_clips, stratify=clips.target, random_state=0
    )
    X, y = [clips.data[i] for i in chosen], clips.target[chosen]
    return X, y, clips.groups[chosen]


# %%
# The run
# -------
# ``parallel_config("dask")`` is enough: inside it, any extractor, alone or in a pipeline, embeds on
# the cluster. Without a context, ``TimeBudgetClassifier(executor=client.get_executor())`` does the
# same. Dask needs the main guard, because its processes import this script when they start.


def main():
    X, y, groups = load()
    train, test = next(StratifiedGroupKFold(3, shuffle=True, random_state=0).split(X, y, groups))
    X_train, X_test = [X[i] for i in train], [X[i] for i in test]

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
        parallel_config("dask"),
    ):
        print(f"{len(client.scheduler_info()['workers'])} workers")
        begin = time.monotonic()
        features = SpeakerEmbedding().transform(X_test)
        print(f"{len(features)} clips embedded there in {time.monotonic() - begin:.1f} s")
        classifier = TimeBudgetClassifier(
            ["auto", *own_candidates()],
            time_budget=TIME_BUDGET,
            preset="fast",
            random_state=0,
        )
        classifier.fit(X_train, y[train], groups=groups[train])

    print(classifier.summary())
    columns = ["name", "score", "weight", "fit_time", "status"]
    print(classifier.leaderboard()[columns].round(3).to_string())

    # The cluster has ended; the ensemble is in this process, and predicts here.
    score = balanced_accuracy_score(y[test], classifier.predict(X_test))
    print(f"Balanced accuracy on people never heard: {score:.3f}")


if __name__ == "__main__":
    main()
