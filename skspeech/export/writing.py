"""Write a classifier of clips as an ONNX graph."""

import copy
import importlib.util
import io
import json
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted

from skspeech import __version__
from skspeech._extras import how_to_install
from skspeech._pickled import parts_of
from skspeech._typing import PathLike
from skspeech._warning import warn
from skspeech.audio import SAMPLING_RATE
from skspeech.datasets import make_speech_like
from skspeech.persistence.atomic import atomic_writer
from skspeech.transformers.base import Extractor

__all__ = ["export_onnx"]

_OPSET = 17  # the oldest that serves: old runtimes can read the file, too
_TOLERANCE = 1e-3
# Probabilities of a model in half precision that differ more deserve a warning.
_ROUNDED = 0.02
# Seconds of what the graph is compared on: below a window, and several windows.
_CHECKED = (0.41, 11.03)
_ADVICE = (
    "What can be exported: SpeakerEmbedding, MusicEmbedding, KeywordEmbedding, WhisperEmbedding "
    "and MoonshineEmbedding (alone or in a FeatureUnion); StandardScaler, ClippedStandardScaler, "
    "Normalizer and SignedSqrt; LogisticRegression, WideLogisticRegression and "
    "ShrinkageDiscriminantAnalysis; pipelines and votes of these, such as a fitted "
    "SpeakerEmbeddingClassifier. To have the best of these, give them to TimeBudgetClassifier as "
    "candidates."
)


def export_onnx(model: BaseEstimator, path: PathLike) -> Path:
    """Write a classifier of clips to a file in ONNX, which runs without Python and skspeech.

    The graph takes ``waveform``, mono samples of shape (n_samples,), float32, at 16 kHz, of any
    length from one sample on. It returns ``probabilities``, of shape (n_classes,), float32, and
    ``label``, the most probable class. Level, spectrogram, windows and pooling are all inside. A
    waveform at another sampling rate has to be resampled before, and one with NaN has no answer.

    The file says about itself, in its ``metadata_props``: ``classes`` (JSON), ``sampling_rate``,
    ``length`` (``"any"``), ``extractor`` and ``skspeech_version``. It holds weights and class
    labels, and nothing of the clips that the model was trained on.

    Parameters
    ----------
    model : classifier
        Fitted on clips: a :class:`~skspeech.SpeakerEmbeddingClassifier`,
        :class:`~skspeech.MusicEmbeddingClassifier` or
        :class:`~skspeech.FusedEmbeddingClassifier`; a Pipeline of
        :class:`~skspeech.SpeakerEmbedding`, :class:`~skspeech.MusicEmbedding`,
        :class:`~skspeech.KeywordEmbedding`, :class:`~skspeech.WhisperEmbedding` or
        :class:`~skspeech.MoonshineEmbedding` with scalers and a linear classifier; a
        :class:`~skspeech.GeometricMeanVotingClassifier` or
        :class:`~skspeech.TimeBudgetClassifier` whose members are such.
    path : str or path-like
        The file, such as ``"model.onnx"``. An existing file is replaced, once the new one is
        complete.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ImportError
        If the package onnx is not installed (extra ``onnx``).
    ValueError
        If a part of the model can't be exported. It says what the model consists of, and what can
        be.
    RuntimeError
        If the probabilities differ by more than 1e-3 from those of `model` on made-up clips. They
        are compared in torch, and under ONNX Runtime if that is installed.

    See Also
    --------
    skspeech.save : Saves any model, for Python.
    skspeech.serving.create_app : Any model behind HTTP.

    Notes
    -----
    The graph computes in single precision. Fitted on processors with instructions for bfloat16,
    :class:`~skspeech.SpeakerEmbedding`, :class:`~skspeech.WhisperEmbedding`,
    :class:`~skspeech.MoonshineEmbedding` and :class:`~skspeech.MusicEmbedding` don't, unless
    ``dtype="float32"``. If probabilities then differ by more than 0.02 on made-up clips, a warning
    says so.

    Examples
    --------
    >>> from skspeech import SpeakerEmbeddingClassifier
    >>> from skspeech.datasets import make_speech_like
    >>> from skspeech.export import export_onnx
    >>> clips = make_speech_like(12, n_classes=2, random_state=0)
    >>> model = SpeakerEmbeddingClassifier().fit(clips.data, clips.target)  # doctest: +SKIP
    >>> export_onnx(model, "model.onnx")  # doctest: +SKIP
    PosixPath('model.onnx')

    Then, in a program that has only ONNX Runtime:

    >>> import onnxruntime  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("model.onnx")  # doctest: +SKIP
    >>> probabilities, label = session.run(None, {"waveform": clips.data[0]})  # doctest: +SKIP
    """
    if importlib.util.find_spec("onnx") is None:
        raise ImportError(f"An export needs the package onnx: {how_to_install('onnx')}.")
    if not (is_classifier(model) and hasattr(model, "predict_proba")):
        raise ValueError(f"The {type(model).__name__} is no classifier with predict_proba.")
    check_is_fitted(model)
    path = Path(path)
    reference = _forgetful(model, dtype="float32")
    graph = _graph_of(reference)
    clips = _clips()
    expected = _answers(reference, clips)
    _warn_of_precision(np.abs(expected - _answers(_forgetful(model), clips)).max())
    _compare("in torch", expected, _by_torch(graph, clips))
    content = _with_answer(_traced(graph, clips[-1]), model)
    if importlib.util.find_spec("onnxruntime") is not None:
        _compare("under ONNX Runtime", expected, _by_onnxruntime(content, clips))
    with atomic_writer(path) as file:
        file.write(content)
    return path


def _graph_of(model):
    from skspeech.export._modules import Graph, NotExportable, describe

    try:
        return Graph(model).eval().requires_grad_(False)
    except NotExportable as error:
        raise ValueError(
            f"The model can't be exported to ONNX, because of its {error}. It consists of "
            f"{describe(model)}. {_ADVICE}"
        ) from None


def _forgetful(model, **settings):
    """A copy that computes on the processor, with these settings, and that remembers nothing."""
    model = copy.deepcopy(model)
    settings |= {"device": "cpu", "memory": False}
    for extractor in parts_of(model, Extractor):
        names = extractor.get_params(deep=False)
        extractor.set_params(**{key: value for key, value in settings.items() if key in names})
    return model


def _answers(model, clips):
    return model.predict_proba([(clip, SAMPLING_RATE) for clip in clips])


def _warn_of_precision(difference):
    if difference > _ROUNDED:
        warn(
            "The model computes in half precision here, and the graph in single precision, "
            f"which gives other probabilities: they differ by up to {difference:.2g} on made-up "
            "clips. Fit the model with dtype='float32' before it is exported."
        )


def _clips():
    """Made-up sounds: silence, a short one, and a long one."""
    made = [make_speech_like(1, duration=seconds, random_state=0).data[0] for seconds in _CHECKED]
    return [np.zeros(SAMPLING_RATE, dtype=np.float32), *made]


def _compare(where, expected, found):
    difference = np.abs(expected - found).max()
    if not difference <= _TOLERANCE:
        raise RuntimeError(
            f"The exported graph gives other probabilities {where}: they differ by "
            f"{difference:.2g} on made-up clips. So nothing is written. Please report this."
        )


def _by_torch(graph, clips):
    import torch

    with torch.inference_mode():
        return np.array([graph(torch.from_numpy(clip)).numpy() for clip in clips])


def _by_onnxruntime(content, clips):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.array([session.run(["probabilities"], {"waveform": clip})[0] for clip in clips])


def _traced(graph, clip):
    """The graph in ONNX, as bytes."""
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Of the two exporters, the older one turns an LSTM into one node, not into a node for each
        # frame, and takes any length.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.|skspeech\.")
        # What it says may go wrong with clips of other lengths is compared afterwards.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Exporting a model to ONNX with a batch_size other")
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1 can be")
        torch.onnx.export(
            graph,
            (torch.from_numpy(clip),),
            buffer,
            dynamo=False,
            opset_version=_OPSET,
            input_names=["waveform"],
            output_names=["probabilities"],
            dynamic_axes={"waveform": {0: "n_samples"}},
        )
    return buffer.getvalue()


def _with_answer(content, model):
    """Add the label of the best class, and what the file says about itself."""
    import onnx

    exported = onnx.load_from_string(content)
    graph = exported.graph
    labels = model.classes_.tolist()
    is_int = all(type(label) is int for label in labels)
    kind = onnx.TensorProto.INT64 if is_int else onnx.TensorProto.STRING
    values = labels if is_int else [str(label).encode() for label in labels]
    graph.initializer.append(onnx.helper.make_tensor("classes", kind, [len(labels)], values))
    graph.node.append(
        onnx.helper.make_node("ArgMax", ["probabilities"], ["best"], axis=0, keepdims=0)
    )
    graph.node.append(onnx.helper.make_node("Gather", ["classes", "best"], ["label"], axis=0))
    (probabilities,) = graph.output
    probabilities.CopyFrom(
        onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, [len(labels)])
    )
    graph.output.append(onnx.helper.make_tensor_value_info("label", kind, []))
    onnx.helper.set_model_props(
        exported,
        {
            "classes": json.dumps(labels if is_int else [str(label) for label in labels]),
            "sampling_rate": str(SAMPLING_RATE),
            "length": "any",
            "extractor": ", ".join(_networks(model)),
            "skspeech_version": __version__,
        },
    )
    exported.producer_name, exported.producer_version = "skspeech", __version__
    onnx.checker.check_model(exported)
    return exported.SerializeToString()


def _networks(model):
    """Names of the extractors with their networks, each once; a folder's name without its path."""
    names = {}
    for extractor in parts_of(model, Extractor):
        network = getattr(extractor, "model", None)
        words = [type(extractor).__name__, *([Path(network).name] if network else [])]
        names[" ".join(words)] = None
    return list(names)
