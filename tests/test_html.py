"""What notebooks show of a fitted classifier."""

import re

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from skspeech import TimeBudgetClassifier
from skspeech._html import leaderboard_html  # a pure function
from skspeech.plotting import LeaderboardDisplay, LearningCurveDisplay

X, y = load_iris(return_X_y=True)
pytestmark = pytest.mark.usefixtures("no_repeats")


@pytest.fixture
def classifier():
    candidates = [("lin<ear>", LogisticRegression()), ("bayes", GaussianNB())]
    return TimeBudgetClassifier(candidates, time_budget=20, random_state=0)


def _cells(html):
    rows = re.findall(r"<tr.*?</tr>", html)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]


def test_an_unfitted_classifier_is_scikit_learns_diagram(classifier):
    html = classifier._repr_mimebundle_()["text/html"]
    assert "sk-top-container" in html
    assert "skspeech-leaderboard" not in html


def test_a_fitted_classifier_shows_its_leaderboard(classifier):
    bundle = classifier.fit(X, y)._repr_mimebundle_()
    assert bundle["text/plain"] == repr(classifier)
    diagram, _, board = bundle["text/html"].partition('<div class="skspeech-leaderboard">')
    assert "sk-top-container" in diagram
    head, *rows = _cells(board)
    assert head == ["Candidate", "Score", "Weight", "Fit time", "Status"]
    table = classifier.leaderboard()
    assert [row[0] for row in rows] == [n.replace("<ear>", "&lt;ear&gt;") for n in table["name"]]
    assert [float(row[1]) for row in rows] == table["score"].round(3).tolist()
    assert f"balanced_accuracy: {classifier.best_score_:.3f}" in board


def test_no_diagram_no_leaderboard(classifier):
    classifier.fit(X, y)
    with sklearn.config_context(display="text"):
        assert set(classifier._repr_mimebundle_()) == {"text/plain"}


def test_a_slim_classifier_has_no_leaderboard_left(classifier):
    html = classifier.fit(X, y).slim()._repr_mimebundle_()["text/html"]
    assert "skspeech-leaderboard" not in html
    draw = LearningCurveDisplay.from_estimator, LeaderboardDisplay.from_estimator
    for ask in (TimeBudgetClassifier.summary, TimeBudgetClassifier.leaderboard, *draw):
        with pytest.raises(AttributeError, match=r"before slim\(\)"):
            ask(classifier)


def test_unscored_candidates_come_last_and_the_rest_is_counted():
    n = 15
    results = {
        "name": np.array([f"c{i}" for i in range(n)], dtype=object),
        "status": np.array(["ok"] * (n - 1) + ["failed"], dtype=object),
        "score": np.r_[np.nan, np.linspace(0, 1, n - 1)],
        "weight": np.r_[np.nan, np.zeros(n - 2), 1.0],
        "mean_fit_time": np.full(n, np.nan),
    }
    html = leaderboard_html(results, "a & b", max_rows=n)
    rows = _cells(html)[1:]
    assert "a &amp; b" in html
    assert rows[0] == ["c14", "1.000", "1.00", "–", "failed"]
    assert rows[-1] == ["c0", "–", "", "–", "ok"]
    assert "more in" not in html
    assert "3 more in" in leaderboard_html(results, "")
    results["weight"][2] = 0.5  # the last but one votes: it is shown among the first
    html = leaderboard_html(results, "")
    assert _cells(html)[-1][0] == "c2"
    assert "2 more in" in html
