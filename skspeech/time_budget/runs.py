"""One call of `fit`: check what was passed, open a session, follow it and keep its results."""

import contextlib
import time
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import joblib
import numpy as np
from sklearn.utils import check_random_state

from skspeech._cores import effective_cores
from skspeech._heard import forget
from skspeech._warning import warn
from skspeech.audio import as_clips
from skspeech.audio.copies import kept_together
from skspeech.audio.measuring import usual_duration
from skspeech.audio.rates import sampling_rate_of, takes_clips
from skspeech.time_budget import inputs
from skspeech.time_budget.candidates import check_candidates, gather_candidates
from skspeech.time_budget.results import EventLog, collect, describe, fall_back, follow

__all__ = ["open_session", "run"]

AUDIT_SECONDS = 0.5  # of the budget, for checking the sounds
VOICE_SHARE = 0.25  # of the budget, for grouping clips by voice
COPIES_SHARE = 0.02  # of the budget, for finding copies of clips


def open_session(classifier, X, y, groups, sample_weight, pauses=False):
    """Check everything that can be checked before the run, and make the session."""
    from skspeech.time_budget.features import Data
    from skspeech.time_budget.session import Session

    start = time.monotonic()
    X = inputs.check_rows(X)
    by_voice = isinstance(groups, str) and groups == "voices"
    y, groups, sample_weight, classes, codes = inputs.check_targets(
        classifier, X, y, None if by_voice else groups, sample_weight
    )
    check_candidates(classifier.candidates)
    score = inputs.check_score(classifier.scoring, classes)
    n_cores = effective_cores(classifier.n_jobs)
    if by_voice:
        groups = _group_by_voice(classifier, X, y, n_cores, start)
    if classifier.verbose:
        _print_audit(classifier, X, y, groups)
    most = COPIES_SHARE * classifier.time_budget
    are_clips = "auto" in classifier.candidates or takes_clips(list(classifier.candidates))
    kept = kept_together(X, groups, are_clips=are_clips, seconds=most, n_jobs=n_cores)
    splits, seed, fingerprint, earlier = _split(
        classifier, X, y, codes, classes, groups, sample_weight, kept
    )
    inputs.warn_of_validation(splits, classes, codes)

    def find_voices(all_features, rows):
        from skspeech.time_budget.line_ups import voices_in

        return voices_in(all_features, codes, rows)

    may_find = groups is None and splits.validation is None and "auto" in classifier.candidates
    workers = _workers(classifier, n_cores)
    settings = {
        **classifier.get_params(deep=False),
        "random_state": seed,
        "executor": getattr(workers, "executor", None) or classifier.executor,
        "workers": workers,
        "n_cores": n_cores,
        "score": score,
        "find_voices": find_voices if may_find else None,
        "pauses": pauses,
        "fingerprint": fingerprint,
    }
    return Session(
        Data(
            X,
            y,
            codes,
            validation=splits.validation,
            groups=groups,
            sample_weight=sample_weight,
            kept=kept,
        ),
        classes,
        splits,
        SimpleNamespace(**settings),
        lambda: _make_candidates(classifier, X, y, n_cores, seed),
        start,
        earlier,
    )


def _split(classifier, X, y, codes, classes, groups, sample_weight, kept):
    """Split the rows for validation, and find the session that `warm_start` continues, if any.

    Returns the splits, the seed of the run, the data's fingerprint, and the earlier session.
    """
    from skspeech.time_budget.splits import make_splits

    warm = classifier.warm_start
    earlier = getattr(classifier, "_state", None) if warm else None
    if earlier is not None:
        seed = earlier.settings.random_state
    else:
        seed = int(check_random_state(classifier.random_state).randint(2**31 - 1))
    splits = make_splits(classifier.cv, X, y, codes, classes, groups, seed, kept, sample_weight)
    fingerprint = _fingerprint(X, y, groups, sample_weight, splits) if warm else None
    if earlier is None or (fingerprint, classifier.scoring) == (
        earlier.settings.fingerprint,
        earlier.settings.scoring,
    ):
        return splits, seed, fingerprint, earlier
    warn(
        "warm_start=True, but X, y, groups, sample_weight, cv or scoring are not those of the last "
        "fit, so this one starts anew. Set warm_start=False to start anew without this warning."
    )
    classifier._state = None
    return _split(classifier, X, y, codes, classes, groups, sample_weight, kept)


def _fingerprint(X, y, groups, sample_weight, splits):
    files = [inputs.states_of_files(rows) for rows in (X, *(splits.validation or ())[:1])]
    return joblib.hash((X, y, groups, sample_weight, splits, files))


def _workers(classifier, n_cores):
    """Where clips are embedded; None is this process."""
    from skspeech.transformers.workers import Workers, chosen_workers

    if classifier.executor is None:
        return chosen_workers()
    if isinstance(classifier.executor, ProcessPoolExecutor):
        # Its first job starts its processes: now, while nothing computes. A process forked during a
        # product of matrices waits for ever for a lock that was held then.
        with contextlib.suppress(Exception):  # a broken one is told later
            classifier.executor.submit(int)
    return Workers.of_executor(classifier.executor, n_cores)


def _print_audit(classifier, X, y, groups):
    """Print what looks doubtful in the data, before anything is trained."""
    from skspeech.audit import audit

    clips = X if "auto" in classifier.candidates else None  # user candidates may take anything
    for finding in audit(clips, y, groups, max_seconds=AUDIT_SECONDS, n_jobs=classifier.n_jobs):
        print(f"[TimeBudgetClassifier] {finding.message}")


def _group_by_voice(classifier, X, y, n_cores, start):
    from skspeech.time_budget.line_ups import group_by_voice

    limit = start + VOICE_SHARE * classifier.time_budget
    groups, reason = group_by_voice(
        X,
        y,
        device=classifier.device,
        memory=classifier.memory,
        n_jobs=n_cores,
        is_stopped=lambda: time.monotonic() > limit,
    )
    if groups is None:
        warn(f'groups="voices" finds no groups: {reason}. So clips are held out at random.')
    return groups


def _make_candidates(classifier, X, y, n_cores, seed):
    """Make the list of candidates; the coordinator calls this while the clock runs."""

    def line_up(any_time=False):
        from skspeech.time_budget.line_ups import default_candidates

        return default_candidates(
            X,
            y,
            preset=classifier.preset,
            device=classifier.device,
            memory=classifier.memory,
            n_jobs=n_cores,
            random_state=seed,
            time_budget=np.inf if any_time else classifier.time_budget,
        )

    # Candidates of the user's may take a table, which has no durations.
    if "auto" in classifier.candidates or getattr(X, "ndim", 1) == 1:
        with contextlib.suppress(ValueError, TypeError):
            rate = sampling_rate_of(list(classifier.candidates))
            classifier.clip_duration_ = usual_duration(as_clips(X, sampling_rate=rate))
    return gather_candidates(classifier.candidates, line_up)


def run(classifier, session):
    """Yield the session's snapshots, log its events, and close it in time."""
    _begin_anew(classifier, session)
    session.begin()
    try:
        with EventLog(classifier.log_file) as log:
            try:
                for snapshot in follow(session, lambda event: _tell(classifier, event, log)):
                    classifier.ensemble_ = snapshot
                    yield snapshot
            except KeyboardInterrupt:
                if session.outcomes.ensemble is None:
                    raise
                _tell(classifier, {"event": "interrupted", "time": session.now}, log)
    finally:
        session.close()
        classifier.__dict__.update(collect(session))
        classifier._state = None
        if (
            classifier.warm_start
            and session.error is None
            and session.outcomes.ensemble is not None
        ):
            session.freeze()
            classifier._state = session
    if session.outcomes.ensemble is None:
        classifier.ensemble_ = fall_back(classifier, session)
        yield classifier.ensemble_
        return
    for text in [*session.failures.left_out, *session.outcomes.missed_limit()]:
        warn(text)
    if session.error is not None:
        warn(
            f"The scheduler stopped early by an error, {session.error!r}; the ensemble is the "
            "best one until then. Please report this.",
            RuntimeWarning,
        )


def _begin_anew(classifier, session):
    """Drop what an earlier fit has learnt: with the classes of this one, it would answer wrongly.

    Not before: a fit that is refused changes nothing. What `warm_start` goes on from stays.
    """
    forget(classifier)
    inputs.remember_table(classifier, session.data.parts[0])
    classifier.classes_ = session.classes
    if session.outcomes.ensemble is None:
        classifier.clip_duration_ = np.nan
        classifier.__dict__.pop("ensemble_", None)


def _tell(classifier, event, log):
    log.write(event)
    callbacks = classifier.callbacks or []
    for callback in [callbacks] if callable(callbacks) else callbacks:
        callback(event)
    line = describe(event, classifier.verbose) if classifier.verbose else None
    if line:
        print(f"[TimeBudgetClassifier] {event['time']:6.1f} s  {line}")
