"""Data sets: folders, verified downloads from a server on this machine, made-up clips."""

import hashlib
import http.server
import io
import os
import re
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score

from skspeech import _download  # to put a small data set in its place
from skspeech.datasets import (
    fetch_emodb,
    fetch_fsdd,
    fetch_voice_prompts,
    get_data_home,
    load_audio_folder,
    make_speech_like,
    make_tones,
    recordings,
)


def _write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(160), 16_000)


# Folders


def test_folder_with_one_level(tmp_path):
    _write(tmp_path, "yes/b.wav", "yes/a.flac", "no/c.WAV")
    (tmp_path / "yes" / "notes.txt").write_text("no audio")
    (tmp_path / "yes" / ".hidden.wav").write_text("no audio")
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("no class")
    bunch = load_audio_folder(tmp_path, description="Mine.")
    assert [Path(path).relative_to(tmp_path).as_posix() for path in bunch.data] == [
        "no/c.WAV",
        "yes/a.flac",
        "yes/b.wav",
    ]
    assert all(isinstance(path, str) for path in bunch.data)
    assert bunch.target.tolist() == [0, 1, 1]
    assert bunch.target_names == ["no", "yes"]
    assert bunch.groups is None
    assert bunch.DESCR == "Mine."


def test_folder_with_a_second_level(tmp_path):
    _write(tmp_path, "no/ben/1.wav", "no/anna/1.wav", "yes/anna/monday/1.wav")
    bunch = load_audio_folder(str(tmp_path))
    assert bunch.groups.tolist() == ["anna", "ben", "anna"]
    assert bunch.target.tolist() == [0, 0, 1]
    assert str(tmp_path) in bunch.DESCR


def test_the_odd_clip_is_named_where_all_others_have_no_second_level(tmp_path):
    _write(tmp_path, "no/1.wav", "no/2.wav", "yes/1.wav", "yes/deep/2.wav")
    with pytest.raises(ValueError, match=r"1 of 4 clips is in a folder below .*deep.2\.wav'"):
        load_audio_folder(tmp_path).groups  # noqa: B018


def test_folder_with_a_second_level_for_some_clips(tmp_path):
    _write(tmp_path, "no/ben/1.wav", "yes/loose.wav")
    with pytest.raises(ValueError, match=r"1 of 2 clips is in the folder .*loose\.wav.* Move all"):
        load_audio_folder(tmp_path)


@pytest.mark.parametrize(("folder", "what"), [("no", "class"), ("yes/anna", "group")])
def test_a_folder_whose_name_is_no_text_can_name_no_class_or_group(tmp_path, folder, what):
    _write(tmp_path, "no/ben/1.wav", "yes/anna/1.wav")
    os.rename(tmp_path / folder, (tmp_path / folder).with_name("caf\udce9"))
    with pytest.raises(ValueError, match=rf"can't name a {what}: caf\\udce9\. Rename that folder"):
        load_audio_folder(tmp_path)


def test_target_may_be_names(tmp_path):
    _write(tmp_path, "no/1.wav", "yes/1.wav")
    bunch = load_audio_folder(tmp_path, target="name")
    assert bunch.target.tolist() == ["no", "yes"]
    assert bunch.target_names == ["no", "yes"]
    _, target = load_audio_folder(tmp_path, target="name", return_X_y=True)
    assert target.tolist() == ["no", "yes"]
    with pytest.raises(ValueError, match="'target' parameter of load_audio_folder"):
        load_audio_folder(tmp_path, target="names")


def test_chosen_categories(tmp_path):
    _write(tmp_path, "a/1.wav", "b/1.wav", "c/1.wav")
    bunch = load_audio_folder(tmp_path, categories=["c", "a"])
    assert bunch.target_names == ["a", "c"]
    data, target = load_audio_folder(tmp_path, categories=np.array(["b"]), return_X_y=True)
    assert data == [str(tmp_path / "b" / "1.wav")]
    assert target.tolist() == [0]
    with pytest.raises(ValueError, match=r"categories names 'd'.*'a', 'b', 'c'"):
        load_audio_folder(tmp_path, categories=["a", "d"])
    with pytest.raises(ValueError, match="categories names no class"):
        load_audio_folder(tmp_path, categories=[])


def test_folder_that_is_none(tmp_path):
    with pytest.raises(NotADirectoryError, match="a sub-folder for each class"):
        load_audio_folder(tmp_path / "missing")


def test_folder_without_classes(tmp_path):
    with pytest.raises(ValueError, match=r"has no sub-folders\. Put"):
        load_audio_folder(tmp_path)


def test_the_folder_of_one_class(tmp_path):
    _write(tmp_path, "happy/1.wav")
    one_class = tmp_path / "happy"
    above = re.escape(str(tmp_path))
    with pytest.raises(ValueError, match=f"has no sub-folders.*give the folder above, '{above}'"):
        load_audio_folder(one_class)
    (one_class / "notes").mkdir()
    with pytest.raises(ValueError, match=f"No audio files in 'notes'.*folder above, '{above}'"):
        load_audio_folder(one_class)


def test_folders_that_are_no_classes(tmp_path):
    _write(tmp_path, "a/1.wav", "__MACOSX/a/1.wav", "a/__MACOSX/2.wav", "a/.trash/3.wav")
    (tmp_path / "b").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "1.txt").write_text("no audio")
    with pytest.warns(UserWarning, match=r"without audio files .* left out: 'b', 'notes'\.$"):
        bunch = load_audio_folder(tmp_path)
    assert bunch.data == [str(tmp_path / "a" / "1.wav")]
    assert bunch.target_names == ["a"]
    assert bunch.groups is None


def test_recordings_of_no_class_are_told(tmp_path):
    _write(tmp_path, "a/1.wav", "loose.wav", "._loose.wav", ".hidden.wav")
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "b.wav").mkdir()
    _write(tmp_path, "b.wav/1.wav")
    with pytest.warns(UserWarning, match=r"have no class: 'loose\.wav'\. Move them"):
        bunch = load_audio_folder(tmp_path)
    assert bunch.target_names == ["a", "b.wav"]
    assert [Path(clip).name for clip in bunch.data] == ["1.wav", "1.wav"]
    load_audio_folder(tmp_path, categories=["a"])  # who chooses need not be told


def test_no_class_has_clips_or_a_wanted_one_has_none(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"No audio files in 'b' .*\.wav"):
        load_audio_folder(tmp_path)
    _write(tmp_path, "a/1.wav")
    with pytest.raises(ValueError, match=r"No audio files in 'b' .*\.wav"):
        load_audio_folder(tmp_path, categories=["a", "b"])


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match=r"'path' parameter of load_audio_folder must be"):
        load_audio_folder(3)


# Where data sets live


def test_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("SKSPEECH_DATA", str(tmp_path))
    assert get_data_home() == tmp_path
    assert get_data_home("~/audio") == Path.home() / "audio"
    monkeypatch.delenv("SKSPEECH_DATA")
    assert get_data_home().name == "skspeech"


# Real recordings


@pytest.mark.data
def test_fsdd(data_home):
    bunch = fetch_fsdd(data_home=data_home, download_if_missing=False)
    assert len(bunch.data) == len(bunch.target) == len(bunch.groups) == 3000
    assert bunch.target_names == list("0123456789")
    assert np.bincount(bunch.target).tolist() == [300] * 10
    assert set(bunch.groups) == {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
    assert sorted(set(bunch.take)) == list(range(50))
    for path, digit, speaker in zip(bunch.data, bunch.target, bunch.groups, strict=True):
        assert Path(path).name.startswith(f"{digit}_{speaker}_")
    assert "CC" in bunch.DESCR or "Creative Commons" in bunch.DESCR


@pytest.mark.data
def test_fsdd_speakers(data_home, monkeypatch):
    monkeypatch.setenv("SKSPEECH_DATA", str(data_home))
    bunch = fetch_fsdd(task="speaker", download_if_missing=False)
    assert len(bunch.target_names) == 6
    assert set(bunch.groups) == set("0123456789")
    assert np.array_equal(np.array(bunch.target_names)[bunch.target], bunch.speaker)


@pytest.mark.data
def test_emodb(data_home):
    bunch = fetch_emodb(data_home=data_home, download_if_missing=False)
    counts = dict(zip(bunch.target_names, np.bincount(bunch.target).tolist(), strict=True))
    # The numbers that its authors publish.
    assert counts == {
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "neutral": 79,
        "sadness": 62,
    }
    assert len(set(bunch.groups)) == 10
    speakers = fetch_emodb(task="speaker", data_home=data_home)
    assert np.array_equal(np.array(speakers.target_names)[speakers.target], bunch.groups)
    assert len(set(speakers.groups)) == 10
    data, target = fetch_emodb(data_home=data_home, return_X_y=True)
    assert data == bunch.data
    assert np.array_equal(target, bunch.target)


@pytest.mark.data
def test_a_changed_recording_is_named(data_home, tmp_path):
    folder = tmp_path / "emodb" / "wav"
    shutil.copytree(data_home / "emodb" / "wav", folder)
    path = folder / "03a01Wa.wav"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (folder / "16b10Wb.wav").unlink()
    with pytest.raises(OSError, match=r"2 of the 535 .*03a01Wa\.wav \(differs\), 16b10Wb\.wav"):
        fetch_emodb(data_home=tmp_path)


@pytest.mark.parametrize("fetch", [fetch_fsdd, fetch_emodb, fetch_voice_prompts])
def test_missing_data_say_what_to_do(fetch, tmp_path):
    with pytest.raises(OSError, match=rf"{fetch.__name__}\(\) to download it; SKSPEECH_DATA"):
        fetch(data_home=tmp_path, download_if_missing=False)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("fetch", [fetch_fsdd, fetch_emodb])
def test_unknown_task(fetch):
    with pytest.raises(ValueError, match=r"'task' parameter of fetch_.* must be a str among"):
        fetch(task="weather")


# Downloads

FILES = {"1_a_0.wav": b"one", "2_b_1.wav": b"two", "3_a_2.wav": b"three"}


@pytest.fixture
def manifest(monkeypatch):
    """A small data set called fsdd."""

    class Small(_download.Manifest):
        def __init__(self, name):
            whole = {n: hashlib.sha256(content).hexdigest() for n, content in FILES.items()}
            self.files = {n: digest[:16] for n, digest in whole.items()}
            listing = "".join(f"{n} {digest}\n" for n, digest in whole.items())
            self.digest = hashlib.sha256(listing.encode()).hexdigest()

    monkeypatch.setattr(_download, "Manifest", Small)


def _tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine in the place of the public one; ``serve(content)`` sets what."""
    served = {"content": None, "requests": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            served["requests"] += 1
            if served["content"] is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(served["content"])))
            self.end_headers()
            self.wfile.write(served["content"])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(
            recordings, "_FSDD_URL", f"http://127.0.0.1:{httpd.server_port}/digits.archive"
        )
        yield served
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("pack", [_tar, _zip])
def test_download(pack, manifest, server, tmp_path):
    more = {"top/README.md": b"text", "top/recordings/4_c_0.wav": b"not listed"}
    server["content"] = pack({f"top/recordings/{n}": c for n, c in FILES.items()} | more)
    bunch = fetch_fsdd(data_home=tmp_path, progress=False)
    assert {Path(p).name: Path(p).read_bytes() for p in bunch.data} == FILES
    folder = tmp_path / "fsdd" / "recordings"
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert [p for p in folder.parent.iterdir() if p.name.startswith(".fetching")] == []
    assert bunch.digit.tolist() == ["1", "2", "3"]

    fetch_fsdd(data_home=tmp_path)
    assert server["requests"] == 1


def test_download_shows_progress(manifest, server, tmp_path, capsys):
    server["content"] = _tar(FILES)
    fetch_fsdd(data_home=tmp_path)
    assert "100%" in capsys.readouterr().err


def test_archive_that_is_another_one(manifest, server, tmp_path):
    server["content"] = _tar({**FILES, "2_b_1.wav": b"other"})
    with pytest.raises(OSError, match=r"does not hold .* 1 differ, such as 2_b_1\.wav \(differs\)"):
        fetch_fsdd(data_home=tmp_path, progress=False)
    assert not (tmp_path / "fsdd" / "recordings").exists()


@pytest.mark.parametrize("pack", [_tar, _zip])
@pytest.mark.parametrize("evil", ["../1_a_0.wav", "/tmp/1_a_0.wav", "a/../../1_a_0.wav"])
def test_archive_that_points_outside(pack, evil, manifest, server, tmp_path):
    server["content"] = pack({**FILES, evil: b"one"})
    with pytest.raises(OSError, match="points outside"):
        fetch_fsdd(data_home=tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.wav"))


def test_links_in_an_archive_are_not_followed(manifest, tmp_path):
    buffer = io.BytesIO()
    secret = tmp_path / "secret"
    secret.write_bytes(b"one")
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("1_a_0.wav")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    archive = tmp_path / "links.tar"
    archive.write_bytes(buffer.getvalue())
    folder = tmp_path / "out"
    folder.mkdir()
    _download._unpack(archive, FILES, folder)
    assert not any(folder.iterdir())


@pytest.mark.parametrize("content", [_tar(FILES)[:-30], _zip(FILES)[:-30], b"<html>", b""])
def test_download_that_is_no_whole_archive(content, manifest, server, tmp_path):
    server["content"] = content
    with pytest.raises(OSError, match=r"digits\.archive is not a whole archive: .* call again"):
        fetch_fsdd(data_home=tmp_path, progress=False)
    assert not (tmp_path / "fsdd" / "recordings").exists()


def test_download_that_fails(manifest, server, tmp_path):
    with pytest.raises(OSError, match=r"fsdd is not in .* cannot be downloaded .*404.* network"):
        fetch_fsdd(data_home=tmp_path, progress=False)
    assert not (tmp_path / "fsdd" / "recordings").exists()


def test_two_at_once_download_once(manifest, server, tmp_path):
    server["content"] = _tar(FILES)
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(fetch_fsdd(data_home=tmp_path, progress=False).data)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(data == results[0] for data in results)
    assert server["requests"] == 1


def test_data_home_that_cannot_be_written(manifest, server, tmp_path):
    (tmp_path / "fsdd").write_text("a file in the way")
    with pytest.raises(OSError, match=r"Cannot write a download to .* Set SKSPEECH_DATA"):
        fetch_fsdd(data_home=tmp_path, progress=False)


# Voice prompts


def _fake_debian(folder, monkeypatch, *, fail=None):
    """Stand-ins for apt-get and dpkg-deb that know one prompt, a beep and an empty file."""
    folder.mkdir()
    fail = f"echo '{fail}' >&2; exit 100" if fail else ""
    (folder / "apt-get").write_text(
        f'#!/bin/sh\n{fail}\nfor p; do :; done; touch "${{p}}_1_all.deb"'
    )
    (folder / "dpkg-deb").write_text(
        '#!/bin/sh\nvoice="$3/usr/share/asterisk/sounds/voice"\n'
        'mkdir -p "$voice/silence" "$voice/digits"\n'
        'for f in beep silence/1 digits/7; do head -c 100 /dev/zero > "$voice/$f.wav"; done\n'
        'head -c 44 /dev/zero > "$voice/empty.wav"\n'
    )
    for tool in folder.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(os.name != "posix", reason="the stand-ins are shell scripts")
def test_voice_prompts_keep_speech_only(tmp_path, monkeypatch):
    _fake_debian(tmp_path / "bin", monkeypatch)
    home = tmp_path / "home"
    bunch = fetch_voice_prompts(languages=["ru", "en"], data_home=home, progress=False)
    assert bunch.target_names == ["en", "ru"]
    assert bunch.target.tolist() == [0, 1]
    assert bunch.groups.tolist() == ["digits/7", "digits/7"]
    assert "one voice" in bunch.DESCR
    monkeypatch.setenv("PATH", "")  # nothing is fetched twice
    again = fetch_voice_prompts(languages=["en", "ru"], data_home=home)
    assert again.data == bunch.data


def test_voice_prompts_without_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"Debian packages, and this machine has no apt-get"):
        fetch_voice_prompts(data_home=tmp_path, progress=False)


@pytest.mark.skipif(os.name != "posix", reason="the stand-ins are shell scripts")
def test_voice_prompts_without_network(tmp_path, monkeypatch):
    _fake_debian(tmp_path / "bin", monkeypatch, fail="Temporary failure resolving")
    with pytest.raises(OSError, match=r"(?s)cannot be had.*failure resolving.*there is a network"):
        fetch_voice_prompts(data_home=tmp_path, progress=False)
    assert sorted(p.name for p in (tmp_path / "voice_prompts").iterdir()) == [".lock"]


@pytest.mark.parametrize("languages", [["en"], ["en", "de"], []])
def test_voice_prompts_in_other_languages(languages):
    with pytest.raises(ValueError, match="two or more of en, es, fr, it, ru"):
        fetch_voice_prompts(languages=languages)


@pytest.mark.network
@pytest.mark.slow
def test_voice_prompts(tmp_path):
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt-get")
    try:
        bunch = fetch_voice_prompts(languages=["it", "fr"], data_home=tmp_path, progress=False)
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs the network: {error}")
    assert bunch.target_names == ["fr", "it"]
    assert np.bincount(bunch.target).min() > 500
    both = {g for g in set(bunch.groups) if np.sum(bunch.groups == g) == 2}
    assert len(both) > 450
    assert not [g for g in bunch.groups if "beep" in g or "silence/" in g]
    assert min(soundfile.info(path).duration for path in bunch.data) > 0.05


# Made-up clips


@pytest.mark.parametrize(("make", "loudest"), [(make_tones, 1.5), (make_speech_like, 1.0)])
def test_made_clips(make, loudest):
    bunch = make(20, n_classes=3, random_state=0)
    assert len(bunch.data) == len(bunch.target) == 20
    assert sorted(np.bincount(bunch.target)) == [6, 7, 7]
    assert len(set(bunch.target_names)) == 3
    for waveform in bunch.data:
        assert waveform.dtype == np.float32
        assert waveform.ndim == 1
        assert np.isfinite(waveform).all()
        assert 0.05 < np.abs(waveform).max() <= loudest
    assert bunch.DESCR
    same, other = make(20, n_classes=3, random_state=0), make(20, n_classes=3, random_state=1)
    assert all(np.array_equal(a, b) for a, b in zip(bunch.data, same.data, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(bunch.data, other.data, strict=True))
    data, target = make(20, n_classes=3, random_state=0, return_X_y=True)
    assert np.array_equal(data[0], bunch.data[0])
    assert np.array_equal(target, bunch.target)


@pytest.mark.parametrize("make", [make_tones, make_speech_like])
@pytest.mark.parametrize("parameter", ["n_samples", "n_classes", "duration", "sampling_rate"])
def test_made_clips_check_their_parameters(make, parameter):
    with pytest.raises(ValueError, match=f"'{parameter}' parameter of {make.__name__} must be"):
        make(**{parameter: -1})


@pytest.mark.parametrize("sampling_rate", [8_000, 16_000, 44_100])
def test_made_clips_have_the_rate_and_length_asked_for(sampling_rate):
    tones = make_tones(3, duration=0.5, sampling_rate=sampling_rate, random_state=0).data
    assert {len(waveform) for waveform in tones} == {sampling_rate // 2}
    words = make_speech_like(30, duration=0.9, sampling_rate=sampling_rate, random_state=0).data
    seconds = np.array([len(waveform) for waveform in words]) / sampling_rate
    assert 0.6 < seconds.min() < seconds.max() < 1.2


def test_tones_have_the_pitch_that_their_class_says():
    bunch = make_tones(40, n_classes=8, noise=0.05, random_state=0)
    for waveform, label in zip(bunch.data, bunch.target, strict=True):
        pitch = float(bunch.target_names[label].split()[0])
        strongest = np.argmax(np.abs(np.fft.rfft(waveform)))  # in Hz: the clip lasts a second
        assert abs(12 * np.log2(strongest / pitch)) < 0.5


def _spectral_shape(waveform):
    """Mean and deviation over time of 20 cepstral coefficients."""
    import librosa

    cepstrum = librosa.feature.mfcc(y=waveform, sr=16_000, n_fft=512, hop_length=160, n_mels=40)
    return np.concatenate([cepstrum.mean(axis=1), cepstrum.std(axis=1)])


@pytest.mark.slow
def test_speech_like_words_are_separable_but_not_trivial():
    bunch = make_speech_like(240, n_classes=6, n_speakers=8, random_state=0)
    assert len(set(bunch.groups)) == 8
    assert (
        len(set(zip(bunch.target, bunch.groups, strict=True))) == 48
    )  # every word by every speaker
    features = np.array([_spectral_shape(waveform) for waveform in bunch.data])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    scores = cross_val_score(
        LogisticRegression(max_iter=1000),
        features,
        bunch.target,
        groups=bunch.groups,
        cv=GroupKFold(4),
        scoring="balanced_accuracy",
    )
    assert 0.8 < scores.mean() < 0.99
    # Loudness alone must not tell the words apart.
    loudness = np.array([[np.log(waveform.std())] for waveform in bunch.data])
    alone = cross_val_score(
        LogisticRegression(), loudness, bunch.target, groups=bunch.groups, cv=GroupKFold(4)
    )
    assert alone.mean() < 0.35
