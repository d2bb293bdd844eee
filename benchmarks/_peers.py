"""The alternatives to skspeech, written as their users would write them.

Each peer is a function `(X_train, y_train, X_test, groups) -> predicted labels`. It gets the same
paths, computes features of both parts, tunes an SVM on the training part with scikit-learn, and
predicts the test part. The features are those of the standard recipe in speech emotion recognition
(openSMILE) and of the standard tutorial (librosa).
"""

import os
import warnings

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

__all__ = ["PEERS"]

N_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def opensmile_svm(X_train, y_train, X_test, groups=None):
    """ComParE 2016 functionals (6,373 features per clip) and a linear SVM."""
    import opensmile

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.ComParE_2016,
        feature_level=opensmile.FeatureLevel.Functionals,
        num_workers=N_CPUS,
    )
    F_train = smile.process_files(X_train).to_numpy()
    F_test = smile.process_files(X_test).to_numpy()
    # The imputer is for very short clips, for which openSMILE cannot compute every functional.
    classifier = make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        LinearSVC(class_weight="balanced", random_state=0),
    )
    grid = {"linearsvc__C": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]}
    return _tuned(classifier, grid, F_train, y_train, groups).predict(F_test)


def librosa_svm(X_train, y_train, X_test, groups=None):
    """Mean and standard deviation of 20 MFCC and their deltas (80 features) and an RBF SVM."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=N_CPUS) as parallel:
        F_train = np.array(parallel(delayed(mfcc_statistics)(path) for path in X_train))
        F_test = np.array(parallel(delayed(mfcc_statistics)(path) for path in X_test))
    classifier = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    grid = {"svc__C": [0.1, 1, 10, 100], "svc__gamma": ["scale", 1e-3, 1e-2]}
    return _tuned(classifier, grid, F_train, y_train, groups).predict(F_test)


def mfcc_statistics(path):
    """Mean and standard deviation over time of one clip's MFCC and of their first differences."""
    import librosa

    waveform, sampling_rate = librosa.load(path, sr=16_000)
    mfcc = librosa.feature.mfcc(y=waveform, sr=sampling_rate, n_mfcc=20)
    # The widest window for the slope that fits into the clip: odd, and at most 9 frames.
    width = min(9, (mfcc.shape[1] - 1) // 2 * 2 + 1)
    delta = librosa.feature.delta(mfcc, width=width) if width >= 3 else np.zeros_like(mfcc)
    frames = np.vstack([mfcc, delta])
    return np.r_[frames.mean(axis=1), frames.std(axis=1)]


PEERS = {"opensmile-svm": opensmile_svm, "librosa-svm": librosa_svm}


def _tuned(classifier, grid, features, y, groups):
    """Tune by cross-validated balanced accuracy; `groups`, such as speakers, are not split."""
    search = GridSearchCV(
        classifier, grid, scoring="balanced_accuracy", cv=_folds(y, groups), n_jobs=N_CPUS
    )
    with warnings.catch_warnings():
        # Folds may lack a rare class, and liblinear may stop before it has fully converged.
        warnings.simplefilter("ignore")
        return search.fit(features, y, groups=groups)


def _folds(y, groups, n_splits=3):
    if groups is None:
        return StratifiedKFold(n_splits, shuffle=True, random_state=0)
    n_splits = min(n_splits, len(np.unique(groups)))
    # If a class has fewer clips than folds, split by groups only.
    smallest = np.unique(y, return_counts=True)[1].min()
    if smallest < n_splits:
        return GroupKFold(n_splits)
    return StratifiedGroupKFold(n_splits, shuffle=True, random_state=0)
