"""Recurrent networks with attention, in rounds over growing features (AutoSpeech 2019, first)."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Literal

from skspeech._device import resolve_device
from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._spectrogram import check_bands
from skspeech._typing import Device, RandomState
from skspeech.estimators.recurrent.blending import blend
from skspeech.estimators.recurrent.networks import SHAPE, Network, no_tracing_advice
from skspeech.estimators.recurrent.run import Run
from skspeech.estimators.recurrent.start import predict_start
from skspeech.estimators.recurrent.training import frames_for, frames_key
from skspeech.estimators.training.base import PARAGRAPHS, TrainedClassifier, check_sizes
from skspeech.estimators.training.keras import device_scope, import_keras

__all__ = ["RecurrentAttentionClassifier"]

_NETWORKS = ("lstm", "crnn", "bilstm")
_FEATURES = ("auto", "mfcc", "logmel")


@shared(**PARAGRAPHS)
class RecurrentAttentionClassifier(TrainedClassifier):
    """Learn recurrent networks with attention from the clips, and average their best snapshots.

    The winner of AutoSpeech 2019, rebuilt. The first answer is a logistic regression on the mean
    and deviation of log-mel bands, after a second or so and without TensorFlow. Then come rounds:
    in each, an LSTM with attention, a convolutional network with recurrent layers (CRNN) and a
    bidirectional LSTM with attention are trained one after another, the best of the last round
    first; later rounds use other features and longer parts of the clips. Each training runs in
    loops, each with its own draw of clips in which all classes are equally frequent; the draws
    double until they are as large as the training set. It ends after `patience` loops without
    improvement. The prediction is the mean of the snapshots that do best on held-out clips.

    Padding frames at the ends of clips are masked in attention, pooling and batch normalization, so
    predictions do not depend on them.

    Parameters
    ----------
    networks : list of {"lstm", "crnn", "bilstm"}, default=("lstm", "crnn", "bilstm")
        Networks of each round, in the order of the first round.
    rounds : list of (features, n_bands, seconds), \
            default=(("auto", 40, 10.0), ("auto", 64, 30.0), ("auto", 80, 30.0))
        What the networks of each round read. `features` is ``"mfcc"``, mel-frequency cepstral
        coefficients, as many as there are mel bands, ``"logmel"``, the bands themselves, or
        ``"auto"``: ``"logmel"`` for the CRNN, whose convolutions need neighbours that are alike,
        and ``"mfcc"`` for the others. `seconds` is how much of the clips' beginnings they see at
        most; where most clips are shorter, they see as much as 95 % of them have. Further rounds
        repeat the last one.
    max_rounds : int or None, default=3
        Number of rounds. None goes on until `max_time` is over; 0 trains only the logistic
        regression.
    n_fft : int, default=1024
        Samples of a spectrogram's frame.
    hop_length : int or "auto", default="auto"
        Samples between frames. ``"auto"`` takes 10 to 40 ms, so that most clips have no more than
        80 frames, if possible: the training time depends on the number of frames.
    max_frames : int, default=700
        Frames that a network sees at most.
    units : int, default=128
        Width of the recurrent layers; each direction of the bidirectional one has half of it.
    conv_filters : list of int, default=(24, 48, 48)
        Filters of the CRNN's convolutions, the most expensive part.
    augment : bool, default=True
        Distort spectrograms in training: tempo, size of the voice, level, and masks over time and
        frequency.
    n_snapshots : int, default=5
        How many snapshots are averaged, one a training at most: those with the least loss on
        held-out clips. Up to 3 more are taken from the best two of each network. Those count whose
        score (twice the area under the ROC curve less 1) on held-out clips is above 0 and above
        that of the logistic regression less 0.1.
    blend : {"geometric", "arithmetic"}, default="geometric"
        Which mean.
    batch_size : int, default=32
        Clips per training step.
    max_epochs : int, default=5
        Epochs of a loop. The epoch with the lowest loss on held-out clips becomes its snapshot.
    max_loops : int, default=6
        Loops of a training, at most.
    patience : int, default=3
        A training ends after this many loops without improvement on held-out clips.
    learning_rate : float, default=3e-3
        Highest learning rate of AdamW; it falls to 0 along a cosine, sooner where `max_time` is
        short.
    weight_decay : float, default=1e-2
        Weight decay of AdamW.
    label_smoothing : float, default=0.1
        Probability that training spreads over all classes.
    {limits}
    level : float or None, default=None
        {level}
    {running}

    Attributes
    ----------
    {fitted}
        Each row also has its `round`; round 0, without a `train_loss`, is the logistic regression.
    snapshots_ : list of dict
        The averaged snapshots: weights and input settings of networks. Empty as long as only the
        logistic regression predicts.
    start_coef_ : ndarray of shape (n_classes, 60)
        Weights of the logistic regression.
    start_intercept_ : ndarray of shape (n_classes,)
        Constants of the logistic regression.

    See Also
    --------
    TimeBudgetClassifier : Trains it among other candidates, within a time budget.

    Notes
    -----
    Each network gets a share of `max_time` that is large enough to learn something, so slow
    machines train fewer of them. After a warm start, earlier snapshots can still be chosen, and
    networks with the same input start from their weights.

    These differences from the entry of 2019 score better on small sets: features are
    standardized over the training frames, padding is masked, spectrograms are distorted in
    training, the hop follows the length of the clips, and AdamW takes a higher learning rate that
    falls to 0, in place of early stopping inside the loops.

    The settings of 2019 were these, but for the optimizer (Nadam and Adam)::

        RecurrentAttentionClassifier(
            rounds=[
                ("mfcc", 96, 10.0),
                ("mfcc", 96, 10.0),
                ("mfcc", 128, 30.0),
                ("logmel", 128, 30.0),
            ],
            max_rounds=None,
            n_fft=1600,
            hop_length=640,
            conv_filters=(64, 128, 128),
            augment=False,
            blend="arithmetic",
            max_epochs=10,
            learning_rate=2e-3,
            weight_decay=0.0,
            label_smoothing=0.0,
        )

    References
    ----------
    Wang, J. et al. (2020). AutoSpeech 2020: the second automated machine learning challenge for
    speech classification. Interspeech. https://arxiv.org/abs/2010.13130

    Park, D. S. et al. (2019). SpecAugment: a simple data augmentation method for automatic speech
    recognition. Interspeech. https://arxiv.org/abs/1904.08779

    Jaitly, N. and Hinton, G. E. (2013). Vocal tract length perturbation (VTLP) improves speech
    recognition. ICML workshop on deep learning for audio, speech and language processing.

    Examples
    --------
    >>> from skspeech import RecurrentAttentionClassifier
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(n_samples=20, random_state=0)
    >>> clf = RecurrentAttentionClassifier(max_rounds=0, random_state=0)  # no networks
    >>> clf.fit(tones.data, tones.target).predict(tones.data[:3]).shape
    (3,)

    With networks, small and quick ones:

    >>> clf.set_params(networks=["lstm"], rounds=[("mfcc", 8, 1.0)], max_rounds=1, units=8)
    RecurrentAttentionClassifier(...)
    >>> clf.set_params(hop_length=1600, max_loops=1, max_epochs=1)
    RecurrentAttentionClassifier(...)
    >>> clf.fit(tones.data, tones.target).history_[-1]["network"]
    'lstm'
    """

    _parameter_constraints: dict = {
        "networks": ["array-like"],
        "rounds": ["array-like"],
        "max_rounds": [Interval(Integral, 0, None, closed="left"), None],
        "n_fft": [Interval(Integral, 2, None, closed="left")],
        "hop_length": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_frames": [Interval(Integral, 4, None, closed="left")],
        "units": [Interval(Integral, 2, None, closed="left")],
        "conv_filters": ["array-like"],
        "augment": ["boolean"],
        "n_snapshots": [Interval(Integral, 1, None, closed="left")],
        "blend": [StrOptions({"arithmetic", "geometric"})],
        "max_loops": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        **TrainedClassifier._parameter_constraints,
    }

    def __init__(
        self,
        *,
        networks: Sequence[str] = ("lstm", "crnn", "bilstm"),
        rounds: Sequence[tuple[str, int, float]] = (
            ("auto", 40, 10.0),
            ("auto", 64, 30.0),
            ("auto", 80, 30.0),
        ),
        max_rounds: int | None = 3,
        n_fft: int = 1024,
        hop_length: int | Literal["auto"] = "auto",
        max_frames: int = 700,
        units: int = 128,
        conv_filters: Sequence[int] = (24, 48, 48),
        augment: bool = True,
        n_snapshots: int = 5,
        blend: Literal["geometric", "arithmetic"] = "geometric",
        batch_size: int = 32,
        max_epochs: int = 5,
        max_loops: int = 6,
        patience: int = 3,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.1,
        validation_fraction: float = 0.2,
        max_time: float | None = None,
        level: float | None = None,
        max_duration: float | None = 30.0,
        sampling_rate: int = 16_000,
        device: Device = "auto",
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        warm_start: bool = False,
        callbacks: Callable | list[Callable] | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.networks = networks
        self.rounds = rounds
        self.max_rounds = max_rounds
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.max_frames = max_frames
        self.units = units
        self.conv_filters = conv_filters
        self.augment = augment
        self.n_snapshots = n_snapshots
        self.blend = blend
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_loops = max_loops
        self.patience = patience
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.validation_fraction = validation_fraction
        self.max_time = max_time
        self.level = level
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.device = device
        self.n_jobs = n_jobs
        self.errors = errors
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def _validate_params(self):
        super()._validate_params()
        networks, has_order = list(self.networks), not isinstance(self.networks, set | frozenset)
        if not (networks and has_order and all(network in _NETWORKS for network in networks)):
            raise ValueError(
                f"networks={self.networks!r} is not accepted. Use a list of one or several of "
                f"{_NETWORKS}."
            )
        advice = "Use the number of filters of each convolution, such as (32, 64, 64)."
        check_sizes("conv_filters", self.conv_filters, advice)
        rounds, has_order = list(self.rounds), not isinstance(self.rounds, set | frozenset)
        if not (rounds and has_order and all(map(_is_round, rounds))):
            raise ValueError(
                f"rounds={self.rounds!r} is not accepted. Use a list of (features, n_bands, "
                f"seconds), with features one of {_FEATURES}, such as [('mfcc', 64, 10.0)]."
            )
        for _, n_bands, _ in self.rounds:
            check_bands(n_bands, self.n_fft, name="n_bands")

    def _train(self, data):
        run = Run(self, data)
        yield from run.start()
        yield from run.train_rounds()

    def _predict_waveforms(self, waveforms):
        if not self.snapshots_:
            return predict_start(self, waveforms)
        return blend(self._predict_snapshots(waveforms), self.blend)

    def _predict_snapshots(self, waveforms):
        """Probabilities of the clips by each snapshot."""
        if not self.snapshots_:
            return []
        import_keras()
        device = resolve_device(self.device)
        frames, probas = {}, []
        with device_scope(self.device), no_tracing_advice():
            for snapshot in self.snapshots_:
                key = frames_key(snapshot)
                if key not in frames:
                    frames[key] = frames_for(snapshot, waveforms, device)
                probas.append(self._live_network(snapshot).predict_by(snapshot, frames[key]))
        return probas

    def _live_network(self, snapshot):
        """The network that a snapshot's weights are loaded into; those of one shape share it."""
        shape = tuple(str(snapshot[key]) for key in SHAPE)
        if shape not in self._live:
            self._live[shape] = Network(snapshot, len(self.classes_))
        return self._live[shape]


def _is_round(setting):
    try:
        features, n_bands, seconds = setting
    except (TypeError, ValueError):
        return False
    is_whole = isinstance(n_bands, Integral) and n_bands >= 4
    return features in _FEATURES and is_whole and isinstance(seconds, Real) and seconds > 0
