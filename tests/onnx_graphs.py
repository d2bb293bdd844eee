"""Change ONNX graphs without onnx: give out what is inside, and leave out what rounds it."""

from skspeech._onnx import fields  # the one reader of this format here

_GRAPH, _NODE, _OUTPUT = 7, 1, 12  # fields of a model, and of its graph
_INPUT_NAME, _OUTPUT_NAME, _OP_TYPE = 1, 2, 4  # of a node


def with_outputs(model, names, *, rounded=True):
    """A model that also gives out float32 values by name.

    With ``rounded=False``, what goes from layer to layer is not rounded to bytes on its way: the
    pairs of QuantizeLinear and DequantizeLinear are bypassed, but those of weights.
    """
    return _message(
        (field, _graph(value, names, rounded) if field == _GRAPH else value)
        for field, value in fields(model)
    )


def read_nodes(model):
    """The nodes of a model: the kind of each, and the names of its inputs and outputs."""
    (graph,) = (value for field, value in fields(model) if field == _GRAPH)
    return [_parts(value) for field, value in fields(graph) if field == _NODE]


def _graph(graph, names, rounded):
    nodes = [_parts(value) for field, value in fields(graph) if field == _NODE]
    made = {outputs[0]: inputs[0] for kind, inputs, outputs in nodes if kind == "QuantizeLinear"}
    exact = {
        outputs[0]: made[inputs[0]]
        for kind, inputs, outputs in nodes
        if kind == "DequantizeLinear" and inputs[0] in made and not rounded
    }
    changed = [
        (field, _rewired(value, exact) if field == _NODE else value)
        for field, value in fields(graph)
    ]
    outputs = [(_OUTPUT, _message([(1, name.encode()), (2, _FLOAT_TENSOR)])) for name in names]
    return _message([*changed, *outputs])


def _parts(node):
    named = {_INPUT_NAME: [], _OUTPUT_NAME: [], _OP_TYPE: []}
    for field, value in fields(node):
        if field in named:
            named[field].append(bytes(value).decode())
    return named[_OP_TYPE][0], named[_INPUT_NAME], named[_OUTPUT_NAME]


def _rewired(node, exact):
    return _message(
        (field, exact.get(bytes(value).decode(), bytes(value).decode()).encode())
        if field == _INPUT_NAME
        else (field, value)
        for field, value in fields(node)
    )


def _message(values):
    parts = []
    for field, value in values:
        if isinstance(value, int):
            parts += [_varint(field << 3), _varint(value)]
        else:
            parts += [_varint(field << 3 | 2), _varint(len(value)), bytes(value)]
    return b"".join(parts)


def _varint(value):
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


_FLOAT_TENSOR = _message([(1, _message([(1, 1)]))])
