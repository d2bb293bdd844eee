"""Which moments of a clip decided, for a report: found as long as there is time."""

import time
import warnings

import numpy as np

from skspeech.inspection import occlusion

__all__ = ["MOST_SECONDS", "Moments"]

MOST_SECONDS = 10.0  # for all clips of a report
_LONGEST = 60.0  # seconds of a clip: a moment of a longer one lasts too long to tell much
_N_TIMES, _SHORTEST_TIME = 20, 0.05  # moments of a clip, at most, and seconds of one, at least
_SLIGHT = 0.1  # log-odds that change less are not worth a word
_STRONG = 1.0  # log-odds from which on the colour may be the strongest


class Moments:
    """Mutes the moments of clips one by one, and asks the model again, as long as there is time.

    Parameters
    ----------
    model : fitted classifier
        With `predict_proba`.

    Attributes
    ----------
    problem : str
        Why some clips go without; empty if none does. ``"time"`` says that it was over.
    """

    def __init__(self, model):
        self.problem = ""
        self._model = _Hurried(model)
        self._left = MOST_SECONDS

    def of(self, clip, label, shown):
        """What a page needs to show which moments speak for and against a label.

        Parameters
        ----------
        clip : Clip
            One that can be read.
        label : object
            The label to explain.
        shown : float
            Seconds of the clip's beginning that the page shows.

        Returns
        -------
        dict or None
            ``strip``, a list of moments with their place and width (percent of what is shown),
            whether they are ``"for"`` or ``"against"`` the label, and how strong their colour is;
            ``most`` and ``least``, the start and end of the moments that speak most for and against
            it, or None if none does. None if the clip is too long, the model failed, or time is up.
        """
        duration = clip.duration()
        if self.problem or duration > _LONGEST or label not in self._model.classes_:
            return None
        start = time.monotonic()
        self._model.deadline = start + self._left
        n_times = int(np.clip(duration / _SHORTEST_TIME, 1, _N_TIMES))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they would be about muted clips
                found = occlusion(self._model, clip, label=label, n_times=n_times)
        except _TimeIsUp:
            self.problem = "time"
            return None
        except Exception as error:  # whatever a model does: the report goes on without
            self.problem = f"{type(error).__name__}: {error}"
            return None
        finally:
            self._left -= time.monotonic() - start
        return _shown(found.effect[0], found.times, shown)


def _shown(effect, times, shown):
    strongest = max(_STRONG, float(np.abs(effect).max()))
    most, least = int(effect.argmax()), int(effect.argmin())
    strip = [
        {
            "left": 100 * start / shown,
            "width": 100 * (min(end, shown) - start) / shown,
            "side": "for" if value > 0 else "against",
            "strength": abs(float(value)) / strongest,
        }
        for value, start, end in zip(effect, times[:-1], times[1:], strict=True)
        if start < shown
    ]
    return {
        "strip": strip,
        "most": tuple(times[most : most + 2]) if effect[most] >= _SLIGHT else None,
        "least": tuple(times[least : least + 2]) if effect[least] <= -_SLIGHT else None,
    }


class _TimeIsUp(Exception):
    """The next clips would take longer than there is time."""


class _Hurried:
    """A model that refuses to answer about clips for which there is no time.

    The first clip of a call tells how long the others will take, so the deadline is missed by the
    time of one clip at most.
    """

    def __init__(self, model):
        self.classes_ = np.asarray(model.classes_)
        self.deadline = np.inf
        self._asked, self._pace = model, 0.0

    def predict_proba(self, X):
        answers = []
        for part in filter(len, (X[:1], X[1:])):
            start = time.monotonic()
            if start + self._pace * len(part) > self.deadline:
                raise _TimeIsUp
            answers.append(self._asked.predict_proba(part))
            self._pace = (time.monotonic() - start) / len(part)
        return np.concatenate(answers)
