"""Which candidates a time-budget run tries on clips, and in which order.

The line-up is a table of extractors and classifiers. The expected gain and cost of each candidate
only decide where a run begins; :class:`~skspeech.TimeBudgetClassifier` then replaces them by what
it measures.
"""

from typing import Literal

import numpy as np
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import check_random_state

from skspeech._stopping import Stopped, stoppable
from skspeech._typing import ArrayLike, ClipsLike, Device, Memory, RandomState
from skspeech._voices import find_voices
from skspeech.audio import as_clips
from skspeech.audio.measuring import usual_duration
from skspeech.estimators.augmented import AugmentedClassifier
from skspeech.estimators.convolutional import MixupCNNClassifier
from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis
from skspeech.estimators.fine_tuned import FineTunedSpeakerClassifier
from skspeech.estimators.logistic import WideLogisticRegression
from skspeech.estimators.recurrent import RecurrentAttentionClassifier
from skspeech.time_budget.candidates import Candidate
from skspeech.time_budget.workers.tasks import set_random_states
from skspeech.transformers.keyword import KeywordEmbedding
from skspeech.transformers.moonshine import MoonshineEmbedding
from skspeech.transformers.music import MusicEmbedding
from skspeech.transformers.scaling import ClippedStandardScaler, SignedSqrt
from skspeech.transformers.speaker import STATISTICS, SpeakerEmbedding
from skspeech.transformers.spectral import SpectralStatistics
from skspeech.transformers.whisper import WhisperEmbedding
from skspeech.transformers.workers import side_by_side

__all__ = ["PRESETS", "default_candidates", "group_by_voice", "voices_in"]

PRESETS = ("best", "fast", "autospeech2020")

# If each speaker was recorded at a different level, the level tells them apart, so some of the
# extractors keep it. The others get all clips at one level; held-out clips decide which vote.
_AS_RECORDED = {"level": None}
# Seconds of each clip that are used to tell voices apart.
_VOICE_SECONDS = 5.0
# Seconds of each clip that the quick speaker candidate reads: one window of the network.
_QUICK_LOOK = 1.6
# Clips must be longer than that by this factor for the quick candidate to save time.
_WORTH_CUTTING = 1.1
# Shrinkage of the covariance towards the identity if test clips may have new speakers: Ledoit and
# Wolf's amount assumes that test rows are distributed like the training rows.
_STRONG = 0.5
# A sound that occurs once in a word shows in its largest value.
_OF_WORDS = {"pooling": ("mean", "std", "max")}
# The lower three of these layers of each speech encoder know emotion best, the upper one words.
_WHISPER = {"layers": (0, 1, 2, 3)}
_MOONSHINE = {"layers": (1, 3, 5, 6)}
_UPPER = ["smart-turn_layer3_", "moonshine_layer6_"]
# Seconds of each clip that the first candidates of "autospeech2020" hear.
_FIRST_CROP = 3.0
# From this budget in seconds on, networks are trained, too, without delaying the candidates before.
_LONG_BUDGET = 240.0


def default_candidates(
    X: ClipsLike,
    y: ArrayLike,
    *,
    preset: Literal["best", "fast", "autospeech2020"] = "best",
    device: Device = "auto",
    memory: Memory = None,
    n_jobs: int | None = None,
    random_state: RandomState = None,
    time_budget: float = 60.0,
) -> list[Candidate]:
    """Make the line-up for a data set.

    Parameters
    ----------
    X : sequence of clips
        Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array with one clip per row.
        At most fifty headers are read.
    y : array-like of shape (n_clips,)
        Their labels.
    preset : {"best", "fast", "autospeech2020"}, default="best"
        ``"best"`` is the line-up that scored best on the development data; ``"fast"`` has only
        candidates that take a second or two for a hundred clips; ``"autospeech2020"`` has the six
        approaches of that challenge's winner, for comparison.
    device : str or torch.device, default="auto"
        Where networks run.
    memory : None, False, str, path-like or joblib.Memory, default=None
        Where embeddings are cached.
    n_jobs : int or None, default=None
        Threads that decode audio.
    random_state : int, RandomState instance or None, default=None
        Seed of the candidates that use random numbers.
    time_budget : float, default=60.0
        Seconds that the run may take; candidates that can't be trained in it are left out.

    Returns
    -------
    list of Candidate
        In the order in which they are worth trying.

    Raises
    ------
    ValueError
        If `preset` is unknown, or `X` is not a sequence of clips.

    Examples
    --------
    >>> from skspeech.candidates import default_candidates
    >>> from skspeech.datasets import make_tones
    >>> clips = make_tones(n_samples=8, random_state=0)
    >>> line_up = default_candidates(clips.data, clips.target, preset="fast")
    >>> [candidate.name for candidate in line_up][:5]
    ['spectral', 'keyword', 'moonshine', 'whisper', 'speaker']
    """
    if preset not in PRESETS:
        accepted = ", ".join(map(repr, PRESETS))
        raise ValueError(f"preset={preset!r} is not accepted. Use one of {accepted}.")
    settings = {"device": device, "memory": memory, "n_jobs": n_jobs}
    make = {"best": _best, "fast": _fast, "autospeech2020": _autospeech2020}[preset]
    line_up = [
        candidate
        for candidate in make(np.nan_to_num(usual_duration(as_clips(X))), settings, time_budget)
        if len(y) * (candidate.cost or 0.0) + candidate.startup < time_budget
    ]
    if random_state is not None:
        rng = check_random_state(random_state)
        for candidate in line_up:
            set_random_states(candidate.estimator, rng.randint(np.iinfo(np.int32).max))
    return line_up


def group_by_voice(X, y, *, is_stopped, **settings):
    """Group clips by voice, as far as a speaker embedding can tell voices apart.

    Returns the group of each clip, or None, and the reason why there are no groups. It gives up
    where `is_stopped`, which is called between batches of clips, returns True. The `settings` are
    those of the extractor.
    """
    extractor = SpeakerEmbedding(layers="embedding", max_duration=_VOICE_SECONDS, **settings)
    try:
        with stoppable(is_stopped):
            embedding = extractor.transform(X)
    except Stopped:
        return None, "there is no time to listen to all clips; raise time_budget"
    return find_voices(embedding, y)


def voices_in(all_features, y, rows):
    """Group some clips by voice with the speaker network's features; None until it heard them all.

    The `rows` have to be the first ones in the order of embedding.
    """
    for features in all_features:
        extractor = features.steps[0][1]
        if isinstance(extractor, SpeakerEmbedding) and features.level >= len(rows):
            columns = _columns(extractor, ["_embedding_"])
            if len(columns):
                return find_voices(features.take(rows)[:, columns], y[rows])
    return None


def _linear(name, extractor, columns=None, *, shrinkage=_STRONG, **hints):
    """A candidate of this process: an extractor and a discriminant."""
    classifier = ShrinkageDiscriminantAnalysis(shrinkage=shrinkage)
    return Candidate(name, _pipeline(extractor, columns, classifier), where="main", **hints)


def _logistic(name, extractor, columns=None):
    estimator = _pipeline(extractor, columns, WideLogisticRegression())
    return Candidate(name, estimator, where="main", stage=1)


def _at_other_speeds(name, extractor, columns=None):
    """A candidate that also trains on its clips played at other speeds.

    Folds share most of their training clips, so the versions at other speeds are embedded once for
    all folds. It helps most with new speakers.
    """
    classifier = AugmentedClassifier(_linear(name, extractor, columns).estimator)
    return Candidate(name, classifier, where="main", gain=3.0, stage=1)


def _pipeline(extractor, columns, classifier):
    """An estimator that keeps some columns, so that candidates share one run of the extractor."""
    kept = ("columns", ColumnTransformer([("kept", "passthrough", columns)]))
    return Pipeline(
        [
            ("extractor", extractor),
            *([] if columns is None else [kept]),
            ("scaler", ClippedStandardScaler()),
            ("classifier", classifier),
        ]
    )


def _columns(extractor, parts, keep=True):
    """The columns whose names contain one of some parts, or with ``keep=False`` all others."""
    names = extractor.get_feature_names_out()
    return np.flatnonzero([any(part in name for part in parts) == keep for name in names])


def _fast(duration, settings, time_budget):
    """Each network alone, and spectral statistics: each uses other properties of a clip.

    The spectral statistics come first: they give most of the accuracy in a quarter of the time that
    the speaker network takes for one window.
    """
    quick = SpeakerEmbedding(max_duration=_QUICK_LOOK, **_AS_RECORDED, **settings)
    whisper = WhisperEmbedding(**_WHISPER, **settings)
    moonshine = MoonshineEmbedding(**_MOONSHINE, **settings)
    speaker = SpeakerEmbedding(pooling=STATISTICS, **_AS_RECORDED, **settings)
    keyword = KeywordEmbedding(**_OF_WORDS, **settings)
    spectral = SpectralStatistics(**_AS_RECORDED, **settings)
    smooth = _columns(speaker, ["_mean_", "_std_", "_embedding_"])
    # If there is a quick candidate for one window, the candidate for all windows comes later.
    has_quick = duration > _WORTH_CUTTING * _QUICK_LOOK
    later = {"stage": 1, "gain": 4.0} if has_quick else {"gain": 2.0}
    line_up = [
        _linear("spectral", spectral, first=True, gain=2.0),
        _linear("speaker-quick", quick, gain=2.0),
        _linear("keyword", keyword, gain=2.0),
        _linear("moonshine", moonshine, _columns(moonshine, _UPPER, keep=False), gain=2.0),
        _linear("whisper", whisper, _columns(whisper, _UPPER, keep=False), gain=2.0),
        _linear("speaker", speaker, smooth, **later),
        _linear("speaker-sharp", speaker, smooth, shrinkage="auto", stage=1),
        _linear("moonshine-words", moonshine, _columns(moonshine, _UPPER), stage=1, gain=2.0),
        _linear("whisper-words", whisper, _columns(whisper, _UPPER), stage=1, gain=2.0),
    ]
    return [c for c in line_up if has_quick or c.name != "speaker-quick"]


def _best(duration, settings, time_budget):
    """The fast line-up, fused embeddings, music taggers, and trained networks if time allows.

    The speech encoders help most as members of their own: fused with the other embeddings they add
    less, and lower the score for digits and speakers. For words, Whisper's third layer helps beside
    the keyword network, too.
    """
    speaker = SpeakerEmbedding(pooling=STATISTICS, **_AS_RECORDED, **settings)
    keyword = KeywordEmbedding(**_OF_WORDS, **settings)
    spectral = SpectralStatistics(**_AS_RECORDED, **settings)
    tagger = MusicEmbedding("msd_vgg", layers=("pool2", "pool3"), **settings)
    musicnn = MusicEmbedding(**settings)
    fused = side_by_side([("speaker", speaker), ("keyword", keyword), ("spectral", spectral)])
    everything = side_by_side([*fused.transformer_list, ("music", tagger)])
    whisper = WhisperEmbedding(**_WHISPER, **settings)
    with_whisper = side_by_side([*everything.transformer_list, ("whisper", whisper)])
    spoken = side_by_side([("keyword", keyword), ("whisper", whisper)])
    words = _columns(speaker, ["_lstm2_"])
    words_of_spoken = _columns(spoken, ["keyword__", *_UPPER])
    lower, lower_of_all = (
        _columns(extractor, _UPPER, keep=False) for extractor in (whisper, with_whisper)
    )
    return [
        *_fast(duration, settings, time_budget),
        _linear("fused", fused, stage=1, gain=4.0),
        _logistic("fused-logistic", fused),
        _linear("words", speaker, words, stage=1),
        _linear("keyword-whisper", spoken, words_of_spoken, stage=1, gain=2.0),
        _linear("music", tagger, stage=1),
        _linear("everything", everything, stage=1, gain=4.0),
        _linear("everything-sharp", everything, shrinkage="auto", stage=1),
        _linear("all", with_whisper, lower_of_all, stage=1, gain=4.0),
        _logistic("all-logistic", with_whisper, lower_of_all),
        _linear("musicnn", musicnn, stage=2),
        _at_other_speeds("whisper-speeds", whisper, lower),
        _at_other_speeds("everything-speeds", everything),
        *(_trained(settings, stage=1) if time_budget >= _LONG_BUDGET else []),
    ]


def _trained(settings, stage=0):
    """The approaches that train networks, in worker processes, the cheapest first."""
    computing = {key: settings[key] for key in ("device", "n_jobs")}

    def trained(name, make, stage=stage, **hints):
        return Candidate(name, make(**computing), where="worker", stage=stage, **hints)

    return [
        trained("fine-tuned", FineTunedSpeakerClassifier, gain=2.0, cost=0.1, startup=3.0),
        trained("mixup-cnn", MixupCNNClassifier, cost=0.1, startup=8.0),
        trained("recurrent", RecurrentAttentionClassifier, stage + 1, cost=0.2, startup=8.0),
    ]


def _autospeech2020(duration, settings, time_budget):
    """The six approaches of the challenge's winner.

    Logistic regression on speaker, music and fused embeddings, with longer and longer crops, and
    the three approaches that train networks.

    The winner averaged a clip's embedding over some crops of a given length; here it is the mean
    over all windows of one part of that length.
    """
    scalers = {
        "standardize": ClippedStandardScaler(),
        "normalize": Normalizer(),
        "none": "passthrough",
        "signed-sqrt": SignedSqrt(),
    }
    line_up = []
    for stage, seconds in enumerate([_FIRST_CROP, 5.0, 10.0, 15.0, None]):
        if stage and seconds is not None and seconds >= 2 * duration:
            continue
        crop = {"max_duration": seconds, **_AS_RECORDED, **settings}
        extractors = {"speaker": SpeakerEmbedding(**crop)}
        if stage:
            extractors["music"] = MusicEmbedding(**crop)
            extractors["fused"] = side_by_side(list(extractors.items()))
        if seconds is None and 2 * duration <= _FIRST_CROP:
            del extractors["speaker"]  # the first crop was the whole clip
        suffix = "all" if seconds is None else f"{seconds:g}s"
        for approach, extractor in extractors.items():
            for scaling, scaler in scalers.items():
                classifier = LogisticRegression(max_iter=100 if line_up else 20)
                with config_context(enable_metadata_routing=True):
                    classifier.set_fit_request(sample_weight=True)
                estimator = Pipeline(
                    [("extractor", extractor), ("scaler", scaler), ("classifier", classifier)]
                )
                name = f"{approach}-{suffix}-{scaling}"
                line_up.append(Candidate(name, estimator, first=not line_up, stage=stage))
    return [*line_up, *_trained(settings)]
