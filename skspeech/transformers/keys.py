"""Under which key a clip's features are remembered."""

import ast
import functools
import hashlib
import inspect
import os
import stat
import sys
import sysconfig
import textwrap
import types
import uuid

import joblib
import numpy as np

from skspeech.weights.store import file_id

__all__ = ["clip_keys", "definition", "fingerprint_of"]

# Packages whose classes need no source in the key: it names what they compute in other ways.
_ESTABLISHED = ("abc", "builtins", "skspeech", "sklearn")
_INSTALLED = tuple(map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
_MOST_HASHES = 1024
# Methods that change a list, a dict or a set.
_CHANGING = {"add", "append", "clear", "extend", "insert", "pop", "setdefault", "update"}
_hashes: dict[str, str] = {}


def clip_keys(extractor, clips, pooled):
    """The cache key of each clip's array; None for clips that can't be read."""
    fingerprint = fingerprint_of(extractor, pooled)
    keys = []
    for clip in clips:
        try:
            keys.append(f"{fingerprint}-{clip.key()}")
        except (OSError, ValueError):
            keys.append(None)
    return keys


def fingerprint_of(extractor, pooled):
    """Identify what an extractor computes: its class, arithmetic and parameters."""
    home = _package(type(extractor))
    home = None if home in _ESTABLISHED else home
    params = {
        name: _by_content(getattr(extractor, name), home)
        for name in _names_of(type(extractor))
        if name not in extractor._runtime_parameters
    }
    parts = [type(extractor).__qualname__, extractor._variant_id(), _hash_of(params), pooled]
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


@functools.lru_cache(maxsize=256)
def _names_of(cls):
    """Names of the parameters, sorted; to ask for them takes a tenth of a millisecond."""
    return tuple(sorted(cls._get_param_names()))


def _hash_of(params):
    """Joblib's hash, remembered for parameters that their text tells apart."""
    if not all(map(_is_plain, params.values())):
        return joblib.hash(params)
    text = repr(params)
    known = _hashes.get(text)
    if known is None:
        if len(_hashes) >= _MOST_HASHES:
            _hashes.clear()
        known = _hashes[text] = joblib.hash(params)
    return known


def _is_plain(value):
    if type(value) is dict:
        return all(map(_is_plain, value.items()))
    if type(value) in (tuple, list, set, frozenset):
        return all(map(_is_plain, value))
    return type(value) in (str, int, float, bool, type(None))


def _by_content(value, home):
    """How a parameter enters a key, and what lists, dicts and partial functions hold.

    A file by its content, a folder by what it lists, a function by what it does, and an object of
    the user's own by what it holds and its class does. `home` is the extractor's package.
    """
    if isinstance(value, types.FunctionType):
        return definition(value)
    if isinstance(value, types.MethodType):
        return [definition(value.__func__), _by_content(value.__self__, home)]
    if isinstance(value, functools.partial):
        return [_by_content(part, home) for part in (value.func, value.args, value.keywords)]
    if type(value) in (tuple, list):
        if home is None:  # those of this package's extractors name no files
            return value
        return type(value)(_by_content(item, home) for item in value)
    if type(value) is dict:
        return {key: _by_content(item, home) for key, item in value.items()}
    if isinstance(value, (str, os.PathLike)):
        return _file_or_name(value)
    cls = value if isinstance(value, type) else type(value)
    return [definition(cls), value] if _may_change(cls, home) else value


def _may_change(cls, home):
    """Whether a class is of the extractor's package, of the notebook, or not installed."""
    package = _package(cls)
    if home is None or package in _ESTABLISHED:
        return False
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return package in (home, "__main__") or not (file or _INSTALLED[0]).startswith(_INSTALLED)


def _file_or_name(value):
    try:
        mode = os.stat(value).st_mode
    except (OSError, ValueError):  # there is nothing of this name, or it can be none
        return os.fspath(value)
    if stat.S_ISREG(mode):
        return file_id(value)
    if stat.S_ISDIR(mode):
        return [os.fspath(value), sorted(map(_listed, os.scandir(value)))]
    return os.fspath(value)


def _listed(entry):
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere, or what was removed meanwhile
        return (entry.name,)
    return entry.name, status.st_size, status.st_mtime_ns


def definition(what):
    """Identify what a class or a function does, by its source and that of what it uses.

    That includes a class's parents, except those of this package, and what its functions read of
    their module: functions and classes of the same package, plain values (also in tuples, lists,
    dicts and sets), arrays. What they read of another module, as in ``helpers.loudness``, is not
    followed: half of a library may hang on it. What is redefined, for example in a notebook, then
    finds nothing that the old one computed. If the source is unknown or incomplete, as for a lambda
    or a class made by a function, features are found again only in this process.
    """
    used = {}
    _follow(what, used)
    parts = list(used.values())
    return parts[0] if len(parts) == 1 else joblib.hash(parts)


def _follow(what, used):
    """Collect sources, and values by name, of `what` and all that it uses."""
    what = _unwrapped(what)
    itself = _Itself(what)
    if itself in used:
        return
    used[itself] = _source_id(itself)
    changed = set(getattr(what, "_runtime_parameters", ()))
    for function in _functions_of(what):
        home = _package(function)
        names, attributes = _changed_in(function.__code__)
        changed |= attributes
        for name in sorted((_names_in(function.__code__) - names) & function.__globals__.keys()):
            key = function.__module__, name
            _note(key, name, function.__globals__[name], home, used)
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
        for i, value in enumerate(defaults):
            _note((_Itself(function), i), i, value, home, used)
    for cls in _own_classes(what) if isinstance(what, type) else ():
        for name, value in sorted(vars(cls).items()):
            if not (name in changed or name.startswith("__") or _function_in(value) is not value):
                _note((_Itself(cls), name), name, value, _package(cls), used)


def _note(key, name, value, home, used):
    """Collect what a name stands for."""
    value = _unwrapped(value)
    if issubclass(type(value), (types.FunctionType, type)):
        if _package(value) == home and home not in _ESTABLISHED:
            _follow(value, used)
    elif _is_constant(value):
        used[key] = name, value
    elif type(value) in (tuple, list, dict):
        for item in value.values() if type(value) is dict else value:
            if issubclass(type(item), (types.FunctionType, type)):
                _note(key, name, item, home, used)


class _Itself:
    """Stands for a function or a class as a key, also for one that Python can't hash or compare."""

    def __init__(self, what):
        self.what = what

    def __hash__(self):
        return id(self.what)

    def __eq__(self, other):
        return isinstance(other, _Itself) and self.what is other.what


def _unwrapped(value):
    """The function or class behind decorators, or the value itself."""
    try:
        inner = inspect.unwrap(value)
    except Exception:  # what stands in for another object may answer anything, or stand for itself
        return value
    return inner if issubclass(type(inner), (types.FunctionType, type)) else value


def _package(what):
    module = what.__module__
    return module.partition(".")[0] if isinstance(module, str) else ""


def _is_constant(value):
    """Whether a value of a module enters a key by its content."""
    if issubclass(type(value), (np.ndarray, np.generic)):
        return not value.dtype.hasobject or _is_constant(value.tolist())
    try:
        return _is_plain(value)
    except RecursionError:  # a list that holds itself
        return False


def _functions_of(what):
    if isinstance(what, types.FunctionType):
        return [what]
    attributes = [value for cls in _own_classes(what) for value in vars(cls).values()]
    return [f for f in map(_function_in, attributes) if issubclass(type(f), types.FunctionType)]


def _function_in(attribute):
    """The function of a method or a property."""
    if issubclass(type(attribute), property):
        attribute = attribute.fget
    elif issubclass(type(attribute), functools.cached_property):
        attribute = attribute.func
    return _unwrapped(attribute)


@functools.lru_cache(maxsize=256)
def _changed_in(code):
    """Names of its module, and attributes, that a function assigns or puts something into.

    These count, note or remember something, and would change all keys.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError):
        tree = ast.Module([], [])
    names, attributes = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            names.update(node.names)
        elif isinstance(node, ast.Subscript | ast.Attribute):
            is_stored = isinstance(node.ctx, ast.Store | ast.Del)
            if is_stored and isinstance(node, ast.Attribute):
                attributes.add(node.attr)
            if is_stored or getattr(node, "attr", None) in _CHANGING:
                names.add(getattr(node.value, "id", None))
                attributes.add(getattr(node.value, "attr", None))
    return names, attributes


@functools.lru_cache(maxsize=256)
def _names_in(code):
    """Names of its module that a function reads, itself or in a function inside it."""
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return {*code.co_names}.union(*map(_names_in, inner))


def _own_classes(cls):
    return [c for c in cls.__mro__ if _package(c) not in _ESTABLISHED]


@functools.lru_cache(maxsize=256)
def _source_id(itself):
    what = itself.what
    is_class = isinstance(what, type)
    own = _own_classes(what) if is_class else [what]
    try:
        if any("<" in part.__qualname__ for part in own):
            return uuid.uuid4().hex
        # Of a function, its code: inspect would look for the source of what it wraps.
        source = "".join(map(inspect.getsource, own if is_class else [what.__code__]))
    except Exception:  # such as that of a file that is being edited
        return uuid.uuid4().hex
    return hashlib.blake2b(source.encode(), digest_size=12).hexdigest()
