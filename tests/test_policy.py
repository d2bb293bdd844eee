"""What a run does next, from what is known: no clock, no thread and no process."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion
from sklearn.svm import SVC

from skspeech import Candidate
from skspeech.ensemble.selection import ProbabilityScore
from skspeech.time_budget import policy
from skspeech.time_budget.features import Data, SharedFeatures, UnitedFeatures, Variants
from skspeech.time_budget.members import Chooser
from skspeech.time_budget.state import (
    FIRST_LEVEL,
    RACE_ROWS,
    RACE_ROWS_PER_CLASS,
    CandidateState,
    Fold,
    HeldOut,
    Job,
    RunState,
)

N = 90
FOLDS = [Fold(np.setdiff1d(np.arange(N), np.arange(k, N, 3)), np.arange(k, N, 3)) for k in range(3)]


def run_state(entries, **known):
    settings = {"folds": list(FOLDS), "left": 50.0, "answered": True, **known}
    state = RunState(60.0, N, N, 3, **settings)
    state.entries = entries
    for index, entry in enumerate(entries):
        entry.index = index
    return state


def entry(name, estimator=None, *, features=None, where="main", takes_max_time=False, **hints):
    estimator = estimator or LogisticRegression()
    candidate = Candidate(name, estimator, **hints)
    return CandidateState(0, candidate, features, estimator, where, takes_max_time)


def shared(key, rate, level=0):
    features = SharedFeatures(key, [])
    features.rate, features.level, features.warm = rate, level, rate is not None
    return features


def validated(candidate, score, seconds=0.1, weight=0.0, folds=(0, 1, 2), level=N):
    """The candidate after its folds were trained."""
    for fold in folds:
        candidate.held_out[fold] = HeldOut(np.arange(30), np.zeros((30, 3)))
        candidate.models[fold], candidate.levels[fold] = object(), level
        candidate.fit_times[fold] = seconds
        candidate.final.add(fold)
    candidate.score, candidate.weight = score, weight
    return candidate


def order_here(state):
    """Names in the order in which they are validated, if each is as good as expected."""
    names = []
    while (job := policy.next_here(state)) is not None and job.kind == "validate":
        names.append(job.entry.name)
        if job.entry.features is not None:
            for part in job.entry.features.parts:
                part.level, part.rate = max(part.level, job.level), part.rate or 0.001
        validated(job.entry, 0.5)
    return names


# -------------------------------------------------------------------------- this process


@pytest.mark.parametrize(
    ("candidates", "first"),
    [
        ([("a", {}), ("b", {"first": True})], "b"),
        ([("a", {"stage": 1}), ("b", {})], "b"),
        ([("a", {"cost": 0.5}), ("b", {"cost": 0.1})], "b"),
        ([("a", {}), ("b", {})], "a"),
    ],
    ids=["marked", "stage", "cost", "order"],
)
def test_the_first_answer(candidates, first):
    state = run_state([entry(name, **hints) for name, hints in candidates], answered=False)
    job = policy.next_here(state)
    assert (job.kind, job.entry.name) == ("first", first)


def test_another_candidate_gives_the_first_answer_if_the_marked_one_is_late():
    late, other = entry("late", first=True), entry("other")
    late.misses = 1
    assert policy.next_here(run_state([late, other], answered=False)).entry is other


@pytest.mark.parametrize(
    ("table", "order"),
    [
        # name, gain, stage, seconds per row of its embedding
        ([("a", 1, 0, 0.01), ("b", 2, 0, 0.01)], ["b", "a"]),
        ([("a", 1, 0, 0.10), ("b", 1, 0, 0.01)], ["b", "a"]),
        ([("a", 1, 1, 0.01), ("b", 1, 0, 0.01)], ["b", "a"]),
        ([("a", 4, 1, 0.01), ("b", 1, 0, 0.01)], ["a", "b"]),
        ([("a", 2, 0, 0.10), ("b", 1, 0, 0.02), ("c", 1, 2, 0.01)], ["b", "c", "a"]),
    ],
    ids=["gain", "cost", "stage", "gain over stage", "gain per second"],
)
def test_the_order_of_candidates(table, order):
    entries = [
        entry(name, features=shared(name, rate), gain=gain, stage=stage)
        for name, gain, stage, rate in table
    ]
    assert order_here(run_state(entries, left=20.0)) == order


def united(*parts):
    union = FeatureUnion([(part.key, "passthrough") for part in parts])
    for part in parts:
        part.steps = [("step", "passthrough")]
    return UnitedFeatures("union", [("union", union)], parts)


def at_other_speeds(name, features, **hints):
    candidate = entry(name, **hints)
    candidate.variants = Variants(features, 2, LogisticRegression())
    return candidate


@pytest.mark.parametrize("slowness", [1, 20], ids=["as usual", "busy machine"])
def test_variants_take_as_long_as_measured_on_the_clips_themselves(slowness):
    heard, other = shared("heard", 0.01 * slowness, 40), shared("other", 0.004 * slowness)
    speeds = at_other_speeds("speeds", heard, gain=3, stage=1)
    state = run_state([speeds, entry("plain", features=heard), entry("other", features=other)])
    state.unit_costs = {LogisticRegression: (1e-4, None)}
    embedding = (0.01 * (N - 40) + 0.01 * 2 * N) * slowness
    # Three folds of two thirds of the clips, each clip at three speeds.
    assert policy.validation_cost(state, speeds, N) == pytest.approx(embedding + 2 * N * 3e-4)
    assert order_here(state) == ["plain", "other", "speeds"]
    validated(speeds, 0.5, seconds=0.2)
    assert policy.validation_cost(state, speeds, N) == pytest.approx(0.6)


def test_features_that_tell_little_of_the_clips_tell_little_of_their_variants():
    poor, good = shared("poor", 0.01, N), shared("good", 0.01, N)
    entries = [at_other_speeds("a", poor), at_other_speeds("b", good)]
    entries += [
        validated(entry("c", features=poor), 0.4),
        validated(entry("d", features=good), 0.9),
    ]
    assert policy.next_here(run_state(entries)).entry.name == "b"


def test_a_union_costs_what_its_parts_still_cost():
    done, half, cold = shared("d", 0.1, N), shared("h", 0.2, 40), shared("c", None)
    state = run_state([entry("a", features=united(done, half))])
    assert policy.embedding_cost(state, state.entries[0].features, 30) == 0
    assert policy.embedding_cost(state, state.entries[0].features, 50) == pytest.approx(2.0)
    assert state.entries[0].features.level == 40
    assert state.entries[0].features.rate == pytest.approx(0.3)
    state.entries.append(entry("b", features=united(half, cold)))
    assert state.entries[1].features.rate is None
    # The rate of what never ran is the median of the parts that did.
    assert policy.embedding_cost(state, cold, 10) == pytest.approx(10 * 0.15)
    assert policy.embedding_cost(state, state.entries[1].features, 41) == pytest.approx(6.35)


def test_a_union_of_what_is_there_comes_before_what_has_to_be_computed():
    one, other = shared("one", 0.1, N), shared("other", 0.1, N)
    entries = [
        entry("new", features=shared("new", 0.1)),
        entry("both", features=united(one, other), stage=1),
    ]
    assert order_here(run_state(entries)) == ["both", "new"]


def test_a_union_begins_with_as_many_rows_as_there_is_time_for():
    part = shared("part", 0.5)
    state = run_state([entry("both", features=united(shared("done", 0.1, N), part))], left=60.0)
    assert policy.next_here(state).level == 59  # half of the time for new steps
    part.level = 60
    state.left = 10.0
    assert policy.next_here(state).level == 60
    validated(state.entries[0], 0.5, level=60)
    state.left = 30.0
    assert policy.next_here(state).level == N


def test_of_many_rows_a_first_part_is_tried_with_all_steps():
    n, first = 50_000, FIRST_LEVEL
    folds = [Fold(np.arange(n - 2000), np.arange(n - 2000, n))]
    entries = [entry(key, features=shared(key, 0.001, RACE_ROWS)) for key in "ab"]
    settings = {"folds": folds, "left": 200.0, "answered": True, "refit": False}
    state = RunState(300.0, n, n, 3, **settings)
    state.entries = [validated(e, 0.8, 0.01, 0.5, (0,), RACE_ROWS) for e in entries]
    assert state.race_level == RACE_ROWS
    tried = {}
    for _ in entries:
        job = policy.next_here(state)
        tried[job.entry.name] = job.level
        job.entry.features.level = job.level
        validated(job.entry, 0.9, 1.0, 0.5, (0,), job.level)
    assert tried == {"a": first, "b": first}
    assert policy.next_here(state).level == n
    state.left = 60.0  # of which all rows would take 40 + 5 seconds
    assert policy.next_here(state).level == 3 * first


def test_what_there_is_no_time_for_does_not_come_first():
    slow = entry("slow", features=shared("slow", 0.6))
    quick = entry("quick", features=shared("quick", 0.01))
    state = run_state([slow, quick], left=20.0)
    assert policy.validation_cost(state, slow, N) > state.left
    assert policy.next_here(state).entry is quick


def test_an_embedding_that_is_there_costs_nothing_more():
    near, far = entry("near", features=shared("n", 0.1, N)), entry("far", features=shared("f", 0.1))
    state = run_state([far, near])
    assert policy.embedding_cost(state, near.features, N) == 0
    assert policy.embedding_cost(state, far.features, N) == pytest.approx(9.0)
    assert policy.next_here(state).entry is near


def test_large_rows_cost_more():
    state = run_state([entry("a", features=shared("a", 0.1, 80))])
    state.mass = np.concatenate([np.linspace(0, 40, 81), np.linspace(45, 90, 10)])
    assert policy.embedding_cost(state, state.entries[0].features, N) == pytest.approx(5.0)


def test_what_looks_like_a_poor_embedding_waits():
    good = validated(entry("good", features=shared("g", 0.01, N)), 0.9)
    poor = validated(entry("poor", features=shared("p", 0.01, N)), 0.4)
    more_good = entry("more good", features=good.features)
    more_poor = entry("more poor", features=poor.features)
    state = run_state([poor, good, more_poor, more_good])
    assert policy.gain(state, more_good) > 10 * policy.gain(state, more_poor)
    assert order_here(state) == ["more good", "more poor"]


def test_members_are_refitted_before_the_time_is_over():
    member = validated(entry("member"), 0.9, seconds=4.0, weight=1.0)
    newcomer = entry("newcomer", cost=0.1)  # 18 s for three folds
    assert policy.next_here(run_state([member, newcomer], left=50.0)).entry is newcomer
    job = policy.next_here(run_state([member, newcomer], left=22.0))
    assert (job.kind, job.entry) == ("refit", member)
    assert policy.next_here(run_state([member, newcomer], left=5.0)) is None


def test_without_folds_all_candidates_are_trained_on_all_rows():
    entries = [entry("a"), entry("b", gain=2.0)]
    state = run_state(entries, folds=[])
    job = policy.next_here(state)
    assert (job.kind, job.entry.name) == ("refit", "b")
    entries[1].full_model, entries[1].full_level = object(), N
    assert policy.next_here(state).entry.name == "a"
    entries[0].full_model, entries[0].full_level = object(), N
    assert policy.next_here(state) is None


def test_a_candidate_that_was_given_up_waits_and_has_twice_the_time():
    late, other = entry("late", gain=5.0), entry("other")
    before = policy.next_here(run_state([late, other]))
    assert before.entry is late
    late.misses = 1
    state = run_state([late, other])
    assert order_here(state) == ["other", "late"]
    late.levels.clear()
    late.fit_times.clear()
    late.score = math.nan
    assert policy.next_here(state).limit == 2 * before.limit


@pytest.mark.parametrize(
    ("rate_of_other", "expected"), [(None, 6.0), (0.01, 4.8)], ids=["cold", "warm"]
)
def test_imports_have_time_of_their_own(rate_of_other, expected):
    cold = entry("cold", features=shared("cold", None))
    other = entry("other", features=shared("other", rate_of_other), stage=9)
    state = run_state([cold, other], left=6.0, answered=False)
    state.budget = 6.0
    assert policy.next_here(state).limit == pytest.approx(expected)
    cold.features.warm, cold.features.rate = True, 0.001
    assert policy.next_here(state).limit == pytest.approx(2.0)


# -------------------------------------------------------------------------- the race


def race_state(entries, n_rows=900, **known):
    rows = np.arange(n_rows)
    folds = [Fold(np.setdiff1d(rows, rows[k::3]), rows[k::3]) for k in range(3)]
    state = run_state(entries, folds=folds, **known)
    state.n_train = state.n_total = n_rows
    state.mass = np.arange(n_rows + 1.0)
    return state


def run_here(state, scores, n_jobs):
    """(name, rows) of the next jobs, where each candidate turns out as good as `scores` say."""
    done = []
    for _ in range(n_jobs):
        job = policy.next_here(state)
        done.append((job.entry.name, job.level))
        job.entry.features.level, job.entry.features.rate = job.level, 0.004
        validated(job.entry, scores[job.entry.name], 0.01, level=job.level)
    return done


def racing(*names, **hints):
    return [entry(name, features=shared(name, None), **hints) for name in names]


def test_rather_than_end_with_time_left_the_winner_of_a_race_goes_on_with_few_rows():
    slow, other, cold = racing("slow", "other", "cold")
    state = race_state([slow, other, cold], left=30.0)
    for member in (slow, other):
        member.features.rate, member.features.level, member.features.warm = 0.1, RACE_ROWS, True
    validated(slow, 0.9, 0.01, 1.0, level=RACE_ROWS)
    validated(other, 0.5, 0.01, level=RACE_ROWS)
    slow.full_model, slow.full_level = object(), RACE_ROWS
    job = policy.next_here(state)  # a quarter of the rows would take more than half of the time
    assert job.entry is slow
    assert 190 < job.level < 200
    state.left = 2.0
    assert policy.next_here(state) is None  # that would be hardly any more rows
    state.left, slow.failed, other.failed = 30.0, True, True
    assert policy.next_here(state) is None  # for few rows, nothing is loaded


@pytest.mark.parametrize("features", [None, shared("all", 0.001, N)], ids=["rows", "features"])
def test_a_slow_estimator_trains_on_a_part_of_the_rows_rather_than_never(features):
    slow = entry("slow", features=features, cost=1.0)  # 180 seconds for all three folds
    state = run_state([slow, validated(entry("done"), 0.9)], left=100.0)
    assert policy.next_here(state) is None  # for 25 rows, of three classes
    state.left = 130.0
    job = policy.next_here(state)
    assert (job.entry, job.level) == (slow, 32)
    validated(slow, 0.5, 21.0, level=32)
    state.left = 65.0
    assert policy.next_here(state) is None  # hardly any more rows


@pytest.mark.parametrize("features", ["embedded", "new"])
def test_what_is_expected_to_take_most_of_the_time_is_tried_if_nothing_else_is_left(features):
    known = {"embedded": shared("a", 0.001, N), "new": shared("a", None)}[features]
    slow = entry("slow", features=known, cost=0.01)  # 1.8 seconds for all three folds
    state = run_state([slow, validated(entry("done"), 0.9)], left=2.2)
    state.n_classes = 9  # a part of the rows would be too few
    job = policy.next_here(state)
    assert (job.entry, job.level) == (slow, N)
    state.left = 1.8
    assert policy.next_here(state) is None


def test_the_cost_of_few_rows_grows_with_the_features_like_the_table():
    wide = entry("wide", features=shared("wide", 0.001, N))
    wide.features.matrix = np.empty((N, 40 * N))
    state = run_state([wide])
    state.unit_costs = {LogisticRegression: (0.001, 4 * N)}
    assert policy.unit_cost(state, wide) == pytest.approx(0.01)
    state.unit_costs = {LogisticRegression: (0.001, N // 10)}  # fewer features than rows
    assert policy.unit_cost(state, wide) > 0.4


def test_no_time_is_reserved_for_a_training_on_all_rows_that_fits_no_more():
    long = validated(entry("long"), 0.9, 30.0, 1.0)
    new = entry("new", features=shared("new", 0.05))
    state = run_state([long, new], left=20.0)
    assert policy.next_here(state).entry is new
    for fold in long.fit_times:
        long.fit_times[fold] = 10.0  # it still fits, so all the time left is for it
    assert policy.next_here(state).kind == "refit"


def test_shared_steps_race_on_a_few_rows_and_the_best_goes_on_first():
    a, b, c = racing("a", "b", "c")
    also_b = entry("also b", features=b.features)
    state = race_state([a, b, also_b, c])
    order = run_here(state, {"a": 0.3, "b": 0.9, "c": 0.6, "also b": 0.9}, 5)
    assert order[:3] == [("a", RACE_ROWS), ("b", RACE_ROWS), ("c", RACE_ROWS)]
    assert order[3:] == [("b", 900), ("also b", 900)]


def test_many_classes_race_on_more_rows():
    state = race_state(racing("a", "b"), n_rows=9000)
    state.n_classes = 100
    assert policy.next_here(state).level == 100 * RACE_ROWS_PER_CLASS


@pytest.mark.parametrize("reason", ["one", "few rows", "no time", "later stage", "no folds"])
def test_there_is_no_race_for_nothing(reason):
    entries = racing("a") if reason == "one" else racing("a", "b")
    if reason == "later stage":
        entries = racing("a") + racing("b", stage=1)
    state = race_state(entries, n_rows=4 * RACE_ROWS - 1 if reason == "few rows" else 900)
    if reason == "no time":
        state.left = 0.9  # for which 2 x 48 rows would be more than a tenth
    if reason == "no folds":
        state.folds = []
    level = policy.next_here(state).level
    if reason == "no time":
        assert 400 < level < 450  # embedded in half of the time, with some left to train
    else:
        assert level == state.n_total


def test_who_has_only_raced_does_not_vote():
    """It may be quick to train, but predicting by one more embedding is not."""
    first, (racer, other) = entry("first", first=True), racing("racer", "other")
    state = race_state([first, racer, other])
    codes = np.arange(900) % 3

    def hold_out(candidate, right, n_rows, level):
        validated(candidate, right, level=level)
        for number, fold in enumerate(state.folds):
            proba = np.full((n_rows, 3), (1 - right) / 2)
            proba[np.arange(n_rows), codes[fold.test[:n_rows]]] = right
            candidate.held_out[number] = HeldOut(np.arange(n_rows), np.log(proba))

    hold_out(first, 0.5, 300, 900)
    hold_out(racer, 0.9, 16, RACE_ROWS)
    data = Data([None] * 900, codes, codes)
    score = ProbabilityScore("balanced_accuracy", [0, 1, 2])
    chooser = Chooser(state, data, score, "least-loss", None, 0)
    chooser.choose()
    assert [e.weight for e in state.entries] == [1.0, 0.0, 0.0]
    hold_out(racer, 0.9, 300, 900)
    chooser.choose()
    assert racer.weight > 0.5


def test_steps_that_were_stopped_midway_go_on():
    (stopped,) = racing("stopped", stage=1)
    stopped.features.level, stopped.features.rate = 30, 0.004
    state = race_state([stopped, *racing("a", "b")])
    assert run_here(state, dict.fromkeys(("a", "b", "stopped"), 0.5), 5)[-1] == ("stopped", 900)


# -------------------------------------------------------------------------- repeats


def test_the_validation_is_repeated_when_nothing_else_is_left():
    one, two = validated(entry("one"), 0.9, weight=0.5), validated(entry("two"), 0.8, weight=0.5)
    one.full_model = two.full_model = object()
    one.full_level = two.full_level = N
    state = run_state([one, two], max_repeats=2)
    assert policy.next_here(state) is None
    assert policy.wants_repeat(state)
    state.folds += [Fold(fold.train, fold.test, 1) for fold in FOLDS]
    jobs = [policy.next_here(state)]
    assert jobs[0].folds == (3, 4, 5)
    validated(jobs[0].entry, 0.9, weight=0.5, folds=(3, 4, 5))
    jobs.append(policy.next_here(state))
    assert {job.entry.name for job in jobs} == {"one", "two"}
    validated(jobs[1].entry, 0.9, weight=0.5, folds=(3, 4, 5))
    assert not policy.wants_repeat(state)


def test_folds_that_keep_voices_whole_do_not_wait():
    """Neither for what is left to try, nor for a place among the best."""
    poor = validated(entry("poor"), 0.1)
    good = [validated(entry(f"good {i}"), 0.9) for i in range(policy.MAX_REPEATED)]
    dear, begun = entry("dear", cost=0.1, gain=0.1), validated(entry("begun"), 0.5, folds=(0,))
    state = run_state([*good, poor, dear, begun], max_repeats=3)
    state.folds += [Fold(fold.train, fold.test, 1, is_scored=False) for fold in FOLDS]
    state.folds += [Fold(fold.train, fold.test, 2, is_scored=False) for fold in FOLDS]
    done = []
    while (job := policy.next_here(state)) is not None:
        done.append((job.entry.name, job.folds[0]))
        validated(job.entry, job.entry.score, folds=job.folds)
    first, second, third = (
        [name for name, fold in done if fold == 3 * repeat] for repeat in range(3)
    )
    assert first == ["begun", "dear"]
    assert sorted(second) == sorted(e.name for e in state.entries)
    assert done.index(("begun", 0)) < done.index(("begun", 3))
    assert done.index(("poor", 3)) < done.index(("dear", 0))
    assert "poor" not in third
    assert min(done.index((name, 6)) for name in third) > len(first) + len(second) - 1


@pytest.mark.parametrize("reason", ["time", "one candidate", "no folds"])
def test_the_validation_is_not_repeated_for_nothing(reason):
    seconds = 9.0 if reason == "time" else 0.1
    entries = [validated(entry(name), 0.9, seconds, weight=0.5) for name in ("one", "two")]
    state = run_state(entries, max_repeats=5)
    if reason == "one candidate":
        state.entries = entries[:1]
    if reason == "no folds":
        state.folds = []
    assert not policy.wants_repeat(state)


@pytest.mark.parametrize(("where", "repeats"), [("main", True), ("worker", False)])
def test_the_validation_is_repeated_without_what_there_is_no_time_for(where, repeats):
    entries = [validated(entry(name), 0.9) for name in ("one", "two")]
    slow = validated(entry("slow", where=where), 0.9, 40.0, weight=0.5, level=30)
    state = run_state([*entries, slow], refit=False, max_repeats=2)
    assert policy.next_here(state) is None
    assert policy.wants_repeat(state) is repeats


def test_refits_come_before_repeats():
    one, two = validated(entry("one"), 0.9, weight=0.5), validated(entry("two"), 0.8, weight=0.5)
    state = run_state([one, two], max_repeats=2)
    state.folds += [Fold(fold.train, fold.test, 1) for fold in FOLDS]
    assert policy.next_here(state).kind == "refit"


def test_a_worker_gets_features_of_which_no_part_grows_now():
    done, part, other = shared("done", 0.1, N), shared("part", 9.0, 40), shared("other", 9.0, 40)
    net = entry("net", SVC(), features=united(done, part), where="worker")
    state = run_state([net], left=20.0)
    assert policy.next_elsewhere(state).entry is net
    for features, waits in [
        (part, True),
        (united(part, other), True),
        (other, False),
        (None, False),
    ]:
        state.here = Job("validate", entry("here", features=features))
        assert (policy.next_elsewhere(state) is None) == waits


@pytest.mark.parametrize("steps", ["none", "grown", "as trained"])
def test_training_on_all_rows_costs_more_than_on_the_first_part(steps):
    features = {"none": None, "grown": shared("g", 0.1, N), "as trained": shared("t", 0.1, 30)}
    member = validated(entry("member", features=features[steps]), 0.9, 5.0, 1.0, level=30)
    state = run_state([member], left=20.0)
    n_rows = 30 if steps == "as trained" else N
    assert policy.refit_cost(state, member) == pytest.approx(1.1 * 5.0 * n_rows / 20)
    job = policy.next_here(state)
    assert (job is None) == (steps != "as trained")
    if job is not None:  # if it hangs, that is not the fault of steps that embed nothing
        assert member.features.unfinished(job.level) == []


def test_folds_of_a_first_part_need_no_more_rows_than_that():
    grown = validated(entry("grown", features=shared("g", 0.1, 60)), 0.9, 0.6, 1.0, level=60)
    small = validated(entry("small", features=shared("s", 0.1, 20)), 0.9, 0.6, 1.0, level=20)
    state = run_state([grown, small], refit=False)
    part = np.arange(30)
    state.folds.append(Fold(part[::2], part[1::2], 1, is_scored=False, level=30))
    assert policy.unit_cost(state, grown) == pytest.approx(0.6 / 40)
    assert state.n_trained(3, 30) == state.n_trained(3, N) == 15
    jobs = [job for _, job in policy._validations(state)]
    assert [(job.entry.name, job.folds, job.level) for job in jobs] == [
        ("grown", (0, 1, 2), N),
        ("grown", (3,), 30),
        ("small", (0, 1, 2), N),
    ]
    cost = policy.validation_cost(state, grown, 30, (3,))
    assert cost == pytest.approx(15 * 0.6 / 40)
    before = policy.refit_cost(state, grown)
    validated(grown, 0.9, 0.15, folds=(3,), level=30)
    assert policy.refit_cost(state, grown) == before
    assert [job.folds for _, job in policy._validations(state) if job.level == 30] == []


# -------------------------------------------------------------------------- elsewhere


def test_a_worker_trains_on_all_rows_before_it_repeats_the_validation():
    net = validated(entry("net", SVC(), where="worker"), 0.9, weight=1.0)
    state = run_state([net])
    state.folds += [Fold(fold.train, fold.test, 1, is_scored=False) for fold in FOLDS]
    assert policy.next_elsewhere(state).kind == "refit"
    net.full_model, net.full_level = object(), N
    assert policy.next_elsewhere(state).folds == (3,)


def test_a_worker_repeats_the_validation_where_its_training_on_all_rows_does_not_fit():
    net = validated(entry("net", SVC(), where="worker"), 0.9, seconds=10.0, weight=1.0)
    state = run_state([net])
    state.folds += [Fold(fold.train, fold.test, 1) for fold in FOLDS]
    kinds = []
    for state.left in (10.0, 11.5, 17.0, 20.0):
        job = policy.next_elsewhere(state)
        kinds.append(None if job is None else job.kind)
    assert kinds == [None, "validate", "validate", "refit"]


def test_the_first_held_out_voices_never_wait():
    """Also where the validation was repeated before they were known."""
    state = run_state([])
    for repeat, is_scored in [(1, True), (2, False), (3, True), (4, False)]:
        state.folds += [Fold(fold.train, fold.test, repeat, is_scored) for fold in FOLDS]
    waiting = [state.waits(state.folds_of(repeat)) for repeat in range(5)]
    assert waiting == [False, True, False, True, True]


def test_work_goes_on_elsewhere_while_this_process_looks_for_voices():
    features = shared("steps", 0.01, level=N)
    state = run_state([entry("worker", where="worker", features=features)])
    state.here = Job("voices", None)
    assert policy.next_elsewhere(state).entry.name == "worker"


def test_each_candidate_gets_a_fold_before_any_gets_its_second():
    begun = validated(entry("begun", SVC(), where="worker"), 0.9, weight=1.0, folds=(0,))
    fresh = entry("fresh", SVC(), where="worker", gain=0.1)
    job = policy.next_elsewhere(run_state([begun, fresh]))
    assert (job.entry, job.folds) == (fresh, (0,))


def test_then_members_get_further_folds_then_a_refit_then_the_others_further_folds():
    member = validated(entry("member", SVC(), where="worker"), 0.9, weight=1.0, folds=(0,))
    other = validated(entry("other", SVC(), where="worker", gain=9.0), 0.8, folds=(0,))
    done = []
    state = run_state([other, member])
    while (job := policy.next_elsewhere(state)) is not None:
        done.append((job.entry.name, job.kind, *job.folds))
        if job.kind == "refit":
            job.entry.full_model = object()
        else:
            validated(job.entry, job.entry.score, weight=job.entry.weight, folds=job.folds)
    assert done == [
        ("member", "validate", 1),
        ("member", "validate", 2),
        ("member", "refit"),
        ("other", "validate", 1),
        ("other", "validate", 2),
    ]


def test_what_runs_or_failed_is_not_started_again():
    running, failed = entry("running", where="worker"), entry("failed", where="worker")
    running.status, failed.failed = "running", True
    state = run_state([running, failed])
    assert policy.next_elsewhere(state) is None
    assert [policy.has_work_elsewhere(state, e) for e in state.entries] == [True, False]


def test_a_candidate_of_which_only_the_rows_were_embedded_has_not_been_tried():
    candidate = entry("slow", SVC(), where="worker")
    for status in ("waiting", "ok"):
        candidate.status = "running"
        candidate.set_idle()
        assert (candidate.status, candidate.running) == (status, False)
        validated(candidate, 0.9)


def test_there_is_no_further_fold_that_would_take_too_long():
    slow = validated(entry("slow", where="worker"), 0.9, seconds=30.0, weight=1.0, folds=(0,))
    assert policy.next_elsewhere(run_state([slow], left=40.0)).folds == (1,)
    assert policy.next_elsewhere(run_state([slow], left=32.0)) is None


def test_a_candidate_that_keeps_its_time_is_told_a_share_of_it():
    told = entry("told", where="worker", takes_max_time=True, startup=2.0)
    job = policy.next_elsewhere(run_state([told], left=40.0))
    assert job.max_time == pytest.approx(18.0)  # half is kept for further folds
    assert job.limit == pytest.approx(1.25 * 18.0 + 3.0 + 2.0)
    untold = entry("untold", where="worker")
    job = policy.next_elsewhere(run_state([untold], left=40.0))
    assert job.max_time is None
    assert job.limit == pytest.approx(40.0)


def test_a_worker_waits_for_features_that_still_grow():
    features = shared("f", 0.01, 40)
    waiting = entry("waiting", SVC(), where="worker", features=features)
    state = run_state([waiting])
    state.here = Job("validate", waiting)
    assert policy.next_elsewhere(state) is None
    features.level, state.here = N, None
    assert policy.next_elsewhere(state).entry is waiting


def test_costs_are_measured_hinted_or_guessed():
    seen, hinted = entry("seen"), entry("hinted", SVC(), cost=0.5)
    guessed = entry("guessed", GaussianNB())
    validated(seen, 0.9, seconds=6.0)
    state = run_state([seen, hinted, guessed])
    assert policy.unit_cost(state, seen) == pytest.approx(0.1)
    assert policy.unit_cost(state, hinted) == 0.5
    assert policy.unit_cost(state, guessed) == policy.DEFAULT_UNIT_COST
    state.unit_costs[GaussianNB] = (0.02, None)
    assert policy.unit_cost(state, guessed) == 0.02


def test_costs_grow_with_the_features():
    narrow, wide = shared("narrow", 0.1, N), shared("wide", 0.1, N)
    narrow.matrix, wide.matrix = np.zeros((N, 4)), np.zeros((N, 12))
    union = united(narrow, wide)
    state = run_state([entry("both", features=union), entry("rows")])
    state.unit_costs[LogisticRegression] = (0.01, 4)
    assert policy.unit_cost(state, state.entries[0]) == pytest.approx(0.01 * 4**1.5)
    assert policy.unit_cost(state, state.entries[1]) == 0.01
    wide.matrix = None
    assert policy.unit_cost(state, state.entries[0]) == 0.01
