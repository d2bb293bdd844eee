"""Training a model for a command, with clips that can't be read left out on the way."""

import time

from skspeech.cli.common import say
from skspeech.cli.readable import leave_out_bad
from skspeech.cli.shown import FitProgress

__all__ = ["is_prior", "train_model"]


def is_prior(classifier):
    """Whether no candidate was ready, so that only the classes' frequencies are predicted."""
    return [name for name, _ in classifier.ensemble_.estimators] == ["prior"]


def train_model(train, options, interrupts):
    """The fitted classifier, and how many clips turned out to be bad while it was trained."""
    from skspeech.time_budget import TimeBudgetClassifier

    start, budget, n_bad = time.monotonic(), options["time_budget"], 0
    watch = _BadClipsWatch()
    while True:
        with FitProgress(budget, options["quiet"]) as progress:
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
                    say("Nothing was trained yet, so nothing is saved.")
                    raise
                return classifier, n_bad
            except _BadClips:
                pass
        train, bad = leave_out_bad(train, thorough=True, n_jobs=options["n_jobs"])
        n_bad += len(bad)
        watch.wanted = False  # once is enough: what is bad now, only some candidates can't take
        budget = max(start + budget - time.monotonic(), budget / 10)


class _BadClips(Exception):
    """A candidate met clips that can't be read, which only decoding could tell."""


class _BadClipsWatch:
    """A callback that ends a training which has to begin anew without some clips."""

    wanted = True

    def __call__(self, event):
        is_failure = event["event"] == "failure"
        if self.wanted and is_failure and event["exception"].startswith("AudioError: "):
            raise _BadClips
