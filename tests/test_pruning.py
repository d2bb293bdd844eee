"""An ensemble that is too slow: `slim` leaves members out."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from skspeech import GeometricMeanVotingClassifier, TimeBudgetClassifier
from skspeech.audio import as_clips
from skspeech.ensemble.pruning import prune_to_time
from skspeech.transformers import Extractor

X, y = load_iris(return_X_y=True)
BAYES = ("bayes", GaussianNB())
pytestmark = pytest.mark.usefixtures("no_repeats")  # all is done long before the time is up


class _Paced(GaussianNB):
    """Takes a while to predict."""

    seconds = 0.0

    def predict_proba(self, X):
        time.sleep(self.seconds)
        return super().predict_proba(X)


def test_slim_leaves_out_members_until_one_row_is_quick():
    quick, useless = _Paced().fit(X, y), _Paced().fit(X, y[::-1])
    slow = _Paced(var_smoothing=1e-8).fit(X, y)
    useless.seconds, slow.seconds = 0.05, 0.3
    members = [("quick", quick), ("useless", useless), ("slow", slow)]
    clf = TimeBudgetClassifier([BAYES], time_budget=60).fit(X, y)
    clf.ensemble_ = GeometricMeanVotingClassifier.from_fitted(members, weights=[2, 0.01, 1])
    clf.ensemble_.time_ = 1.0
    expected = clf.predict(X)
    assert clf.slim(predict_time_budget=0.04, X=X[::10]) is clf
    assert [name for name, _ in clf.ensemble_.estimators] == ["quick"]
    assert clf.ensemble_.weights.tolist() == [2]
    assert (clf.predict(X) == expected).mean() > 0.95
    assert not hasattr(clf, "results_")


def test_slim_keeps_those_who_together_are_quick():
    first, other = _Paced().fit(X, y), _Paced().fit(X, y)
    slow = _Paced().fit(X, y)
    first.seconds = other.seconds = 0.1
    slow.seconds = 0.6
    clf = TimeBudgetClassifier([BAYES], time_budget=60).fit(X, y)
    members = [("slow", slow), ("first", first), ("other", other)]
    clf.ensemble_ = GeometricMeanVotingClassifier.from_fitted(members)
    clf.ensemble_.time_ = 1.0
    clf.slim(predict_time_budget=0.5, X=X[::10])
    assert [name for name, _ in clf.ensemble_.estimators] == ["first", "other"]


def test_members_keep_their_names_and_an_old_pickle_has_no_temperature():
    members = [("one", GaussianNB()), BAYES, ("other", LogisticRegression(max_iter=1000))]
    ensemble = GeometricMeanVotingClassifier(members).fit(X, y)
    del ensemble.temperature_  # older pickles have none
    fitted = dict(ensemble.named_estimators_)
    kept = prune_to_time(ensemble.set_params(one="drop"), X, 60)
    assert all(fitted[name] is member for name, member in kept.estimators)
    np.testing.assert_allclose(kept.predict_proba(X), ensemble.predict_proba(X))


def test_slim_needs_clips_and_time_for_one_member():
    clf = TimeBudgetClassifier([BAYES], time_budget=60).fit(X, y)
    with pytest.raises(ValueError, match="needs X"):
        clf.slim(predict_time_budget=1)
    with pytest.raises(ValueError, match="quickest member"):
        clf.slim(predict_time_budget=1e-9, X=X)
    for seconds in ("1", 0, -1):
        with pytest.raises(ValueError, match="a number above 0"):
            clf.slim(predict_time_budget=seconds, X=X)
    assert hasattr(clf, "results_")


def test_what_is_left_is_not_validated_and_not_reported():
    clf = TimeBudgetClassifier([BAYES], time_budget=60).fit(X, y)
    assert clf.best_score_ > 0.9
    clf.slim(predict_time_budget=60, X=X)
    assert np.isnan(clf.best_score_)
    for told in (clf.summary, clf.leaderboard):
        with pytest.raises(AttributeError, match="slim"):
            told()


@pytest.mark.parametrize("form", [list, np.stack, pd.DataFrame], ids=["list", "array", "frame"])
def test_slim_times_clips_that_are_not_remembered(tones, form):
    X, y = tones
    X = form(X)
    clf = TimeBudgetClassifier(preset="fast", time_budget=60, random_state=0).fit(X, y)
    before = clf.predict(X)
    seen = []
    embed = Extractor.transform
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Extractor, "transform", lambda self, X: (seen.append(X), embed(self, X))[1])
        clf.slim(predict_time_budget=60, X=X)
    keys = {as_clips(x)[0].key() for x in seen if len(x) == 1}
    assert len(keys) >= 6  # one to get warm, and five
    assert not keys & {clip.key() for clip in as_clips(X)}
    assert (clf.predict(X) == before).all()
