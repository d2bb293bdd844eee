"""Which candidates a time-budget run tries on clips, and in which order: the hard-coded knowledge.

The line-up is data: a table of extractors and classifiers. What is expected of each, and what it
costs, only decides where a run begins; :class:`~skspeech.TimeBudgetClassifier` goes on by what it
measures.
"""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import check_random_state

from skspeech._folds import stratified_folds
from skspeech._stopping import Stopped, stoppable
from skspeech._voices import find_voices, warn_of_voices
from skspeech.estimators.augmented import AugmentedClassifier
from skspeech.estimators.convolutional import MixupCNNClassifier
from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis
from skspeech.estimators.fine_tuned import FineTunedSpeakerClassifier
from skspeech.estimators.logistic import WideLogisticRegression
from skspeech.estimators.recurrent import RecurrentAttentionClassifier
from skspeech.time_budget.candidates import Candidate
from skspeech.time_budget.inputs import clip_duration
from skspeech.time_budget.workers.tasks import set_random_states
from skspeech.transformers.keyword import KeywordEmbedding
from skspeech.transformers.music import MusicEmbedding
from skspeech.transformers.scaling import ClippedStandardScaler, SignedSqrt
from skspeech.transformers.speaker import STATISTICS, SpeakerEmbedding
from skspeech.transformers.spectral import SpectralStatistics
from skspeech.transformers.whisper import WhisperEmbedding
from skspeech.transformers.workers import side_by_side

__all__ = ["PRESETS", "default_candidates", "group_by_voice", "remark_on_voices"]

PRESETS = ("best", "fast", "autospeech2020")

# Where speakers were recorded at levels of their own, the level tells them apart, so some of the
# extractors keep it. The others hear all clips at one level; held-out clips decide who votes.
_AS_RECORDED = {"level": None}
# Seconds of each clip that tell whose voice it is.
_VOICE_SECONDS = 5.0
# Seconds of each clip of a quick look by the speaker network: one window.
_QUICK_LOOK = 1.6
# How many times as long clips have to be for that look to be quicker than all windows.
_WORTH_CUTTING = 1.1
# Discriminant analysis draws its covariance this far towards the identity where speakers of the
# test clips may be new: Ledoit and Wolf's amount is meant for rows of one kind.
_STRONG = 0.5
# Seconds of a budget in which networks can be trained too without slowing down what comes first.
_LONG_BUDGET = 240.0
# Seconds that all extractors together take for a second of a clip, in two threads: to begin with.
_SECONDS_PER_SECOND = 0.01


def default_candidates(
    X,
    y,
    *,
    preset="best",
    device="auto",
    memory=None,
    n_jobs=None,
    random_state=None,
    time_budget=60.0,
):
    """Make the line-up for a data set.

    Parameters
    ----------
    X : sequence of clips
        Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array with a clip a row. At
        most fifty headers are read.
    y : array-like of shape (n_clips,)
        Their labels.
    preset : {"best", "fast", "autospeech2020"}, default="best"
        ``"best"`` is what scored best on the development data; ``"fast"`` only what takes a second
        or two for a hundred clips; ``"autospeech2020"`` keeps the six approaches of that
        challenge's first place, for comparison.
    device : str or torch.device, default="auto"
        Where networks run.
    memory : None, False, str, path-like or joblib.Memory, default=None
        Where embeddings are remembered.
    n_jobs : int or None, default=None
        Threads that decode audio.
    random_state : int, RandomState instance or None, default=None
        Seed of candidates that draw random numbers.
    time_budget : float, default=60.0
        Seconds that the run may take: candidates that can't train in it are left out.

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
    >>> [c.name for c in default_candidates(clips.data, clips.target, preset="fast")]
    ['spectral', 'keyword', 'whisper', 'speaker', 'speaker-sharp']
    """
    if preset not in PRESETS:
        accepted = ", ".join(map(repr, PRESETS))
        raise ValueError(f"preset={preset!r} is not accepted. Use one of {accepted}.")
    settings = {"device": device, "memory": memory, "n_jobs": n_jobs}
    make = {"best": _best, "fast": _fast, "autospeech2020": _autospeech2020}[preset]
    line_up = [
        candidate
        for candidate in make(np.nan_to_num(clip_duration(X)), settings, time_budget)
        if len(y) * (candidate.cost or 0.0) + candidate.startup < time_budget / 2
    ]
    if random_state is not None:
        rng = check_random_state(random_state)
        for candidate in line_up:
            set_random_states(candidate.estimator, rng.randint(np.iinfo(np.int32).max))
    return line_up


def group_by_voice(X, y, *, device="auto", memory=None, n_jobs=None, is_stopped=None):
    """Group clips by whose voice it is, as far as that can be told by ear.

    Parameters
    ----------
    X, y : sequence of n_clips
        Clips and their labels.
    device, memory, n_jobs
        As for :func:`default_candidates`.
    is_stopped : callable, default=None
        Asked between two batches of clips whether to give up.

    Returns
    -------
    groups : ndarray of int of shape (n_clips,), or None
    reason : str
        Why there are none.
    """
    settings = {"device": device, "memory": memory, "n_jobs": n_jobs}
    extractor = SpeakerEmbedding(layers="embedding", max_duration=_VOICE_SECONDS, **settings)
    try:
        with stoppable(is_stopped or (lambda: False)):
            embedding = extractor.transform(X)
    except Stopped:
        return None, "there is no time to listen to all clips; raise time_budget"
    return find_voices(embedding, y)


def remark_on_voices(all_features, codes, score, random_state):
    """Say whether scores by random folds flatter, because the same voices are on both sides.

    Parameters
    ----------
    all_features : list of SharedFeatures
        Of which those of the speaker network are used, if they are there.
    codes : ndarray of int of shape (n_clips,)
        Index of each clip's class.
    score : ProbabilityScore
    random_state : int
        Seed of the folds.

    Returns
    -------
    str or None
    """
    for features in all_features:
        extractor = features.steps[0][1]
        if isinstance(extractor, SpeakerEmbedding) and features.level == len(codes):
            X = features.matrix
            columns = _columns(extractor, ["_embedding_"])
            voices, _ = find_voices(X[:, columns], codes) if len(columns) else (None, "")
            if voices is not None:
                break
    else:
        return None
    probas = []
    for groups in (None, voices):
        proba = np.full((len(codes), codes.max() + 1), np.nan)
        for train, test in stratified_folds(codes, 3, groups=groups, random_state=random_state):
            model = _discriminant("passthrough", _STRONG).fit(X[train], codes[train])
            proba[np.ix_(test, model.classes_)] = model.predict_proba(X[test])
        known = ~np.isnan(proba).all(axis=1)
        proba[known] = np.nan_to_num(proba[known])
        probas.append(proba)
    return warn_of_voices(*probas, codes, voices, score=score)


def _discriminant(extractor, shrinkage="auto", columns=None):
    return Pipeline(
        [
            ("extractor", extractor),
            *_chosen(columns),
            ("scaler", ClippedStandardScaler()),
            ("classifier", ShrinkageDiscriminantAnalysis(shrinkage=shrinkage)),
        ]
    )


def _logistic(extractor, columns=None):
    return Pipeline(
        [
            ("extractor", extractor),
            *_chosen(columns),
            ("scaler", ClippedStandardScaler()),
            ("classifier", WideLogisticRegression()),
        ]
    )


def _chosen(columns):
    """A step that keeps some columns: an extractor that several candidates share runs once."""
    if columns is None:
        return []
    return [("columns", ColumnTransformer([("kept", "passthrough", columns)]))]


def _columns(extractor, parts):
    names = extractor.get_feature_names_out()
    return np.flatnonzero([any(part in name for part in parts) for name in names])


def _fast(duration, settings, time_budget):
    """Each network by itself, and the spectrum: they know different things of a clip.

    The spectrum comes first: in a quarter of the time that the speaker network takes for a window,
    it tells most of what can be told.
    """
    quick = SpeakerEmbedding(max_duration=_QUICK_LOOK, **_AS_RECORDED, **settings)
    encoder = WhisperEmbedding(**settings)
    speaker = SpeakerEmbedding(pooling=STATISTICS, **_AS_RECORDED, **settings)
    keyword = KeywordEmbedding(**settings)
    spectral = SpectralStatistics(**_AS_RECORDED, **settings)
    smooth = _columns(speaker, ["_mean_", "_std_", "_embedding_"])
    # Where a look at one window is there to be had, all windows come later.
    has_quick = duration > _WORTH_CUTTING * _QUICK_LOOK
    later = {"stage": 1, "gain": 4.0} if has_quick else {"gain": 2.0}
    line_up = [
        Candidate("spectral", _discriminant(spectral, _STRONG), where="main", first=True, gain=2.0),
        Candidate("speaker-quick", _discriminant(quick, _STRONG), where="main", gain=2.0),
        Candidate("keyword", _discriminant(keyword, _STRONG), where="main", gain=2.0),
        Candidate("whisper", _discriminant(encoder, _STRONG), where="main", gain=2.0),
        Candidate("speaker", _discriminant(speaker, _STRONG, smooth), where="main", **later),
        Candidate("speaker-sharp", _discriminant(speaker, columns=smooth), where="main", stage=1),
    ]
    return [c for c in line_up if has_quick or c.name != "speaker-quick"]


def _best(duration, settings, time_budget):
    """The same side by side in one model, what music taggers add, and with much time, networks.

    The speech encoder is best alone, in the mean of the ensemble: side by side with the others it
    brings less, and for digits and speakers it costs.
    """
    speaker = SpeakerEmbedding(pooling=STATISTICS, **_AS_RECORDED, **settings)
    keyword = KeywordEmbedding(**settings)
    spectral = SpectralStatistics(**_AS_RECORDED, **settings)
    tagger = MusicEmbedding("msd_vgg", layers=("pool2", "pool3"), **settings)
    musicnn = MusicEmbedding(**settings)
    fused = side_by_side([("speaker", speaker), ("keyword", keyword), ("spectral", spectral)])
    everything = side_by_side([*fused.transformer_list, ("music", tagger)])
    encoder = WhisperEmbedding(**settings)
    with_encoder = side_by_side([*everything.transformer_list, ("whisper", encoder)])
    words = _columns(speaker, ["_lstm2_"])
    seconds = _SECONDS_PER_SECOND * max(duration, _QUICK_LOOK)
    return [
        *_fast(duration, settings, time_budget),
        Candidate("fused", _discriminant(fused, _STRONG), where="main", stage=1, gain=4.0),
        Candidate("fused-logistic", _logistic(fused), where="main", stage=1),
        Candidate("words", _discriminant(speaker, _STRONG, words), where="main", stage=1),
        Candidate("music", _discriminant(tagger, _STRONG), where="main", stage=1),
        Candidate(
            "everything", _discriminant(everything, _STRONG), where="main", stage=1, gain=4.0
        ),
        Candidate("everything-sharp", _discriminant(everything), where="main", stage=1),
        Candidate("all", _discriminant(with_encoder, _STRONG), where="main", stage=1, gain=4.0),
        Candidate("all-logistic", _logistic(with_encoder), where="main", stage=1),
        Candidate("musicnn", _discriminant(musicnn, _STRONG), where="main", stage=2),
        _at_other_speeds("whisper-speeds", encoder, 0.3 * seconds),
        _at_other_speeds("everything-speeds", everything, seconds),
        *(_trained(settings, stage=1) if time_budget >= _LONG_BUDGET else []),
    ]


def _at_other_speeds(name, extractor, seconds):
    """A candidate whose folds train on most clips, whose other versions are embedded once for all.

    It is worth most where speakers are new; `seconds` is what embedding a clip once more costs.
    """
    classifier = AugmentedClassifier(_discriminant(extractor, _STRONG))
    return Candidate(name, classifier, where="main", gain=3.0, stage=1, cost=seconds)


def _trained(settings, stage=0):
    """The approaches that train networks, in worker processes, in the order of what they cost."""
    computing = {key: settings[key] for key in ("device", "n_jobs")}
    return [
        Candidate(
            "fine-tuned",
            FineTunedSpeakerClassifier(**computing),
            where="worker",
            stage=stage,
            gain=2.0,
            cost=0.1,
            startup=3.0,
        ),
        Candidate(
            "mixup-cnn",
            MixupCNNClassifier(**computing),
            where="worker",
            stage=stage,
            cost=0.1,
            startup=8.0,
        ),
        Candidate(
            "recurrent",
            RecurrentAttentionClassifier(**computing),
            where="worker",
            stage=stage + 1,
            cost=0.2,
            startup=8.0,
        ),
    ]


def _autospeech2020(duration, settings, time_budget):
    """The six approaches of the challenge's first place.

    Logistic regression on speaker, music and fused embeddings, with longer and longer crops, and
    the three that train networks.

    There, a clip's embedding is the mean over some crops of a number of seconds; here it is the
    mean over all windows of as many seconds.
    """
    scalers = {
        "standardize": StandardScaler(),
        "normalize": Normalizer(),
        "none": "passthrough",
        "signed-sqrt": SignedSqrt(),
    }
    line_up = []
    for stage, seconds in enumerate([3.0, 5.0, 10.0, 15.0, None]):
        if stage and seconds is not None and seconds >= 2 * duration:
            continue
        crop = {"max_duration": seconds, **_AS_RECORDED, **settings}
        extractors = {"speaker": SpeakerEmbedding(**crop)}
        if stage:
            extractors["music"] = MusicEmbedding(**crop)
            extractors["fused"] = side_by_side(list(extractors.items()))
        suffix = "all" if seconds is None else f"{seconds:g}s"
        for approach, extractor in extractors.items():
            for scaling, scaler in scalers.items():
                classifier = LogisticRegression(max_iter=100 if line_up else 20)
                estimator = Pipeline(
                    [("extractor", extractor), ("scaler", scaler), ("classifier", classifier)]
                )
                line_up.append(
                    Candidate(
                        f"{approach}-{suffix}-{scaling}",
                        estimator,
                        first=not line_up,
                        stage=stage,
                    )
                )
    return [*line_up, *_trained(settings)]
