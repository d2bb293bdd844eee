import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.naive_bayes import GaussianNB

from skspeech.metrics import area_under_learning_curve
from skspeech.plotting import LeaderboardDisplay, LearningCurveDisplay
from skspeech.time_budget import TimeBudgetClassifier

pytest.importorskip("matplotlib", reason="drawing needs matplotlib")


@pytest.fixture(autouse=True)
def pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture
def leaderboard():
    return pd.DataFrame(
        {
            "name": ["speaker", "music", "cnn", "broken"],
            "score": [0.8, 0.7, 0.65, np.nan],
            "weight": [0.75, 0.25, 0.0, 0.0],
            "fit_time": [1.5, 0.02, 20.0, np.nan],
        }
    )


def polygon_area_in_axes(artist, ax):
    """Area of a shaded curve as a share of the axes between scores 0 and 1."""
    from matplotlib.path import Path

    path = artist.get_paths()[0]
    corners = path.vertices[path.codes != Path.CLOSEPOLY]
    x, y = ax.transAxes.inverted().transform(ax.transData.transform(corners)).T
    area = 0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))
    low, high = ax.get_ylim()
    return area * (high - low)


@pytest.mark.parametrize("time_budget", [10, 60, 1800])
def test_the_shaded_area_is_the_area_under_the_learning_curve(time_budget):
    curve = [1.0, 4.0, 9.0], [0.5, 0.4, 0.9]
    display = LearningCurveDisplay.from_curves({"mine": curve}, time_budget=time_budget)
    expected = area_under_learning_curve(*curve, time_budget)
    assert display.alc == {"mine": expected}
    assert polygon_area_in_axes(display.fill_, display.ax_) == pytest.approx(expected, abs=1e-6)
    assert display.line_.get_label() == f"mine (ALC = {expected:.3f})"


def test_from_estimator_draws_what_a_run_found():
    X, y = load_iris(return_X_y=True)
    candidates = [("bayes", GaussianNB()), ("linear", LogisticRegression(max_iter=1000))]
    estimator = TimeBudgetClassifier(candidates, time_budget=20, random_state=0).fit(X, y)
    display = LearningCurveDisplay.from_estimator(estimator)
    assert display.time_budget == 20
    assert display.ax_.get_ylabel() == "Balanced accuracy"
    [(times, scores)] = display.curves.values()
    assert scores[-1] == estimator.best_score_
    assert times[-1] <= 20
    assert display.line_.get_label().startswith("TimeBudgetClassifier (ALC = 0.")

    named = LearningCurveDisplay.from_estimator(
        estimator, time_budget=60, name="iris", score_name="Held-out score"
    )
    assert list(named.alc) == ["iris"]
    assert named.ax_.get_xlim() == (0, 60)
    assert named.ax_.get_ylabel() == "Held-out score"

    board = LeaderboardDisplay.from_estimator(estimator)
    names = [label.get_text() for label in board.axes_[0].get_yticklabels()]
    assert sorted(names) == ["bayes", "linear"]
    weights = [bar.get_width() for bar in board.bars_["weight"]]
    assert sum(weights) == pytest.approx(1)


def test_from_estimator_needs_a_fit_and_a_validated_score():
    with pytest.raises(NotFittedError):
        LearningCurveDisplay.from_estimator(TimeBudgetClassifier())
    curve = {"time": np.array([1.0, 3.0]), "score": np.array([np.nan, np.nan])}
    estimator = TimeBudgetClassifier(time_budget=5, scoring=make_scorer(accuracy_score))
    estimator.learning_curve_ = curve
    with pytest.raises(ValueError, match="no ensemble was validated"):
        LearningCurveDisplay.from_estimator(estimator)
    curve["score"][1] = 0.8
    display = LearningCurveDisplay.from_estimator(estimator)
    assert display.ax_.get_ylabel() == "Score"
    assert display.alc["TimeBudgetClassifier"] == area_under_learning_curve([3.0], [0.8], 5)
    curve["score"][1] = -0.8
    display = LearningCurveDisplay.from_estimator(estimator.set_params(scoring="neg_log_loss"))
    assert display.ax_.get_ylabel() == "Negative log loss"  # as its values are


def test_the_line_steps_from_zero_to_the_end_and_leaves_late_answers_out():
    curve = [2.0, 5.0, 70.0], [0.5, 0.8, 1.0]
    line = LearningCurveDisplay.from_curves({"a": curve}, time_budget=60).line_
    np.testing.assert_array_equal(line.get_xdata(), [0, 2, 5, 60])
    np.testing.assert_array_equal(line.get_ydata(), [0, 0.5, 0.8, 0.8])
    assert line.get_drawstyle() == "steps-post"


def test_several_systems_share_one_picture(pyplot):
    _, ax = pyplot.subplots()
    curves = {"a": ([1], [0.5]), "b": ([2], [0.7]), "too late": ([99], [1.0])}
    display = LearningCurveDisplay.from_curves(curves, time_budget=60, ax=ax, score_name="F1")
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert len(display.line_) == 3
    assert display.fill_ is None
    assert display.alc["too late"] == 0
    assert ax.get_ylabel() == "F1"
    assert [text.get_text().split(" (")[0] for text in ax.get_legend().get_texts()] == list(curves)
    assert len({line.get_color() for line in display.line_}) == 3


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    curves = {"_new": ([1], [0.5]), "old": ([2], [0.7])}
    ax = LearningCurveDisplay.from_curves(curves, time_budget=60).ax_
    names = [text.get_text().split(" (")[0].strip() for text in ax.get_legend().get_texts()]
    assert names == list(curves)


@pytest.mark.parametrize("time_budget", [0.5, 1, 10, 60, 100, 1800, 7200, 100_000])
def test_time_ticks_are_readable(time_budget):
    display = LearningCurveDisplay.from_curves({"a": ([0], [1])}, time_budget=time_budget)
    display.figure_.canvas.draw()
    ticks = display.ax_.get_xticks()
    assert ticks[0] == 0
    assert ticks[-1] == time_budget
    assert len(ticks) >= 4
    positions = np.log1p(ticks / 60) / np.log1p(time_budget / 60)
    assert np.diff(positions).min() > 0.1
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert len(set(labels)) == len(ticks)


def test_times_are_labelled_in_words():
    display = LearningCurveDisplay.from_curves({"a": ([0], [1])}, time_budget=1800)
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels[0] == "0"
    assert {"1 min", "10 min", "30 min"} <= set(labels)


def test_the_score_axis_ends_at_1():
    ax = LearningCurveDisplay.from_curves({"a": ([1], [1.0])}, time_budget=60).ax_
    assert ax.get_ylim() == (0, 1)


def test_scores_outside_zero_to_one_stay_in_sight():
    ax = LearningCurveDisplay.from_curves({"a": ([1], [-0.5])}, time_budget=60).ax_
    assert ax.get_ylim()[0] < -0.5


def test_style_can_be_chosen():
    display = LearningCurveDisplay.from_curves(
        {"a": ([1], [0.5])}, time_budget=60, fill=False, line_kwargs={"color": "k", "marker": ""}
    )
    assert display.fill_ is None
    assert display.line_.get_color() == "k"
    display.plot(fill=True)
    assert display.fill_ is not None


@pytest.mark.parametrize(
    ("curves", "options", "message"),
    [
        ({}, {}, "at least one curve"),
        ([([1], [0.5])], {}, "must be a dict that maps names"),
        ({"a": [1, 2, 3]}, {}, r"curves\['a'\] must be a pair"),
        ({"a": ([2, 1], [0.1, 0.2])}, {}, r"curves\['a'\]: times must increase"),
        ({"a": ([1], [0.1])}, {"time_budget": -1}, "time_budget=-1 must be"),
        ({"a": ([1], [0.1])}, {"t0": 0}, "t0=0 must be"),
    ],
)
def test_bad_curves_are_named(curves, options, message):
    with pytest.raises(ValueError, match=message):
        LearningCurveDisplay.from_curves(curves, **{"time_budget": 60, **options})


def test_leaderboard_draws_a_bar_per_candidate_and_column(leaderboard):
    display = LeaderboardDisplay(leaderboard).plot()
    assert list(display.bars_) == ["score", "weight", "fit_time"]
    assert len(display.axes_) == 3
    widths = [bar.get_width() for bar in display.bars_["score"]]
    np.testing.assert_allclose(widths, [0.8, 0.7, 0.65, 0])
    names = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert names == list(leaderboard["name"])
    # The best is on top.
    assert display.axes_[0].get_ylim()[0] > display.axes_[0].get_ylim()[1]
    texts = [text.get_text() for text in display.axes_[2].texts]
    assert texts == ["1.5 s", "20 ms", "20.0 s", "–"]


def test_members_of_the_ensemble_stand_out(leaderboard):
    bars = LeaderboardDisplay(leaderboard).plot().bars_["score"]
    colors = [bar.get_facecolor() for bar in bars]
    assert colors[0] == colors[1] != colors[2] == colors[3]


def test_long_leaderboards_say_what_they_leave_out(leaderboard):
    display = LeaderboardDisplay(leaderboard, max_rows=3, columns=["score"]).plot()
    assert len(display.bars_["score"]) == 3
    assert display.axes_[0].get_xlabel() == "1 more not shown"


def test_leaderboard_draws_into_given_axes(leaderboard, pyplot):
    figure, (left, right) = pyplot.subplots(1, 2)
    display = LeaderboardDisplay(leaderboard, columns=["score", "weight"])
    assert display.plot([left, right]).axes_.tolist() == [left, right]
    divided = display.plot(left).axes_
    assert len(divided) == 2
    assert divided[0].figure is figure
    first, second = display.plot(figure.add_axes([0.2, 0.1, 0.5, 0.8])).axes_
    assert (first.get_position().x0, second.get_position().x1) == pytest.approx((0.2, 0.7))
    with pytest.raises(ValueError, match=r"each of the 2 columns.*got 3"):
        display.plot([left, right, right])


def test_what_is_infinite_has_no_bar(leaderboard):
    leaderboard["score"] = [np.inf, 0.7, -np.inf, np.nan]
    display = LeaderboardDisplay(leaderboard).plot()
    display.figure_.canvas.draw()
    assert [bar.get_width() for bar in display.bars_["score"]] == [0, 0.7, 0, 0]
    assert [t.get_text() for t in display.axes_[0].texts] == ["inf", "0.700", "-inf", "–"]


@pytest.mark.parametrize("name", ["$1 and $2", r"$\wrong$", "a$", r"\$x$", "two\nlines $_$"])
def test_names_are_no_formulas(name, leaderboard):
    leaderboard.loc[0, "name"] = name
    board = LeaderboardDisplay(leaderboard).plot()
    curves = LearningCurveDisplay.from_curves({name: ([1], [0.5])}, time_budget=60)
    for display in (board, curves):
        display.figure_.canvas.draw()  # a wrong formula is an error
    shown = board.axes_[0].get_yticklabels()[0], *curves.ax_.get_legend().get_texts()
    assert all(not text.get_parse_math() and name in text.get_text() for text in shown)


def test_what_is_drawn_can_be_pickled(leaderboard):
    curves = LearningCurveDisplay.from_curves({"a": ([1], [0.5])}, time_budget=60)
    for display in (curves, LeaderboardDisplay(leaderboard).plot()):
        pickle.loads(pickle.dumps(display)).figure_.canvas.draw()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["score", "beauty"]}, r"lacks the columns \['beauty'\]"),
        ({"columns": []}, "at least one column"),
        ({"max_rows": 0}, "max_rows=0 must be 1 or more"),
    ],
)
def test_bad_leaderboard_parameters_are_named(leaderboard, options, message):
    with pytest.raises(ValueError, match=message):
        LeaderboardDisplay(leaderboard, **options)


def test_an_empty_leaderboard_is_an_error(leaderboard):
    with pytest.raises(ValueError, match="no candidate to draw"):
        LeaderboardDisplay(leaderboard.head(0))


def test_leaderboard_from_estimator(leaderboard):
    estimator = SimpleNamespace(leaderboard=lambda: leaderboard)
    display = LeaderboardDisplay.from_estimator(estimator, columns=["score"])
    assert len(display.bars_["score"]) == len(leaderboard)


def test_a_missing_matplotlib_names_the_install_command(monkeypatch, leaderboard):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[plot\]'"):
        LearningCurveDisplay.from_curves({"a": ([1], [0.5])}, time_budget=60)
    with pytest.raises(ImportError, match="LeaderboardDisplay needs matplotlib"):
        LeaderboardDisplay(leaderboard).plot()


def test_importing_the_module_loads_no_matplotlib():
    code = (
        "import sys, skspeech.plotting; "
        "print([m for m in ('matplotlib', 'pandas', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
