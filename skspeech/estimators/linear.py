"""Logistic regression on embeddings of pretrained networks: fits in seconds, and hard to beat."""

import copy
from abc import abstractmethod
from numbers import Integral, Real
from typing import Literal

import numpy as np
from sklearn import clone
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skspeech._columns import remember_columns
from skspeech._docs import shared
from skspeech._labels import check_sample_weight
from skspeech._sklearn import HasMethods, Interval, StrOptions, _fit_context
from skspeech._typing import ArrayLike, ClipsLike, Device, Memory, Self
from skspeech.audio import as_clips
from skspeech.audio.measuring import usual_duration
from skspeech.audio.rates import sampling_rate_of
from skspeech.estimators.base import ClipClassifier
from skspeech.estimators.targets import check_targets
from skspeech.estimators.unreadable import (
    fit_without_unreadable,
    goes_on,
    predict_without_unreadable,
    strict,
)
from skspeech.transformers.music import MusicEmbedding
from skspeech.transformers.scaling import ClippedStandardScaler, SignedSqrt
from skspeech.transformers.speaker import SpeakerEmbedding
from skspeech.transformers.workers import side_by_side

__all__ = [
    "FusedEmbeddingClassifier",
    "MusicEmbeddingClassifier",
    "SpeakerEmbeddingClassifier",
]

# Applied to each clip's features before each feature is standardized.
_ROW_SCALERS = {
    "standardize": None,
    "normalize": Normalizer(),
    "signed_sqrt": SignedSqrt(),
}
# Passed on to the extractor, which checks them, unless they are None.
_EXTRACTOR_PARAMETERS = (
    "max_duration",
    "sampling_rate",
    "device",
    "memory",
    "n_jobs",
    "errors",
    "verbose",
)
# Of these, all that say how to compute the features, and not of what: they may change after fit.
_CHANGEABLE = _EXTRACTOR_PARAMETERS[1:]
# Parameters and attributes that all three classes share.
_SETTINGS = """
scaling : {"standardize", "normalize", "signed_sqrt"} or None, default="standardize"
    How features are scaled. ``"standardize"``: each to zero mean and unit variance. Before
    that, ``"normalize"`` brings each clip's features to unit length, and ``"signed_sqrt"``
    takes their signed square root. None: not at all.
C : float, default=0.1
    Inverse of the regularisation's strength: smaller is stronger.
class_weight : "balanced", dict or None, default="balanced"
    Weights of the classes; ``"balanced"`` lets rare classes count as much as frequent ones.
max_iter : int, default=1000
    Most iterations of the solver.
tol : float, default=1e-4
    Gradient at which the solver stops.
max_duration : float, default=None
    Read only this many seconds of each clip. None is the extractor's own setting. Like the
    parameters before it, it takes effect in `fit`; those after it may also be changed later.
sampling_rate : int, default=None
    Sampling rate in Hz of bare waveforms. None is the extractor's own setting, 16000.
device : str or torch.device, default=None
    Where the network runs. None is the extractor's own setting, ``"auto"``.
memory : str, path-like, joblib.Memory or False, default=None
    Where embeddings are remembered. None is the extractor's own setting, in this process.
n_jobs : int, default=None
    Threads that decode audio. None is the extractor's own setting.
errors : {"raise", "warn"}, default=None
    What to do with clips that can't be read: one error that names them all, or one warning.
    With ``"warn"``, `fit` leaves them out with their labels, and raises an error only if no clip
    of a class is left; the predicted probabilities of such clips are the classes' frequencies.
    None is the extractor's own setting, ``"raise"``.
verbose : int, default=None
    Show a progress bar. None is the extractor's own setting, 0.
"""
_FITTED = """
classes_ : ndarray of shape (n_classes,)
    The class labels.
pipeline_ : sklearn.pipeline.Pipeline
    The fitted extractor, scaling and logistic regression.
clip_duration_ : float
    Third quartile of the training clips' durations in seconds: how long windows of
    :func:`skspeech.timeline` are.
n_iter_ : ndarray of shape (1,)
    Iterations that the solver took.
n_features_in_ : int
    Samples per clip; only if `fit` saw a 2-D array.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Columns of the table; only if `fit` saw a DataFrame of numbers.
"""


class _EmbeddingClassifier(ClipClassifier):
    """Extractor, scaling, logistic regression. A subclass says which extractor."""

    _parameter_constraints: dict = {
        "extractor": [HasMethods(["transform", "get_feature_names_out"]), None],
        "scaling": [StrOptions(set(_ROW_SCALERS)), None],
        "C": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        **dict.fromkeys(_EXTRACTOR_PARAMETERS, "no_validation"),
    }

    _extractor_parameters: tuple[str, ...] = _EXTRACTOR_PARAMETERS

    __metadata_request__fit = {"sample_weight": True}

    @abstractmethod
    def _default_extractor(self):
        """The extractor that ``extractor=None`` stands for."""

    def to_pipeline(self) -> Pipeline:
        """Build the same classifier as an unfitted :class:`~sklearn.pipeline.Pipeline`.

        Returns
        -------
        sklearn.pipeline.Pipeline
            Its first step is the extractor, which learns nothing, so its output can be cached and
            shared. The other steps, scaling and logistic regression, are learnt.

        Raises
        ------
        ValueError
            If `extractor` learns from the data.
        """
        extractor = self._configured_extractor()
        return Pipeline(
            [
                ("extractor", extractor),
                *self._scaling_steps(extractor),
                (
                    "classifier",
                    LogisticRegression(
                        C=self.C,
                        class_weight=self.class_weight,
                        max_iter=self.max_iter,
                        tol=self.tol,
                    ),
                ),
            ]
        )

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ClipsLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Embed the clips, and fit scaling and logistic regression to them.

        Parameters
        ----------
        X : sequence of n_clips clips
            Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array, one clip per row.
        y : array-like of shape (n_clips,)
            Their labels.
        sample_weight : array-like of shape (n_clips,), default=None
            How much each clip counts, not negative; multiplied by its class's weight.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        AudioError
            If clips can't be read and `errors` is not ``"warn"``, or if no clip of a class can be
            read. It names all unreadable clips.
        ValueError
            If a parameter, `X`, `y` or `sample_weight` is not as above, `y` holds one class only,
            or all clips of a class have weight 0.
        """
        y = check_targets(self, X, y, sample_weight)
        sample_weight = check_sample_weight(sample_weight, len(y))
        pipeline = self.to_pipeline()
        # Not Pipeline.fit: the name of its sample_weight depends on metadata routing.
        features, rows = self._embed(pipeline[0], X, y, sample_weight)
        y = y[rows]
        sample_weight = None if sample_weight is None else sample_weight[rows]
        for transformer in pipeline[1:-1]:
            weighted = sample_weight is not None and has_fit_parameter(transformer, "sample_weight")
            weights = {"sample_weight": sample_weight} if weighted else {}
            features = transformer.fit_transform(features, **weights)
        classifier = pipeline[-1].fit(features, y, sample_weight=sample_weight)

        remember_columns(self, X)
        self._prior = np.unique(y, return_counts=True)[1] / len(y)
        self.pipeline_ = pipeline
        self.classes_ = classifier.classes_
        self.n_iter_ = classifier.n_iter_
        self.clip_duration_ = usual_duration(as_clips(X, sampling_rate=sampling_rate_of(pipeline)))
        return self

    def decision_function(self, X: ClipsLike) -> np.ndarray:
        """Compute the log odds of the classes.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips,) or (n_clips, n_classes)
            With two classes, one number per clip: above 0 for the second class.
        """
        check_is_fitted(self)
        odds = np.log(self._frequencies())
        return self._predict("decision_function", X, odds[1] - odds[0] if len(odds) == 2 else odds)

    def predict_proba(self, X: ClipsLike) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_classes)
            In the order of `classes_`; each row sums to 1.
        """
        check_is_fitted(self)
        return self._predict("predict_proba", X, self._frequencies())

    def _embed(self, extractor, X, y, sample_weight):
        """Features of the readable clips, and the indices of these clips."""
        extractor.fit(X)
        if not goes_on(extractor):
            return extractor.transform(X), slice(None)
        return fit_without_unreadable(strict(extractor).transform, X, y, sample_weight)

    def _predict(self, method, X, instead):
        extractor = self._current_extractor()
        rest = getattr(self.pipeline_[1:], method)
        if not goes_on(extractor):
            return rest(extractor.transform(X))
        reader = strict(extractor)
        return predict_without_unreadable(lambda clips: rest(reader.transform(clips)), X, instead)

    def _current_extractor(self):
        """The fitted extractor; a copy if parameters such as `errors` were changed since."""
        settings = {name: getattr(self, name) for name in _CHANGEABLE}
        settings = {name: value for name, value in settings.items() if value is not None}
        extractor = self.pipeline_[0]
        if all(
            getattr(block, name) == value
            for _, block in _blocks(extractor)
            for name, value in settings.items()
        ):
            return extractor
        extractor = copy.deepcopy(extractor)  # fitted as it is: it keeps its precision
        for _, block in _blocks(extractor):
            block.set_params(**settings)
        return extractor

    def _frequencies(self):
        """The classes' shares of the training data; equal in models that earlier versions saved."""
        n_classes = len(self.classes_)
        return getattr(self, "_prior", np.full(n_classes, 1 / n_classes))

    def _configured_extractor(self):
        extractor = self._default_extractor() if self.extractor is None else clone(self.extractor)
        settings = {name: getattr(self, name) for name in self._extractor_parameters}
        settings = {name: value for name, value in settings.items() if value is not None}
        for _, block in _blocks(extractor):
            if get_tags(block).requires_fit:
                raise ValueError(
                    f"extractor={self.extractor!r} has to be fitted ({block!r}), but that of "
                    f"{type(self).__name__} learns nothing. Put it into a Pipeline of your own."
                )
            block.set_params(**settings)
        return extractor

    def _scaling_steps(self, extractor):
        if self.scaling is None:
            return []
        blocks = _blocks(extractor)
        if len(blocks) == 1:
            return self._scalers()
        # Networks differ in scale, so each one's features are scaled before they are fused.
        ends = np.cumsum([len(block.get_feature_names_out()) for _, block in blocks]).tolist()
        per_block = [
            (name, Pipeline(self._scalers()), slice(begin, end))
            for (name, _), begin, end in zip(blocks, [0, *ends[:-1]], ends, strict=True)
        ]
        return [
            ("block_scaler", ColumnTransformer(per_block)),
            ("scaler", ClippedStandardScaler()),
        ]

    def _scalers(self):
        row_scaler = _ROW_SCALERS[self.scaling]
        steps = [] if row_scaler is None else [("row_scaler", clone(row_scaler))]
        return [*steps, ("scaler", ClippedStandardScaler())]


def _blocks(extractor):
    """The parts of a union of extractors, by name; a single extractor is its own part."""
    if not isinstance(extractor, FeatureUnion):
        return [("extractor", extractor)]
    return [(name, block) for name, block in extractor.transformer_list if block != "drop"]


class _OneNetworkClassifier(_EmbeddingClassifier):
    """A classifier on one network's features, with parameters for its model and layers."""

    _parameter_constraints: dict = {
        **_EmbeddingClassifier._parameter_constraints,
        "model": "no_validation",
        "layers": "no_validation",
    }
    _extractor_parameters = ("model", "layers", *_EXTRACTOR_PARAMETERS)

    def __init__(
        self,
        model: str | None = None,
        *,
        layers: str | tuple[str, ...] | None = None,
        extractor: BaseEstimator | None = None,
        scaling: Literal["standardize", "normalize", "signed_sqrt"] | None = "standardize",
        C: float = 0.1,
        class_weight: Literal["balanced"] | dict | None = "balanced",
        max_iter: int = 1000,
        tol: float = 1e-4,
        max_duration: float | None = None,
        sampling_rate: int | None = None,
        device: Device | None = None,
        memory: Memory = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] | None = None,
        verbose: int | None = None,
    ) -> None:
        self.model = model
        self.layers = layers
        self.extractor = extractor
        self.scaling = scaling
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.device = device
        self.memory = memory
        self.n_jobs = n_jobs
        self.errors = errors
        self.verbose = verbose


@shared(settings=_SETTINGS, fitted=_FITTED)
class SpeakerEmbeddingClassifier(_OneNetworkClassifier):
    """Classify clips by logistic regression on the features of a speaker-recognition network.

    The network's hidden layers represent not only who speaks, but also how and in what language.
    With a few clips of each class this gives a good first answer within seconds.

    Parameters
    ----------
    model : str, default=None
        The pretrained network of :class:`~skspeech.SpeakerEmbedding`. None is the extractor's own,
        ``"ge2e"``.
    layers : str, int or tuple, default=None
        The network's layers to read. None is the extractor's own choice.
    extractor : transformer, default=None
        An extractor with other settings, such as ``SpeakerEmbedding(window=1.0)``, or another one.
        None is :class:`~skspeech.SpeakerEmbedding` with its defaults.
    {settings}

    Attributes
    ----------
    {fitted}

    See Also
    --------
    MusicEmbeddingClassifier : The same on a music-tagging network.
    FusedEmbeddingClassifier : Both networks' features together.

    References
    ----------
    Wan, L., Wang, Q., Papir, A. and Moreno, I. L. (2018). Generalized end-to-end loss for speaker
    verification. ICASSP. https://arxiv.org/abs/1710.10467

    Examples
    --------
    >>> from skspeech import SpeakerEmbeddingClassifier
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=20, random_state=0)
    >>> clf = SpeakerEmbeddingClassifier(max_duration=5)
    >>> clf.fit(clips.data, clips.target).score(clips.data, clips.target)  # doctest: +SKIP
    1.0

    It is shorthand for a Pipeline:

    >>> list(clf.to_pipeline().named_steps)
    ['extractor', 'scaler', 'classifier']
    """

    def _default_extractor(self):
        return SpeakerEmbedding()


@shared(settings=_SETTINGS, fitted=_FITTED)
class MusicEmbeddingClassifier(_OneNetworkClassifier):
    """Classify clips by logistic regression on the features of a music-tagging network.

    The network was trained on music, and represents timbre, so its features of speech differ from
    those of a speaker network.

    Parameters
    ----------
    model : str, default=None
        The pretrained network of :class:`~skspeech.MusicEmbedding`. None is the extractor's own,
        ``"msd_musicnn"``.
    layers : str or tuple of str, default=None
        The network's layers to read. None is the extractor's own, ``"mean_pool"``.
    extractor : transformer, default=None
        An extractor with other settings, such as ``MusicEmbedding(hop=1.5)``, or another one. None
        is :class:`~skspeech.MusicEmbedding` with its defaults.
    {settings}

    Attributes
    ----------
    {fitted}

    See Also
    --------
    SpeakerEmbeddingClassifier : The same on a speaker-recognition network.
    FusedEmbeddingClassifier : Both networks' features together.

    References
    ----------
    Pons, J. and Serra, X. (2019). musicnn: pre-trained convolutional neural networks for music
    audio tagging. ISMIR late-breaking demos. https://arxiv.org/abs/1909.06654

    Examples
    --------
    >>> from skspeech import MusicEmbeddingClassifier
    >>> from skspeech.datasets import make_tones
    >>> clips = make_tones(n_samples=20, random_state=0)
    >>> clf = MusicEmbeddingClassifier("mtt_musicnn", C=1.0)
    >>> clf.fit(clips.data, clips.target).score(clips.data, clips.target)  # doctest: +SKIP
    1.0
    """

    def _default_extractor(self):
        return MusicEmbedding()


@shared(settings=_SETTINGS, fitted=_FITTED)
class FusedEmbeddingClassifier(_EmbeddingClassifier):
    """Classify clips by logistic regression on the features of several networks together.

    Each network's features are scaled, concatenated, and scaled again. All scaling is learnt in
    `fit`, so in cross-validation it is learnt on the training folds only.

    Parameters
    ----------
    extractor : sklearn.pipeline.FeatureUnion, default=None
        The extractors, by name. None is :class:`~skspeech.SpeakerEmbedding` (``"speaker"``) and
        :class:`~skspeech.MusicEmbedding` (``"music"``) with their defaults.
    {settings}

    Attributes
    ----------
    {fitted}

    See Also
    --------
    SpeakerEmbeddingClassifier : One block alone.
    MusicEmbeddingClassifier : The other block alone.

    Examples
    --------
    >>> from sklearn.pipeline import FeatureUnion
    >>> from skspeech import FusedEmbeddingClassifier, MusicEmbedding, SpeakerEmbedding
    >>> from skspeech.datasets import make_tones
    >>> clips = make_tones(n_samples=20, random_state=0)
    >>> both = FeatureUnion(
    ...     [("voice", SpeakerEmbedding()), ("tags", MusicEmbedding(layers="tags"))]
    ... )
    >>> clf = FusedEmbeddingClassifier(both, max_duration=5)
    >>> clf.fit(clips.data, clips.target).score(clips.data, clips.target)  # doctest: +SKIP
    1.0
    """

    def __init__(
        self,
        extractor: FeatureUnion | None = None,
        *,
        scaling: Literal["standardize", "normalize", "signed_sqrt"] | None = "standardize",
        C: float = 0.1,
        class_weight: Literal["balanced"] | dict | None = "balanced",
        max_iter: int = 1000,
        tol: float = 1e-4,
        max_duration: float | None = None,
        sampling_rate: int | None = None,
        device: Device | None = None,
        memory: Memory = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] | None = None,
        verbose: int | None = None,
    ) -> None:
        self.extractor = extractor
        self.scaling = scaling
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.device = device
        self.memory = memory
        self.n_jobs = n_jobs
        self.errors = errors
        self.verbose = verbose

    def _default_extractor(self):
        return side_by_side([("speaker", SpeakerEmbedding()), ("music", MusicEmbedding())])
