"""What goes wrong in the world: odd input, kills, full and locked disks, crowds, and attacks.

Inputs are made up by hypothesis, the same ones each time. More, and new ones each time::

    SKSPEECH_FUZZ_EXAMPLES=100000 python -m pytest tests/test_reliability.py -k fuzz

Figures (inputs tried, faults injected) are printed at the end.
"""

import collections
import contextlib
import gc
import io
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tarfile
import threading
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fault_workers
import numpy as np
import psutil
import pytest
import soundfile
from fault_workers import fitted_model, make_clip, value_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sounds import labelled_tones
from test_weights import Toy, kept, make_registry, toy  # noqa: F401

import skspeech
from skspeech import GeometricMeanVotingClassifier, SpectralStatistics, _download, weights
from skspeech._unpickle import load_arrays  # what hostile pickles are read with
from skspeech.audio import AudioError, load_waveforms
from skspeech.cache import DiskStore, clear, memory_store
from skspeech.challenge import load_autospeech, run_local_test, save_autospeech

N_EXAMPLES = int(os.environ.get("SKSPEECH_FUZZ_EXAMPLES", 0))
FIGURES = collections.Counter()


@pytest.fixture(scope="module", autouse=True)
def _tell_figures(request):
    yield
    plugins = request.config.pluginmanager
    terminal = plugins.getplugin("terminalreporter")
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        terminal.write_line("")
        for what, n in sorted(FIGURES.items()):
            terminal.write_line(f"{what}: {n:,}")


def fuzz(n_examples):
    """Settings of a fuzz test that tries so many examples where nothing else is said."""
    return settings(
        max_examples=N_EXAMPLES or n_examples,
        derandomize=not N_EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# Fuzz: the door for audio -------------------------------------------------------------------------


def attempt(what, X, **options):
    """Load clips: waveforms that any model can use, or an error that says something."""
    FIGURES[f"fuzz, {what}: tried"] += 1
    try:
        waveforms = load_waveforms(X, n_jobs=1, **options)
    except AudioError as error:
        FIGURES[f"fuzz, {what}: refused"] += 1
        for position, name, reason in error.failures:
            assert 0 <= position < error.n_clips  # noqa: PT017
            assert isinstance(name, str)
            assert len(reason) > 8
        return None
    except (TypeError, ValueError) as error:
        FIGURES[f"fuzz, {what}: refused"] += 1
        assert len(str(error)) > 15, f"it says nothing: {error!r}"  # noqa: PT017
        return None
    assert len(waveforms) == len(X)
    for waveform in waveforms:
        assert waveform.dtype == np.float32
        assert waveform.ndim == 1
        assert len(waveform) > 0
        assert np.isfinite(waveform).all()
        assert np.abs(waveform).max() <= 2.0**32
    return waveforms


def assert_embeds(waveforms):
    """What the door lets through can be embedded: no NaN, however odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = SpectralStatistics(memory=False, n_jobs=1).transform(waveforms)
    assert np.isfinite(features).all()


SUFFIXES = st.sampled_from([".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au", ".raw", ".m4a", ""])
MAGIC = [
    b"RIFF\x24\0\0\0WAVEfmt ",
    b"RIFX\0\0\0\0WAVE",
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02",
    b"ID3\x03\0",
]
MAGIC += [
    b"FORM\0\0\0\0AIFFCOMM",
    b".snd\0\0\0\x18",
    b"caff\0\x01\0\0",
    b"\xff\xfb\x90\x64",
    b"RF64",
]
MAGIC += [b"NIST_1A\n   1024\n", b"Creative Voice File\x1a", b"2BIT", b"\x64\xa3\x01\0", b""]


@pytest.mark.filterwarnings("ignore:.* used as found")  # what is heard is said
@fuzz(300)
@given(
    head=st.sampled_from(MAGIC),
    body=st.binary(max_size=400),
    suffix=SUFFIXES,
    max_duration=st.none() | st.floats(1e-3, 10),
)
def test_fuzz_files_of_any_bytes(tmp_path_factory, head, body, suffix, max_duration):
    path = scratch(tmp_path_factory) / f"clip{suffix}"
    path.write_bytes(head + body)
    attempt("bytes", [str(path)], max_duration=max_duration)


def scratch(factory):
    if not hasattr(scratch, "folder"):
        scratch.folder = factory.mktemp("fuzz")
    return scratch.folder


SANE = {"kind": 1, "channels": 2, "rate": 16_000, "byte_rate": 64_000, "align": 4, "bits": 16}
SANE |= {"riff_size": 336, "data_size": 300, "extra": b"", "data": bytes(range(250)) + bytes(50)}
ODD = {
    "kind": st.sampled_from([0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x55, 0xFFFE, 0xFFFF]),
    "channels": st.integers(0, 2**16 - 1) | st.sampled_from([0, 1, 3, 1024]),
    "rate": st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 8000, 2**31]),
    "byte_rate": st.integers(0, 2**32 - 1),
    "align": st.integers(0, 2**16 - 1) | st.sampled_from([1, 2, 3, 8]),
    "bits": st.integers(0, 2**16 - 1) | st.sampled_from([8, 12, 24, 32, 64]),
    "riff_size": st.integers(0, 2**32 - 1),
    "data_size": st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 64, 2**32 - 1]),
    "extra": st.binary(max_size=40),
    "data": st.binary(max_size=300),
}


@pytest.mark.filterwarnings("ignore:.* used as found")  # what is heard is said
@fuzz(300)
@given(odd=st.sets(st.sampled_from(sorted(ODD)), max_size=3), draw=st.data())
def test_fuzz_headers_of_wav(tmp_path_factory, odd, draw):
    fields = SANE | {name: draw.draw(ODD[name], name) for name in sorted(odd)}
    content = io.BytesIO()
    content.write(b"RIFF" + struct.pack("<I", fields["riff_size"]) + b"WAVEfmt ")
    content.write(
        struct.pack("<IHH", 16 + len(fields["extra"]), fields["kind"], fields["channels"])
    )
    content.write(
        struct.pack("<IIHH", *(fields[k] for k in ("rate", "byte_rate", "align", "bits")))
    )
    content.write(fields["extra"] + b"data" + struct.pack("<I", fields["data_size"]))
    path = scratch(tmp_path_factory) / "header.wav"
    path.write_bytes(content.getvalue() + fields["data"])
    attempt("headers", [str(path)], max_duration=5.0)


def _sound(extension, **options):
    file = io.BytesIO()
    samples = np.random.default_rng(0).normal(scale=0.1, size=(1500, 2))
    soundfile.write(file, samples, 16_000, format=extension, **options)
    return file.getvalue()


SOUNDS = {
    "wav": _sound("WAV"),
    "float.wav": _sound("WAV", subtype="FLOAT"),
    "adpcm.wav": _sound("WAV", subtype="IMA_ADPCM"),
    "flac": _sound("FLAC"),
    "ogg": _sound("OGG", subtype="VORBIS"),
    "opus": _sound("OGG", subtype="OPUS"),
    "mp3": _sound("MP3"),
    "aiff": _sound("AIFF"),
    "caf": _sound("CAF", subtype="ALAC_16"),
    "au": _sound("AU"),
}
PLACES = st.floats(0, 1)
EDITS = st.lists(
    st.tuples(st.just("set"), PLACES, st.integers(0, 255))
    | st.tuples(st.just("head"), st.integers(0, 60), st.integers(0, 255))
    | st.tuples(st.just("cut"), PLACES, PLACES)
    | st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=30))
    | st.tuples(st.just("repeat"), PLACES, PLACES)
    | st.tuples(st.just("splice"), PLACES, st.sampled_from(sorted(SOUNDS))),
    min_size=1,
    max_size=6,
)


def edited(content, edits):
    content = bytearray(content)
    for kind, place, value in edits:
        place = place if kind == "head" else int(place * len(content))
        if kind in ("set", "head") and place < len(content):
            content[place] = value
        elif kind == "cut":
            del content[place : place + int(value * 200) + 1]
        elif kind == "insert":
            content[place:place] = value
        elif kind == "repeat":
            content[place:place] = content[place : place + int(value * 500)]
        elif kind == "splice":
            content[place:] = SOUNDS[value][place:]
    return bytes(content)


@pytest.mark.filterwarnings("ignore:.* used as found")  # what is heard is said
@fuzz(400)
@given(name=st.sampled_from(sorted(SOUNDS)), edits=EDITS)
def test_fuzz_damaged_files_of_all_formats(tmp_path_factory, name, edits):
    path = scratch(tmp_path_factory) / f"damaged.{name}"
    path.write_bytes(edited(SOUNDS[name], edits))
    waveforms = attempt("damaged files", [str(path)])
    if waveforms is not None and FIGURES["fuzz, damaged files: tried"] % 10 == 0:
        assert_embeds(waveforms)


ARRAYS = hnp.arrays(
    dtype=hnp.scalar_dtypes()
    | hnp.unicode_string_dtypes(max_len=3)
    | hnp.byte_string_dtypes(max_len=3)
    | st.just(np.dtype(object)),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=30),
)
FLOATS = hnp.arrays(
    dtype=hnp.floating_dtypes(),
    shape=st.integers(0, 60),
    elements={"allow_subnormal": True},
)
RATES = (
    st.floats()
    | st.integers(-10, 10**8)
    | st.sampled_from([8000, 16_000, 44_100.0, np.int64(22_050), True, None, "16000", 1j])
)


@fuzz(400)
@given(array=ARRAYS | FLOATS, rate=RATES, form=st.sampled_from(["item", "whole", "pair", "nested"]))
def test_fuzz_arrays_of_any_shape_and_type(array, rate, form):
    X = {"item": [array], "whole": array, "pair": [(array, rate)], "nested": [[array]]}[form]
    with warnings.catch_warnings():
        # scikit-learn warns of tables in which it finds numbers written as text.
        warnings.simplefilter("ignore", FutureWarning)
        waveforms = attempt("arrays", X)
    if waveforms is not None:
        assert_embeds(waveforms)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.dates()
    | st.builds(object)
    | st.builds(Path, st.text("ab./\0", max_size=5))
    | FLOATS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(
            lambda items: np.array([*items, None], dtype=object), st.lists(st.text(), max_size=2)
        )
        | st.builds(iter, st.lists(inner, max_size=2))
    ),
    max_leaves=6,
)


@fuzz(500)
@given(
    X=JUNK,
    options=st.fixed_dictionaries({}, optional={"sampling_rate": RATES, "max_duration": RATES}),
)
def test_fuzz_containers_of_anything(X, options):
    attempt("containers", X, **options)


@fuzz(200)
@given(
    lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=4),
    scale=st.sampled_from([0.0, 1e-45, 1e-20, 1e-3, 1.0, 1e4, 2.0**32]),
    offset=st.sampled_from([0.0, 1.0, -1e6]),
    seed=st.integers(0, 2**16),
)
def test_fuzz_what_the_door_lets_through_has_features(lengths, scale, offset, seed):
    rng = np.random.default_rng(seed)
    X = [
        np.float32(scale) * rng.uniform(-1, 1, n).astype(np.float32) + np.float32(offset)
        for n in lengths
    ]
    waveforms = attempt("levels", X)
    if waveforms is not None:
        assert_embeds(waveforms)


# Fuzz and attacks: challenge folders, archives ----------------------------------------------------


PICKLES = [
    pickle.dumps([np.arange(3.0), np.arange(2, dtype="i2")], protocol=protocol)
    for protocol in range(6)
]


@fuzz(400)
@given(
    original=st.sampled_from(PICKLES),
    edits=EDITS.filter(lambda e: all(k[0] != "splice" for k in e)),
)
def test_fuzz_pickles(tmp_path_factory, original, edits):
    path = scratch(tmp_path_factory) / "train.pkl"
    path.write_bytes(edited(original, edits))
    FIGURES["fuzz, pickles: tried"] += 1
    try:
        load_arrays(path)
    except pickle.UnpicklingError:
        FIGURES["fuzz, pickles: refused"] += 1


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("file", ["train.pkl", "test.pkl"])
def test_a_malicious_pickle_in_a_challenge_folder_runs_nothing(tmp_path, file):
    X, y = labelled_tones(12, duration=0.1)
    folder = save_autospeech(tmp_path / "data", X[:8], y[:8], X[8:], y[8:])
    target = tmp_path / "executed"
    (folder / file).write_bytes(pickle.dumps([np.zeros(9), Evil(target)]))
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        load_autospeech(tmp_path / "data")
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):  # not a failure of the model
        run_local_test(
            tmp_path / "data", output_dir=tmp_path / "output", score_dir=tmp_path / "score"
        )
    assert not target.exists()
    pickle.loads((folder / file).read_bytes())
    assert target.exists(), "the attack would have worked"
    FIGURES["attacks: refused"] += 2


@pytest.mark.parametrize("name", ["meta.json", "train.solution"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"class_num": 1e999}', "9" * 5000, "\0", "{}"])
def test_other_files_of_a_challenge_folder_may_be_anything(tmp_path, name, content):
    X, y = labelled_tones(12, duration=0.1)
    folder = save_autospeech(tmp_path, X[:8], y[:8], X[8:], y[8:])
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=r".{15}"):
        load_autospeech(tmp_path)
    FIGURES["attacks: refused"] += 1


BOMBS = {
    "memo": b"\x80\x04]r\xff\xff\xff\x1f.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",
    "laughs": b"(lp0\n"
    + b"".join(b"(lp%d\n" % (i + 1) + b"g%d\na" % i * 9 for i in range(12))
    + b".",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_pickle_takes_little_memory(tmp_path, workers, bomb):
    path = tmp_path / "train.pkl"
    path.write_bytes(BOMBS[bomb])
    limit = (fault_workers.load_pickle, 1 << 30, path)
    (outcome, message, grown) = workers.run(fault_workers.in_memory_limit, *limit)
    assert outcome in ("UnpicklingError", "list"), message
    assert grown < 50e6
    FIGURES["attacks: bounded"] += 1


def _zip_bomb(path):
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9)
    with archive, archive.open("a.wav", "w") as member:
        for _ in range(600):
            member.write(bytes(1 << 20))


def _tar_bomb(path):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a.wav")
        member.size = 600 << 20
        archive.addfile(member, _Zeros())


class _Zeros(io.RawIOBase):
    def read(self, n=-1):
        return bytes(n)


def _sparse_tar(path):
    """A file of a terabyte in a kilobyte: nearly all of it is a hole."""
    member = tarfile.TarInfo("a.wav")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386 : 386 + 24] = b"%011o\0%011o\0" % (0, 0)
    header[482] = 0
    header[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(1024))


@pytest.mark.parametrize("make", [_zip_bomb, _tar_bomb, _sparse_tar])
def test_a_decompression_bomb_does_not_fill_the_disk(tmp_path, make):
    archive, folder = tmp_path / "archive", tmp_path / "files"
    folder.mkdir()
    make(archive)
    assert archive.stat().st_size < 2e6
    with pytest.raises(OSError, match=r"'a\.wav' .* more than"):
        _download._unpack(archive, {"a.wav": "0"}, folder)
    written = sum(file.stat().st_size for file in folder.iterdir())
    assert written <= _download._MAX_MEMBER
    FIGURES["attacks: bounded"] += 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_links_and_devices_in_archives_are_no_files(tmp_path):
    archive, folder = tmp_path / "archive.tar", tmp_path / "files"
    folder.mkdir()
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
    with tarfile.open(archive, "w") as file:
        for number, kind in enumerate(kinds):
            member = tarfile.TarInfo(f"{number}.wav")
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member)
    _download._unpack(archive, {f"{number}.wav": "0" for number in range(5)}, folder)
    assert list(folder.iterdir()) == []
    FIGURES["attacks: refused"] += len(kinds)


@pytest.mark.parametrize("name", ["C:\\a.wav", "..\\..\\a.wav", "a/../../a.wav", "//host/a.wav"])
def test_members_with_tricky_names_stay_inside(tmp_path, name):
    archive, folder = tmp_path / "archive.zip", tmp_path / "inner" / "files"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, "content")
    with contextlib.suppress(OSError):
        _download._unpack(archive, {"a.wav": "0"}, folder)
    outside = {path for path in tmp_path.rglob("*") if path.is_file()} - {archive, folder / "a.wav"}
    assert outside == set()
    FIGURES["attacks: refused"] += 1


# Long clips ---------------------------------------------------------------------------------------


def _ten_hours_of_wav(path):
    """Ten hours at 48 kHz, most of which is a hole in the file."""
    n_bytes = 10 * 3600 * 48_000 * 2
    header = (
        b"RIFF"
        + struct.pack("<I", n_bytes + 36)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 48_000, 96_000, 2, 16)
    )
    path.write_bytes(header + b"data" + struct.pack("<I", n_bytes))
    os.truncate(path, 44 + n_bytes)


def _ten_hours_of_flac(path):
    with soundfile.SoundFile(path, "w", 16_000, 1, format="FLAC") as file:
        for _ in range(600):
            file.write(np.zeros(60 * 16_000, dtype=np.int16))


@pytest.mark.parametrize("make", [_ten_hours_of_wav, _ten_hours_of_flac])
def test_ten_hours_are_refused_or_cut_in_little_memory(tmp_path, workers, make):
    path = tmp_path / ("long" + make.__name__[-4:].replace("_", "."))
    make(path)
    limit = (fault_workers.load_clip, 1 << 30, str(path))
    kind, message, grown = workers.run(fault_workers.in_memory_limit, *limit)
    assert kind == "AudioError"
    assert "lasts 10.0 hours; 6 hours are the most" in message
    assert grown < 50e6
    kind, message, grown = workers.run(fault_workers.in_memory_limit, *limit, 5.0)
    assert (kind, message) == ("tuple", "(80000,)")
    assert grown < 50e6
    FIGURES["attacks: bounded"] += 2


# Kills --------------------------------------------------------------------------------------------


class Workers:
    """Processes that are forked off one that has imported everything: quick to start and kill."""

    def __init__(self):
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["fault_workers", "test_weights", "skops.io"])

    @contextlib.contextmanager
    def start(self, function, *arguments):
        """Start a function; give the process and what it sends."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=function, args=(theirs, *arguments), daemon=True)
        process.start()
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()
            process.join(20)
            ours.close()

    def run(self, function, *arguments):
        """What a function sends."""
        with self.start(function, *arguments) as (process, results):
            assert results.poll(60), f"{function.__name__} hangs"
            result = results.recv()
            process.join(20)
            return result

    def kill_while(self, function, *arguments, within):
        """Kill a function at a random moment; return all that it sent until then."""
        with self.start(function, *arguments) as (process, results):
            assert results.poll(60), f"{function.__name__} does not start"
            assert results.recv() == "ready"
            time.sleep(random.random() * within)
            assert process.is_alive(), f"{function.__name__} ended by itself"
            os.kill(process.pid, signal.SIGKILL)
            process.join(20)
            sent = []
            with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
                while results.poll(0):
                    sent.append(results.recv())
            return sent


@pytest.fixture(scope="module")
def workers():
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs POSIX processes")
    return Workers()


@pytest.mark.slow
def test_kills_while_a_cache_is_written_lose_nothing(tmp_path, workers):
    def check(first, last):
        """What was told to be written is there, and nothing that is there is wrong."""
        found = DiskStore(tmp_path).get_many([f"key {i}" for i in range(first, last + 20)])
        assert set(found) >= {f"key {i}" for i in range(first, last)}
        for key, value in found.items():
            assert_array_equal(value, value_of(int(key.removeprefix("key "))))

    done = 0
    for _ in range(30):
        before = done
        sent = workers.kill_while(fault_workers.store_for_ever, tmp_path, done, within=0.15)
        done = max([done, *sent])
        FIGURES["kills during: cache write"] += 1
        check(before, done)
    assert done >= 200, "the kills came before anything was written"
    check(0, done)
    FIGURES["cache entries written under kills, all found"] += done


@pytest.mark.slow
def test_power_loss_leaves_a_cache_that_can_be_used(tmp_path, workers):
    """Without power, the end of SQLite's log may be missing, torn, or full of old bytes."""
    rng = random.Random(0)
    for round_ in range(25):
        folder = tmp_path / str(round_)
        folder.mkdir()
        workers.kill_while(fault_workers.store_for_ever, folder, 0, within=0.1)
        log = Path(f"{DiskStore(folder).path}-wal")
        Path(f"{DiskStore(folder).path}-shm").unlink(missing_ok=True)
        if log.exists() and log.stat().st_size:
            content = bytearray(log.read_bytes())
            place = rng.randrange(len(content))
            torn = [content[:place], content[:place] + bytes(len(content) - place)]
            torn += [content[:place] + rng.randbytes(min(4096, len(content) - place))]
            log.write_bytes(torn[round_ % 3])
        FIGURES["power losses: cache"] += 1
        store = DiskStore(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = store.get_many([f"key {i}" for i in range(2000)])
        for key, value in found.items():
            assert_array_equal(value, value_of(int(key.removeprefix("key "))))
        store.set_many({"after": value_of(7)})
        assert_array_equal(DiskStore(folder).get_many(["after"])["after"], value_of(7))
        store.close()


@pytest.mark.slow
def test_kills_while_clips_are_embedded_leave_right_features(tmp_path, workers):
    clips = [make_clip(number) for number in range(24)]
    expected = SpectralStatistics(memory=False, n_jobs=1).transform(clips)
    for _ in range(15):
        sent = workers.kill_while(fault_workers.embed_for_ever, str(tmp_path), 24, within=0.5)
        for numbers, features in sent:
            assert_allclose(features, expected[numbers], rtol=1e-4, atol=1e-4)
        FIGURES["kills during: embed"] += 1
    clear()
    assert_allclose(fault_workers.transform(clips, tmp_path), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_killed_embed_command_goes_on(tmp_path):
    for number in range(20):
        soundfile.write(tmp_path / f"{number:02}.wav", make_clip(number), 16_000)
    command = [
        sys.executable,
        "-m",
        "skspeech",
        "embed",
        "spectral-statistics",
        str(tmp_path),
        "-q",
    ]
    whole, killed = tmp_path / "whole.npz", tmp_path / "killed.npz"
    start = time.monotonic()
    subprocess.run([*command, "-o", str(whole)], check=True, timeout=120)
    seconds = time.monotonic() - start
    for _ in range(3):
        process = subprocess.Popen([*command, "-o", str(killed)])
        time.sleep(seconds * random.uniform(0.5, 1.0))
        process.kill()
        process.wait(20)
        FIGURES["kills during: skspeech embed"] += 1
        if killed.exists():
            break
    if not killed.exists():
        subprocess.run([*command, "-o", str(killed)], check=True, timeout=120)
    with np.load(whole) as one, np.load(killed) as other:
        assert one.files == other.files
        assert one["paths"].tolist() == other["paths"].tolist()
        assert_allclose(one["features"], other["features"], rtol=1e-4, atol=1e-4)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_kills_while_weights_are_fetched_leave_none_or_whole_ones(kept, workers, monkeypatch):  # noqa: F811
    environment = {**kept.environment(), "TOY_DELAY": "0.01"}
    folder = kept.cache / "weights"
    n_fetched = 0
    for _ in range(30):
        n_fetched += len(
            workers.kill_while(fault_workers.fetch_for_ever, environment, kept.sha256, within=0.15)
        )
        FIGURES["kills during: weights fetch"] += 1
        for file in folder.glob("*") if folder.exists() else ():
            assert file.suffix == ".safetensors"
            assert weights.store.is_intact(weights.registry.REGISTRY[file.name.partition("-")[0]])
    assert n_fetched > 0
    assert_array_equal(weights.load_weights("one", progress=False)["x"].numpy(), np.arange(3))
    weights.weights_path("two").unlink(missing_ok=True)
    weights.fetch_weights("two", progress=False)
    assert not list(kept.cache.glob(".unfinished-*"))


@pytest.mark.slow
def test_kills_while_a_model_is_saved_leave_a_whole_one(tmp_path, workers):
    path = tmp_path / "model.skspeech"
    skspeech.save(fitted_model(0), path)
    last = 0
    for _ in range(15):
        sent = workers.kill_while(fault_workers.save_for_ever, path, last + 1, within=0.5)
        FIGURES["kills during: model save"] += 1
        model = skspeech.load(path)
        told = max([last, *sent])
        assert told <= model.seed_ <= told + 1
        assert_array_equal(model.theta_, fitted_model(model.seed_).theta_)
        last = model.seed_
    assert last > 3, "the kills came before anything was saved"
    FIGURES["models saved under kills, all whole"] += last
    skspeech.save(fitted_model(1), path)
    assert skspeech.load(path).seed_ == 1


# Disks --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder, *options):
    """Mount something on a folder; skip the test where that is not allowed."""
    command = ["mount", *options, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        gc.collect()  # connections that are still open
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["small disk", "limited files"])
def full_disk(request, tmp_path, workers):
    """A folder with space for 400 kB, and how to run something in it that finds it full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    FIGURES["full disks"] += 1
    if request.param == "small disk":
        with mounted(folder, "-t", "tmpfs", "-o", "size=400k", "tmpfs"):
            yield folder, lambda *call: workers.run(fault_workers.report, *call)
    else:
        pytest.importorskip("resource")
        yield folder, lambda *call: workers.run(fault_workers.limited, call[0], 400_000, *call[1:])


def test_a_full_disk_costs_the_cache_a_warning(full_disk):
    folder, run = full_disk
    (found, said) = run(fault_workers.store, folder, 0, 20, 100)
    assert (len(found), said) == (20, [])
    outcome, said = run(fault_workers.store, folder, 100, 20, 50_000)
    assert isinstance(outcome, dict), outcome
    assert len(said) == 1
    assert "could not be used to write" in said[0]
    # What was there is there, and what fits is still written.
    (found, said) = run(fault_workers.store, folder, 0, 20, 100)
    assert (len(found), said) == (20, [])
    for i in range(20):
        assert_array_equal(found[f"key {i}"], np.full(100, i))


def test_clips_are_embedded_on_a_full_disk(full_disk):
    folder, run = full_disk
    (folder / "ballast").write_bytes(bytes(395_000))
    clips = [make_clip(number) for number in range(200)]
    features, _ = run(fault_workers.transform, clips, folder)
    assert_allclose(
        features[::20],
        SpectralStatistics(memory=False).transform(clips[::20]),
        rtol=1e-3,
        atol=1e-3,
    )


def test_a_full_disk_does_not_touch_the_model_that_is_there(full_disk):
    folder, run = full_disk
    path = folder / "model.skspeech"
    run(fault_workers.save, path, 3)
    outcome, _ = run(fault_workers.save, path, 1000)
    assert isinstance(outcome, OSError), outcome
    assert skspeech.load(path).seed_ == 3
    assert not [file for file in folder.iterdir() if "unfinished" in file.name]
    run(fault_workers.save, path, 5)
    assert skspeech.load(path).seed_ == 5


def test_a_full_disk_does_not_touch_the_report_that_is_there(full_disk):
    folder, run = full_disk
    assert run(fault_workers.write_page, folder / "a.html", "old")[0] == str(folder / "a.html")
    outcome, _ = run(fault_workers.write_page, folder / "a.html", "new" * 300_000)
    assert isinstance(outcome, OSError)
    assert (folder / "a.html").read_text() == "old"
    assert [file.name for file in folder.iterdir()] == ["a.html"]


def test_weights_that_do_not_fit_on_the_disk_are_an_error(full_disk, toy):  # noqa: F811
    folder, run = full_disk
    environment = {**toy.environment(), "SKSPEECH_CACHE": str(folder)}
    (folder / "wheels").mkdir()
    shutil.copy(toy.wheel, folder / "wheels")
    outcome, _ = run(fault_workers.fetch, environment, toy.sha256, 200_000)
    assert isinstance(outcome, weights.WeightsError), outcome
    assert "SKSPEECH_CACHE" in str(outcome)
    assert not list(folder.rglob("*.safetensors"))
    assert not list(folder.glob(".unfinished-*"))
    outcome, _ = run(fault_workers.fetch, environment, toy.sha256)
    assert Path(outcome).is_file()


@pytest.fixture
def lock_folder(tmp_path):
    """Make a folder read-only: for root too, whom permissions don't stop."""
    with contextlib.ExitStack() as stack:

        def lock(folder):
            FIGURES["read-only folders"] += 1
            if os.geteuid():
                os.chmod(folder, 0o555)
                stack.callback(os.chmod, folder, 0o755)
            else:
                stack.enter_context(mounted(folder, "--bind", str(folder)))
                subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)

        yield lock


def test_a_read_only_cache_is_read_and_told_about_once(tmp_path, lock_folder, workers):
    folder = tmp_path / "cache"
    clips = [make_clip(number) for number in range(6)]
    clear()
    expected = fault_workers.transform(clips[:3], folder)
    for store in (folder / "skspeech").glob("*.sqlite"):
        with contextlib.closing(sqlite3.connect(store)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    lock_folder(folder)
    features, said = workers.run(fault_workers.report, fault_workers.transform, clips[:3], folder)
    assert_allclose(features, expected, rtol=1e-6)
    assert said == [], "what is remembered needs no writing"
    features, said = workers.run(fault_workers.report, fault_workers.transform, clips, folder)
    assert_allclose(features[:3], expected, rtol=1e-6)
    assert len(said) == 1
    assert "could not be used to write" in said[0]


def test_a_read_only_cache_of_weights_is_enough(kept, lock_folder, workers):  # noqa: F811
    call = (fault_workers.report, fault_workers.fetch, kept.environment(), kept.sha256)
    path, _ = workers.run(*call)
    weights.weights_path("two").unlink()
    lock_folder(kept.cache)
    assert workers.run(*call) == (path, [])
    with pytest.raises(weights.WeightsError, match="SKSPEECH_CACHE"):
        weights.fetch_weights("two", progress=False)


# Bits that flip -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_flipped_bits_in_a_cache_are_noticed(tmp_path):
    store = DiskStore(tmp_path / "whole")
    numbers = range(0, 1500, 10)
    store.set_many({f"key {number}": value_of(number) for number in numbers})
    store.close()
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = store.path.read_bytes()
    rng = random.Random(0)
    n_found = []
    for round_ in range(300):
        folder = tmp_path / "flipped"
        folder.mkdir(exist_ok=True)
        damaged = bytearray(content)
        # Every third one is in the first page: the file's own description.
        place = rng.randrange(4096 if round_ % 3 == 0 else len(damaged))
        damaged[place] ^= 1 << rng.randrange(8)
        one = DiskStore(folder)
        one.path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = one.get_many([f"key {number}" for number in numbers])
            for key, value in found.items():
                assert_array_equal(value, value_of(int(key.removeprefix("key "))))
            n_found.append(len(found))
            # Whatever was lost is computed and written again; at the latest the second time.
            for _ in range(2):
                missing = [n for n in numbers if f"key {n}" not in found]
                one.set_many({f"key {n}": value_of(n) for n in missing})
                found = DiskStore(folder).get_many([f"key {n}" for n in numbers])
        assert len(found) == len(numbers), f"bit in byte {place} stops the cache for good"
        one.close()
        FIGURES["flipped bits: cache"] += 1
        shutil.rmtree(folder)
    assert min(n_found) < len(numbers) <= max(n_found)


def test_a_flipped_bit_in_an_embedding_is_computed_again(tmp_path):
    clips = [make_clip(number) for number in range(5)]
    clear()
    expected = fault_workers.transform(clips, tmp_path)
    (path,) = tmp_path.rglob("*.sqlite")
    for seed in range(20):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            (key, value), *_ = connection.execute(
                "SELECT key, value FROM embeddings ORDER BY key LIMIT 1 OFFSET ?", (seed % 5,)
            )
            damaged = bytearray(value)
            damaged[random.Random(seed).randrange(len(value))] ^= 1 << seed % 8
            connection.execute("UPDATE embeddings SET value = ? WHERE key = ?", (damaged, key))
        clear()
        assert_allclose(fault_workers.transform(clips, tmp_path), expected, rtol=1e-4, atol=1e-4)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (mended,) = connection.execute(
                "SELECT value FROM embeddings WHERE key = ?", (key,)
            ).fetchone()
        assert mended != bytes(damaged)
        FIGURES["flipped bits: embedding"] += 1


# Crowds -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_that_embed_at_once_agree_though_some_are_killed(tmp_path, workers):
    clips = [make_clip(number) for number in range(24)]
    expected = SpectralStatistics(memory=False, n_jobs=1).transform(clips)
    with contextlib.ExitStack() as stack:
        arguments = (fault_workers.embed_for_ever, str(tmp_path), 24)
        started = [stack.enter_context(workers.start(*arguments)) for _ in range(4)]
        for _, results in started:
            assert results.recv() == "ready"
        for process, results in started[:2]:
            assert results.poll(60)
            process.kill()
            FIGURES["kills during: embed at once"] += 1
        for process, results in started[2:]:
            for _ in range(10):
                assert results.poll(60)
                numbers, features = results.recv()
                assert_allclose(features, expected[numbers], rtol=1e-4, atol=1e-4)
            assert process.is_alive()
    clear()
    assert_allclose(fault_workers.transform(clips, tmp_path), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def fitted():
    X = [make_clip(number) for number in range(40)]
    y = np.array(["low", "high"])[np.arange(40) % 20 // 10]
    members = [
        (
            "all",
            make_pipeline(SpectralStatistics(n_jobs=1), LogisticRegression(C=1e-6, max_iter=500)),
        ),
        (
            "own",
            make_pipeline(
                SpectralStatistics(n_jobs=1, memory=False, pooling=("mean",)), GaussianNB()
            ),
        ),
    ]
    return GeometricMeanVotingClassifier(members, weights=[2, 1]).fit(X, y)


@pytest.mark.slow
def test_predictions_from_many_threads_are_those_of_one(fitted):
    clips = [make_clip(100 + number) for number in range(50)]
    clear()
    expected = [fitted.predict_proba([clip]) for clip in clips]
    clear()
    rng = np.random.default_rng(0)
    asked = rng.permutation(np.repeat(np.arange(50), 12))
    barrier = threading.Barrier(16)

    def predict(part):
        barrier.wait(30)
        return [(number, fitted.predict_proba([clips[number]])) for number in part]

    with ThreadPoolExecutor(16) as pool:
        answers = [
            answer for part in pool.map(predict, np.array_split(asked, 16)) for answer in part
        ]
    assert len(answers) == 600
    for number, proba in answers:
        assert_allclose(proba, expected[number], rtol=1e-5, atol=1e-7)
    FIGURES["concurrent predictions"] += len(answers)


@pytest.mark.network
def test_networks_predict_the_same_from_many_threads():
    X = [make_clip(number) for number in range(12)]
    model = skspeech.SpeakerEmbeddingClassifier(memory=False, n_jobs=1).fit(X, np.arange(12) % 2)
    expected = np.vstack([model.predict_proba([clip]) for clip in X])
    with ThreadPoolExecutor(8) as pool:
        asked = np.tile(np.arange(12), 25)
        answers = list(pool.map(lambda number: model.predict_proba([X[number]])[0], asked))
    assert_allclose(answers, expected[asked], rtol=1e-4, atol=1e-5)
    FIGURES["concurrent predictions by a network"] += len(answers)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_predictions(fitted, monkeypatch):
    monkeypatch.setattr(memory_store(), "max_bytes", 1 << 20)
    clear()
    process = psutil.Process()
    rss = []
    for number in range(500):
        fitted.predict_proba([make_clip(1000 + number)])  # always a new one
        if number % 100 == 99:
            gc.collect()
            rss.append(process.memory_info().rss)
    growth = rss[-1] - rss[0]
    FIGURES["predictions while memory was watched"] += 500
    FIGURES["bytes that memory grew by in the last 400 of them"] += growth
    assert growth < 12e6
    assert memory_store().n_bytes <= 1 << 20
    clear()


def test_many_errors_leave_nothing_behind(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF" + bytes(100))
    process = psutil.Process()
    n_files, n_threads = (
        process.num_fds() if hasattr(process, "num_fds") else 0,
        threading.active_count(),
    )
    X = [str(tmp_path / "bad.wav"), str(tmp_path / "missing.wav"), np.zeros(100)]
    for _ in range(300):
        with pytest.raises(AudioError, match="2 of 3 clips"):
            load_waveforms(X, n_jobs=2)
    gc.collect()
    assert threading.active_count() <= n_threads
    if n_files:
        assert process.num_fds() <= n_files + 2
    FIGURES["errors in a row"] += 300
