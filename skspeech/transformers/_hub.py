"""Models in the format of Hugging Face's transformers: a name on the hub, or a folder."""

import contextlib
import functools
import hashlib
import json
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np

from skspeech._extras import how_to_install
from skspeech._files import file_state
from skspeech.transformers.speaker import choose
from skspeech.weights import WeightsError, WeightsNotFoundError

__all__ = [
    "Source",
    "check_files",
    "choose_layers",
    "commit_of",
    "explained",
    "folder_of",
    "network_id",
    "read_json",
    "read_tensors",
    "state_of",
]

_CONFIG = ("config.json",)
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")


def choose_layers(layers, n_layers):
    """Numbers of the chosen layers out of `n_layers`; negative numbers count from the last."""
    if isinstance(layers, str):  # "all"
        return tuple(range(n_layers))
    chosen = np.atleast_1d(np.asarray(layers, dtype=object)).tolist()
    known = [
        layer + n_layers if isinstance(layer, Integral) and -n_layers <= layer < 0 else layer
        for layer in chosen
    ]
    return choose("layers", known, tuple(range(n_layers)))


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    model: str
    revision: str | None
    local_files_only: bool

    @property
    def options(self):
        return {
            "revision": self.revision or "main",
            "local_files_only": self.local_files_only,
            "trust_remote_code": False,
        }


def state_of(model):
    """The files of a folder, and their states; None for a name on the hub."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = [path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"}]
    files = sorted(path for path in files if path.is_file())
    return tuple((str(path.absolute()), *file_state(path.stat())) for path in files)


def commit_of(source):
    """The commit that a name on the hub stands for, now that its configuration is in the cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.model, "config.json", revision=source.revision)
    return Path(found).parent.name if isinstance(found, str) else None


def check_files(source, state):
    """Raise an error that names the files a folder lacks, or says that a path is not a folder."""
    if state is None:
        path = Path(source.model)
        if path.is_absolute() or path.exists() or source.model.startswith((".", "~")):
            raise WeightsNotFoundError(
                f"model={source.model!r} is not a folder. Use one that save_pretrained() wrote, or "
                "a name on the Hugging Face hub."
            )
        return
    names = {Path(name).name for name, *_ in state}
    missing = [
        " or ".join(repr(name) for name in alternatives)
        for alternatives in (_CONFIG, _PREPROCESSORS, _SAFETENSORS)
        if names.isdisjoint(alternatives)
    ]
    if missing:
        raise WeightsNotFoundError(
            f"The folder model={source.model!r} lacks {' and '.join(missing)}. Write it with "
            "save_pretrained() of both the model and its feature extractor; weights are read from "
            "safetensors only."
        )


def folder_of(source):
    """The folder that holds a model, fetched from the hub if necessary."""
    state = state_of(source.model)
    check_files(source, state)
    return Path(source.model) if state is not None else _snapshot(source)


@functools.lru_cache(maxsize=16)
def _snapshot(source):
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            "A name on the Hugging Face hub needs the package huggingface_hub, which is not "
            f"installed. Install it: {how_to_install('transformers')}"
        ) from error
    with explained(source):
        found = snapshot_download(
            source.model,
            revision=source.revision,
            local_files_only=source.local_files_only,
            allow_patterns=[*_CONFIG, *_PREPROCESSORS, *_SAFETENSORS, "model-*.safetensors"],
        )
    return Path(found)


def read_json(folder, *names):
    """Content of the first of these files that exists in a folder."""
    path = next(path for path in (folder / name for name in names) if path.is_file())
    return json.loads(path.read_text(encoding="utf-8"))


def read_tensors(source, prefixes, names):
    """The tensors `names` of a model, each stored under one of the prefixes, in float32."""
    from safetensors import safe_open

    folder, tensors = folder_of(source), {}
    with explained(source):
        if (folder / _SAFETENSORS[0]).is_file():
            files = [_SAFETENSORS[0]]
        else:
            files = sorted(set(read_json(folder, _SAFETENSORS[1])["weight_map"].values()))
        for file in files:
            with safe_open(folder / file, "pt") as stored:
                for key in stored.keys():  # noqa: SIM118
                    prefix = next((p for p in prefixes if key.startswith(p)), None)
                    if prefix is not None and key.removeprefix(prefix) in names:
                        tensors[key.removeprefix(prefix)] = stored.get_tensor(key).float()
    missing = sorted(set(names) - tensors.keys())
    if missing:
        raise WeightsError(
            f"The weights of {source.model!r} lack {len(missing)} of the encoder's tensors, such "
            f"as {', '.join(missing[:3])}. They would be random; use another model."
        )
    return tensors


@contextlib.contextmanager
def explained(source):
    """Turn transformers' errors about missing or damaged files into advice."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsNotFoundError(
            f"The model {source.model!r} cannot be had: {reason}\n"
            f"Missing here: {', '.join(_missing_in_cache(source)) or 'nothing'}.\n"
            "With a network, this fetches it, if it has safetensors:\n"
            f"    hf download {source.model}\n"
            "Without one, run this elsewhere and name the folder: "
            f"hf download {source.model} --local-dir FOLDER"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"The weights of {source.model!r} cannot be read: {error}. Fetch the model again."
        ) from error


def _missing_in_cache(source):
    """The files that a model needs and that are not in the hub's local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def is_there(name):
        found = try_to_load_from_cache(source.model, name, revision=source.revision)
        return isinstance(found, str)

    try:
        return [
            " or ".join(alternatives)
            for alternatives in (_CONFIG, _PREPROCESSORS, _SAFETENSORS)
            if not any(map(is_there, alternatives))
        ]
    except HFValidationError:
        return ["a model of that name"]


@functools.lru_cache(maxsize=64)
def network_id(source, state, commit):
    """Identify weights by the commit on the hub, or by the content of a folder's files."""
    if state is None:
        return f"transformers-{source.model}@{commit}"
    digest = hashlib.blake2b(digest_size=12)
    for name, size, *_ in state:
        digest.update(f"{Path(name).name} {size}\n".encode())
        with open(name, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return f"transformers-{digest.hexdigest()}"
