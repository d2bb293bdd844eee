"""Train a model for a command, and leave out clips that turn out to be unreadable."""

import time

from skspeech.cli.common import say
from skspeech.cli.interrupts import SAVING
from skspeech.cli.readable import leave_out_bad
from skspeech.cli.shown import FitProgress

__all__ = ["is_prior", "train_model", "why_no_model"]


def is_prior(classifier):
    """Whether no candidate was trained in time, so that only class frequencies are predicted."""
    return [name for name, _ in classifier.ensemble_.estimators] == ["prior"]


def why_no_model(classifier, time_budget):
    """Why no candidate was trained in time, each reason once."""
    from skspeech.time_budget.results import in_words

    reasons = {reason for _, reason, _ in classifier.failures_ if in_words(reason) == reason}
    late = f"No classifier was ready within {time_budget:g} s. Give more time: --time-budget."
    return "\n".join([*sorted(reasons), late])


def train_model(train, options, interrupts, *, is_kept=True):
    """The fitted classifier, and how many clips turned out to be bad while it was trained.

    Unless `is_kept`, an interrupted training is of no use, and nobody is told that it is saved.
    """
    from skspeech.time_budget import TimeBudgetClassifier

    start, budget, n_bad = time.monotonic(), options["time_budget"], 0
    watch = _BadClipsWatch()
    while True:
        ending = SAVING if is_kept else "The training ends."
        with FitProgress(budget, options["quiet"], ending) as progress:
            classifier = TimeBudgetClassifier(
                time_budget=budget,
                preset=options["preset"],
                n_jobs=options["n_jobs"],
                device=options["device"] or "auto",
                memory=options["memory"],
                callbacks=[progress, watch],
                log_file=options["log_file"],
                random_state=options["seed"],
            )
            try:
                classifier.fit(train.paths, train.labels, train.groups)
                return classifier, n_bad
            except KeyboardInterrupt:
                if interrupts.count > 1:
                    raise
                if not hasattr(classifier, "ensemble_"):
                    if is_kept:
                        say("Nothing was trained yet, so nothing is saved.")
                    raise
                return classifier, n_bad
            except _BadClips:
                pass
        train, bad = leave_out_bad(train, thorough=True, n_jobs=options["n_jobs"])
        n_bad += len(bad)
        watch.wanted = False  # one restart is enough: what is bad now fails only some candidates
        budget = max(start + budget - time.monotonic(), budget / 10)


class _BadClips(Exception):
    """A candidate met clips that can't be read, which only decoding could show."""


class _BadClipsWatch:
    """A callback that ends a training that has to start again without some clips."""

    wanted = True

    def __call__(self, event):
        is_failure = event["event"] == "failure"
        if self.wanted and is_failure and event["exception"].startswith("AudioError: "):
            raise _BadClips
