"""The original programs that skspeech is measured against, run from their wheels."""

import contextlib
import multiprocessing
import sys
import tempfile
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np

from skspeech.weights import REGISTRY, fetch_wheel

__all__ = ["OriginalMusicnn", "load_moonshine", "load_resemblyzer", "load_smart_turn"]

_MUSICNN_FRAMES = 187
_MUSICNN_NODES = {
    "mean_pool": "model/moments/Squeeze:0",
    "max_pool": "model/Max:0",
    "penultimate": "model/batch_normalization_10/batchnorm/add_1:0",
    "tags": "model/Sigmoid:0",
}


def load_resemblyzer():
    """Load Resemblyzer's own encoder, and its function that normalises the volume.

    Returns
    -------
    encoder : resemblyzer.VoiceEncoder
    normalize_volume : callable
    """
    folder = tempfile.mkdtemp(prefix="resemblyzer-")
    with zipfile.ZipFile(fetch_wheel("ge2e")) as archive:
        archive.extractall(folder)
    # It imports two modules for trimming silence, which are not used for embedding.
    sys.modules.setdefault("webrtcvad", types.ModuleType("webrtcvad"))
    morphology = types.ModuleType("scipy.ndimage.morphology")
    morphology.binary_dilation = None
    sys.modules["scipy.ndimage.morphology"] = morphology
    sys.path.insert(0, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from resemblyzer import VoiceEncoder
        from resemblyzer.audio import normalize_volume
    return VoiceEncoder("cpu", verbose=False), normalize_volume


_SMART_TURN = "pipecat/audio/turn/smart_turn"


def load_smart_turn(n_threads):
    """Load smart-turn's graph into ONNX Runtime, and its own front end.

    Returns
    -------
    object
        With two functions: ``inputs(waveform)``, the spectrogram of the last 8 s, where a shorter
        clip is padded with silence in front, and ``run(inputs)``.
    """
    with zipfile.ZipFile(fetch_wheel("smart-turn")) as archive:
        graph = archive.read(f"{_SMART_TURN}/data/smart-turn-v3.2-cpu.onnx")
        source = archive.read(f"{_SMART_TURN}/_whisper_features.py").decode()
    front_end = types.ModuleType("whisper_features")
    exec(source, front_end.__dict__)  # the wheel's checksum is verified

    def inputs(waveform):
        padded = np.pad(waveform[-128_000:], (max(0, 128_000 - len(waveform)), 0))
        logmel = front_end.compute_whisper_log_mel_features(padded, do_normalize=True)
        return {"input_features": logmel[None]}

    return _original_graph(graph, inputs, n_threads)


def load_moonshine(n_threads):
    """Load the graph of Moonshine's encoder into ONNX Runtime.

    Returns
    -------
    object
        With two functions: ``inputs(waveform)``, with 0.3 s of silence on both sides, and
        ``run(inputs)``.
    """
    (member,) = REGISTRY["moonshine-tiny"].members
    with zipfile.ZipFile(fetch_wheel("moonshine-tiny")) as archive:
        graph = archive.read(member)

    def inputs(waveform):
        values = np.pad(waveform, 4_800)[None]
        return {"input_values": values, "attention_mask": np.ones(values.shape, np.int64)}

    return _original_graph(graph, inputs, n_threads)


def _original_graph(graph, inputs, n_threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return types.SimpleNamespace(inputs=inputs, run=lambda feeds: session.run(None, feeds))


class OriginalMusicnn:
    """musicnn's TensorFlow graph in its own process, run as its extractor runs it.

    The extractor decodes with librosa, computes the spectrogram with librosa, and sends the graph
    one window at a time. The original also builds the graph and reads the checkpoint for every
    file; here that is done once, in favour of the original.
    """

    def __init__(self, n_threads, model="MSD_musicnn"):
        context = multiprocessing.get_context("spawn")
        self._pipe, pipe = context.Pipe()
        wheel = str(fetch_wheel("musicnn-msd"))
        self._process = context.Process(
            target=_serve_musicnn, args=(pipe, wheel, model, n_threads), daemon=True
        )
        self._process.start()
        self._pipe.recv()

    def embed(self, paths, *, network_only=False):
        """Mean-pool features of every window of every clip, and the number of windows."""
        self._pipe.send((list(map(str, paths)), network_only))
        return self._pipe.recv()

    def close(self):
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join(10)


def _serve_musicnn(pipe, wheel, model, n_threads):
    import librosa
    import tensorflow as tf

    v1 = tf.compat.v1
    config = v1.ConfigProto(
        intra_op_parallelism_threads=n_threads, inter_op_parallelism_threads=n_threads
    )
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        prefix = f"{folder}/musicnn/{model}/"
        meta = v1.MetaGraphDef.FromString(Path(f"{prefix}.meta").read_bytes())
        nodes = [name.split(":")[0] for name in _MUSICNN_NODES.values()]
        definition = v1.graph_util.extract_sub_graph(meta.graph_def, [*nodes, "save/restore_all"])
        with tf.Graph().as_default(), v1.Session(config=config) as session:
            tf.import_graph_def(definition, name="")
            session.run("save/restore_all", {"save/Const:0": prefix})
            inputs = [n for n in definition.node if n.op == "Placeholder"]
            floats = [n.name for n in inputs if n.attr["dtype"].type == 1]
            flags = [n.name for n in inputs if n.attr["dtype"].type != 1]
            pipe.send("ready")
            while (message := pipe.recv()) is not None:
                paths, network_only = message
                n_windows = 0
                for path in paths:
                    logmel = _original_logmel(librosa, path) if not network_only else None
                    windows = (
                        [np.zeros((_MUSICNN_FRAMES, 96), np.float32)]
                        if network_only
                        else _cut(logmel)
                    )
                    for window in windows:
                        feeds = {f"{name}:0": window[None] for name in floats}
                        feeds.update({f"{name}:0": False for name in flags})
                        session.run(_MUSICNN_NODES, feeds)
                        n_windows += 1
                pipe.send(n_windows)


def _original_logmel(librosa, path):
    audio, rate = librosa.load(path, sr=16_000)
    # Its extractor takes no clips shorter than 3 s: they are repeated, as in skspeech.
    audio = np.resize(audio, max(len(audio), _MUSICNN_FRAMES * 256))
    mel = librosa.feature.melspectrogram(y=audio, sr=rate, hop_length=256, n_fft=512, n_mels=96)
    return np.log10(10_000 * mel.T + 1)


def _cut(logmel):
    starts = range(0, len(logmel) - _MUSICNN_FRAMES + 1, _MUSICNN_FRAMES)
    return [logmel[start : start + _MUSICNN_FRAMES] for start in starts]
