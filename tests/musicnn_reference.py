"""Run musicnn's original TensorFlow graphs, from the ``.meta`` files in its wheel.

``python musicnn_reference.py WHEEL LOGMEL.npy OUTPUT.npz`` writes one array for each model and
layer, named ``model/layer``. It is a script of its own so that the tests' process never imports
TensorFlow.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

POOLS = {f"pool{i + 1}": f"model/max_pooling2d{f'_{i}' if i else ''}/MaxPool" for i in range(5)}
LAYERS = {
    "musicnn": {
        "mean_pool": "model/moments/Squeeze",
        "max_pool": "model/Max",
        "penultimate": "model/batch_normalization_10/batchnorm/add_1",
        "tags": "model/Sigmoid",
    },
    "vgg": {**POOLS, "tags": "model/Sigmoid"},
}
MODELS = ["MSD_musicnn", "MTT_musicnn", "MSD_vgg", "MTT_vgg"]


def main(wheel, logmel, output):
    logmel = np.load(logmel)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        for model in MODELS:
            activations = run(f"{folder}/musicnn/{model}/", LAYERS[model.split("_")[1]], logmel)
            results |= {f"{model}/{layer}": value for layer, value in activations.items()}
    np.savez(output, **results)


def run(prefix, layers, logmel):
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        definition = inference_graph(f"{prefix}.meta", layers.values())
        tf.import_graph_def(definition, name="")
        feeds = {
            node.name: logmel if node.attr["dtype"].type == tf.float32.as_datatype_enum else False
            for node in definition.node
            if node.op == "Placeholder"
        }
        session.run("save/restore_all", {"save/Const:0": prefix})
        return session.run(
            {layer: f"{node}:0" for layer, node in layers.items()},
            {f"{name}:0": value for name, value in feeds.items()},
        )


def inference_graph(path, nodes):
    """The part of the training graph that the nodes need: today's TensorFlow refuses the rest."""
    meta = tf.compat.v1.MetaGraphDef.FromString(Path(path).read_bytes())
    return tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, [*nodes, "save/restore_all"])


if __name__ == "__main__":
    main(*sys.argv[1:])
