"""Convert the files of a source to named arrays: one function per source.

Each takes the folder that holds the files and a list of :class:`~skspeech.weights.Weights` of one
source, and returns a dict of NumPy arrays for each of them.
"""

import json
import os
import pickle
import re
import sys

import numpy as np

from skspeech.weights._common import CommandError, WeightsError, readable, run


def convert_ge2e(folder, entries):
    import torch

    def tensors(entry):
        (member,) = entry.members
        state = torch.load(folder / member, map_location="cpu", weights_only=True)["model_state"]
        arrays = {}
        for name, value in state.items():
            kind, _, rest = name.partition(".")
            if kind == "lstm":  # lstm.weight_ih_l2 -> layers.2.weight_ih_l0
                rest, layer = rest.rsplit("_l", 1)
                arrays[f"layers.{layer}.{rest}_l0"] = value.numpy()
            elif kind == "linear":
                arrays[name] = value.numpy()
        return arrays

    return [tensors(entry) for entry in entries]


_FRONT_END = {"spectrogram.window": (400,), "mel_scale.fb": (257, 40)}


def convert_resnetse34l(folder, entries):
    (entry,) = entries
    tensors = read_resnetse34l(folder / entry.source.filename)
    return [{name: tensor.numpy() for name, tensor in tensors.items()}]


def read_resnetse34l(path):
    """Tensors of a checkpoint of VoxCeleb's trainer, without its training loss and front end."""
    from skspeech.transformers.networks.resnetse34l import ResNetSE34L

    checkpoint = {k: x for k, x in _load_tensors(path).items() if not k.startswith("__L__.")}
    needed = {f"__S__.{key}": tuple(x.shape) for key, x in ResNetSE34L().state_dict().items()}
    # The spectrogram's constants may be absent. If present, they must match the spectrogram that
    # the network gets here.
    front_end = {f"__S__.torchfb.{key}": shape for key, shape in _FRONT_END.items()}
    accepted = needed | front_end
    problems = {
        "missing": needed.keys() - checkpoint.keys(),
        "unexpected": checkpoint.keys() - accepted.keys(),
        "of another shape": {
            f"{key} {tuple(x.shape)} in place of {accepted[key]}"
            for key, x in checkpoint.items()
            if key in accepted and tuple(x.shape) != accepted[key]
        },
    }
    if any(problems.values()):
        listed = [f"{kind}: {', '.join(sorted(keys))}" for kind, keys in problems.items() if keys]
        raise WeightsError(
            f"The weights in {str(path)!r} are not those of ResNetSE34L.\n" + "\n".join(listed)
        )
    return {key.removeprefix("__S__."): checkpoint[key].contiguous() for key in needed}


def _load_tensors(path):
    """Read a torch file that holds only named tensors; no code in it is ever run."""
    import torch

    with readable(path), open(path, "rb"):
        pass
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WeightsError(
            f"The file of weights {str(path)!r} cannot be read as named tensors that torch.save "
            f"wrote: {reason}"
        ) from None
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise WeightsError(f"The file {str(path)!r} holds something else than named tensors.")
    return tensors


# TensorFlow runs in another process: it is slow to import, and not needed again in this one.
_READ_CHECKPOINTS = """
import json, sys
import numpy as np
import tensorflow as tf

for prefix, output in json.loads(sys.argv[1]):
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    np.savez(output, **{k: reader.get_tensor(k) for k in reader.get_variable_to_shape_map()})
"""


def convert_musicnn(folder, entries):
    outputs = [folder / f"{entry.name}.npz" for entry in entries]
    jobs = [
        (f"{folder}/{_checkpoint_prefix(entry)}", str(output))
        for entry, output in zip(entries, outputs, strict=True)
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", _READ_CHECKPOINTS, json.dumps(jobs)]
    try:
        run(command, cwd=folder, env=environment)
    except CommandError as error:
        raise WeightsError(
            "TensorFlow could not read the checkpoints of musicnn, which it is needed for once. "
            f"Is it installed (pip install tensorflow)? It said:\n{error}"
        ) from None
    return [_from_checkpoint(output) for output in outputs]


def _checkpoint_prefix(entry):
    """The common start of the names of a checkpoint's files: here, a folder and its slash."""
    (index,) = (member for member in entry.members if member.endswith(".index"))
    return index.removesuffix(".index")


def _from_checkpoint(path):
    with np.load(path) as archive:
        variables = {name: archive[name] for name in archive.files}
    layers = _vgg_layers() if "1CNN/kernel" in variables else _musicnn_layers()
    arrays = {}
    for name, (convert, layer) in layers.items():
        converted = convert(variables, layer)
        arrays |= {f"{name}.{key}": np.ascontiguousarray(x, "f4") for key, x in converted.items()}
    return arrays


def _musicnn_layers():
    blocks = ["timbral.0", "timbral.1", "temporal.0", "temporal.1", "temporal.2"]
    layers = {"norm": (_norm, "batch_normalization")}
    for i, block in enumerate(blocks):
        layers[f"{block}.conv"] = (_conv2d, f"conv2d_{i}" if i else "conv2d")
        layers[f"{block}.norm"] = (_norm, f"batch_normalization_{i + 1}")
    for i in range(3):
        layers[f"middle.{i}"] = (_conv1d, f"conv2d_{i + 5}")
        layers[f"middle_norms.{i}"] = (_norm, f"batch_normalization_{i + 6}")
    return {
        **layers,
        "pool_norm": (_norm, "batch_normalization_9"),
        "dense": (_dense, "dense"),
        "dense_norm": (_norm, "batch_normalization_10"),
        "output": (_dense, "dense_1"),
    }


def _vgg_layers():
    layers = {"norm": (_norm, "batch_normalization")}
    for i in range(5):
        layers[f"blocks.{i}.conv"] = (_conv2d, f"{i + 1}CNN")
        layers[f"blocks.{i}.norm"] = (_norm, f"batch_normalization_{i + 1}")
    return {**layers, "output": (_dense, "dense")}


def _conv2d(variables, layer):
    kernel = variables[f"{layer}/kernel"]  # (frames, bands, inputs, filters)
    return {"weight": kernel.transpose(3, 2, 0, 1), "bias": variables[f"{layer}/bias"]}


def _conv1d(variables, layer):
    kernel = variables[f"{layer}/kernel"]  # (frames, inputs, 1, filters)
    return {"weight": kernel[:, :, 0].transpose(2, 1, 0), "bias": variables[f"{layer}/bias"]}


def _dense(variables, layer):
    return {"weight": variables[f"{layer}/kernel"].T, "bias": variables[f"{layer}/bias"]}


def _norm(variables, layer, epsilon=1e-3):
    """Batch normalisation by learnt statistics, as one factor and one offset per channel."""
    gamma, beta, mean, variance = (
        variables[f"{layer}/{name}"].astype("f8")
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    factor = gamma / np.sqrt(variance + epsilon)
    return {"factor": factor, "offset": beta - mean * factor}


def convert_speech_embedding(folder, entries):
    from skspeech._onnx import read_initializers

    def tensors(entry):
        (member,) = entry.members
        names = _speech_embedding_names()
        found = read_initializers(folder / member)
        return {name: np.ascontiguousarray(found[original]) for name, original in names.items()}

    return [tensors(entry) for entry in entries]


def _speech_embedding_names():
    """Names of the tensors, here and in the ONNX graph, which numbers all convolutions."""
    names = {"output.weight": "model/conv2d_19/Conv2D/ReadVariableOp:0"}
    layers = [f"blocks.{block}.{i}" for block in range(5) for i in range(4 if block else 3)]
    for i, layer in enumerate(layers):
        conv = f"model/conv2d_{i}" if i else "model/conv2d"
        names[f"{layer}.weight"] = f"{conv}/Conv2D_weights_fused_bn"
        names[f"{layer}.bias"] = f"{conv}/Conv2D_bias_fused_bn"
    return names


def convert_smart_turn(folder, entries):
    """Whisper's encoder, whose weights are quantised to bytes with a scale for each unit."""
    from skspeech._onnx import read_initializers

    def tensors(entry):
        (member,) = entry.members
        found = read_initializers(folder / member)
        prefix = "inner.encoder."
        arrays = {
            name.removeprefix(prefix): array
            for name, array in found.items()
            if name.startswith(prefix) and array.dtype == np.float32 and not name.endswith("_scale")
        }
        for conv in ("conv1", "conv2"):
            arrays[f"{conv}.weight"] = _dequantized(found, f"{prefix}{conv}.weight", axis=0)
            arrays[f"{conv}.bias"] = _dequantized(found, f"{prefix}{conv}.bias_quantized", axis=0)
        # The graph drops the names of the layers' matrices, but keeps their order.
        matrices = [name.removesuffix("_quantized") for name in found if _MATRIX.fullmatch(name)]
        for name, matrix in zip(_smart_turn_matrices(), matrices):
            arrays[f"{name}.weight"] = _dequantized(found, matrix, axis=1).T
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    return [tensors(entry) for entry in entries]


_MATRIX = re.compile(r"val_\d+_quantized")


def _smart_turn_matrices():
    parts = [*(f"self_attn.{name}_proj" for name in ("k", "q", "v", "out")), "fc1", "fc2"]
    return [f"layers.{layer}.{part}" for layer in range(4) for part in parts]


def _dequantized(found, name, axis):
    quantized = found.get(f"{name}_quantized", found.get(name))
    shape = [-1 if i == axis else 1 for i in range(quantized.ndim)]
    zero, scale = (found[f"{name}_{key}"].reshape(shape) for key in ("zero_point", "scale"))
    return (quantized.astype("f4") - zero.astype("f4")) * scale


def convert_moonshine(folder, entries):
    """Moonshine's encoder, whose large matrices are quantised to bytes with one scale for each."""
    from skspeech.weights._ort import read_initializers

    def tensors(entry):
        (member,) = entry.members
        found = read_initializers(folder / member)
        arrays = {
            name.removesuffix("_add_tensor"): array
            for name, array in found.items()
            if _NAMED.match(name)
        }
        # The graph has one matrix of units and bias for the group norm, and no names for those of
        # the layers, but its numbers are in the order of the network.
        (factor,), (offset,) = (
            [array for name, array in found.items() if name.startswith(f"onnx::{kind}_")]
            for kind in ("Mul", "Add")
        )
        arrays |= {"groupnorm.weight": factor.ravel(), "groupnorm.bias": offset.ravel()}
        matrices = sorted(
            (name.removesuffix("_quantized") for name in found if name.endswith("_quantized")),
            key=lambda name: int(name.rpartition("_")[2]),
        )
        for name, matrix in zip(_moonshine_matrices(), matrices, strict=True):
            arrays[f"{name}.weight"] = _dequantized(found, matrix, axis=None).T
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    return [tensors(entry) for entry in entries]


_NAMED = re.compile(r"(conv\d|layer_norm|layers\.)")


def _moonshine_matrices():
    attention = [f"self_attn.{name}_proj" for name in "qkvo"]
    parts = [*attention, "mlp.fc1", "mlp.fc2"]
    return [f"layers.{layer}.{part}" for layer in range(6) for part in parts]
