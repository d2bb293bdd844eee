"""The web service: whatever comes in, an answer goes out, and nothing is printed."""

import http.client
import io
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import soundfile
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import skspeech
from skspeech import (
    SpeakerEmbeddingClassifier,
    SpectralStatistics,
    UnknownRejector,
    __version__,
    cache,
)
from skspeech.cli import main
from skspeech.serving import create_app, hear

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

SECONDS = 1.0  # that the service waits for a file
MAX_BYTES = 10_000_000


class Loudness:
    """In the model's place: what it gets decides what it says."""

    classes_ = np.array(["loud", "quiet"])

    def predict_proba(self, X):
        return [[p, 1 - p] for p in (min(1, 2 * float(abs(x).max())) for x in X)]

    def predict(self, X):
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]


class Slow(Loudness):
    """It answers when it is told to."""

    def __init__(self):
        self.may_go, self.was_asked = threading.Event(), threading.Event()
        self.may_go.set()

    def predict_proba(self, X):
        self.was_asked.set()
        assert self.may_go.wait(20)
        return super().predict_proba(X)


@pytest.fixture(scope="module")
def serve():
    """Start a service in a thread, return its port."""
    running = []

    def serve(model, **options):
        listener = socket.create_server(("127.0.0.1", 0))
        app = create_app(model, **options)
        config = uvicorn.Config(app, lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, listener))
        return listener.getsockname()[1]

    yield serve
    for server, thread, listener in running:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(serve):
    return serve(Loudness(), max_bytes=MAX_BYTES, timeout=SECONDS)


@pytest.fixture(autouse=True)
def quiet(port, capfd):
    """Nothing is printed, and who asks properly still gets an answer."""
    yield
    status, answer = post(port, sound(0.4 * np.ones(8000)))
    assert (status, answer["label"], answer["remarks"]) == (200, "loud", [])
    assert capfd.readouterr() == ("", "")


def sound(samples, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, **{"format": "WAV"} | options)
    return file.getvalue()


def post(port, content, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/predict", body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def send(port, *headers, body=b"", hang_up=True):
    """Status and reason for what no proper client would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = ["POST /predict HTTP/1.1", "Host: here", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.load(answer)["detail"]


@pytest.mark.parametrize("size", ["many", "-5", "+5", "1_0", "5.0", "5, 6"])
def test_a_size_that_is_no_number(port, size):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = ["POST /predict HTTP/1.1", "Host: here", f"Content-Length: {size}", "", "12345"]
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_who_sends_too_much_sees_why(port):
    status, answer = post(port, bytes(30_000_000))
    assert status == 413
    assert "10000000 bytes at most" in answer["detail"]


def test_a_body_without_a_size_or_in_chunks(port):
    assert send(port, hang_up=False)[0] == 400
    wav = sound(0.4 * np.ones(8000))
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(wav), wav)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        head = b"POST /predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + chunks)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_an_empty_body(port):
    assert post(port, b"") == (400, {"detail": "There is no recording: the body is empty."})


def test_half_a_body(port):
    body = sound(np.ones(1000))
    status, error = send(port, f"Content-Length: {len(body)}", body=body[:1000], hang_up=False)
    assert (status, error) == (408, "The rest of the recording did not come.")


@pytest.mark.parametrize("n_sent", [0, 100, 2044])
def test_an_asker_who_goes_away(port, n_sent):
    body = sound(np.ones(1000))
    assert len(body) == 2044
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(b"POST /predict HTTP/1.0\r\nContent-Length: 2044\r\n\r\n" + body[:n_sent])
    # Closed like this, the connection is reset at once.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"not a sound file", "is not audio"),
        (sound(np.zeros(0)), "is empty"),
        (sound(np.full(99, np.nan), subtype="FLOAT"), "not finite"),
        (sound(np.random.default_rng(0).normal(size=32_000), format="FLAC")[:20_000], "cut off"),
        (b"clip.wav", "is not audio"),
    ],
    ids=["text", "no samples", "NaN", "half a FLAC", "a name"],
)
def test_what_is_no_recording(port, content, error):
    status, answer = post(port, content)
    assert status == 400
    assert answer["detail"].startswith("The recording ")
    assert error in answer["detail"]


@pytest.mark.parametrize(
    ("content", "remarks"),
    [
        (sound(np.zeros(8000)), ["is silent"]),
        (sound(np.full(8000, 5e-4)), ["is silent"]),
        (sound(0.5 * np.ones(1)), ["too short"]),
        (sound(np.zeros(1)), ["too short", "is silent"]),
        (sound(0.5 * np.ones(16_000))[:20_000], ["broke off"]),
        (sound(0.1 * np.ones(61 * 16_000), format="FLAC"), ["first 60 s"]),
    ],
    ids=["silence", "nearly silence", "one sample", "one silent sample", "half a WAV", "too long"],
)
def test_what_says_little_is_remarked_on(port, content, remarks):
    status, answer = post(port, content)
    assert status == 200
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert len(answer["remarks"]) == len(remarks)
    for part, remark in zip(remarks, answer["remarks"], strict=True):
        assert part in remark


@pytest.mark.parametrize("seconds", [0.5, 1 / 3])
def test_what_was_not_heard_is_remarked_on(seconds):
    remarks = hear(Loudness(), ["loud", "quiet"], sound(np.ones(16_000)), seconds)["remarks"]
    assert remarks == [f"Only the first {seconds:g} s were used."]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        lambda model: GridSearchCV(model, {"threshold": [2.0]}, cv=2),
        lambda model: make_pipeline(model.estimator[0], model.set_params(estimator=GaussianNB())),
        lambda model: UnknownRejector(model, target=1e-9, random_state=0),
    ],
    ids=["alone", "search", "pipeline", "rejector"],
)
def test_a_model_that_decides_by_a_threshold_answers_by_it(wrap, tones):
    model = make_pipeline(SpectralStatistics(), GaussianNB())
    model = wrap(FixedThresholdClassifier(model, threshold=2.0))  # which no probability reaches
    model.fit(tones[0], np.where(np.asarray(tones[1]) == "low", "low", "other"))
    names = model.classes_.tolist()
    for answers in (model, FrozenEstimator(model)):
        heard = [hear(answers, names, sound(clip), 60.0) for clip in tones[0][:9]]
        assert [answer["label"] for answer in heard] == model.predict(tones[0][:9]).tolist()
        assert "other" not in [answer["label"] for answer in heard]
        said = [answer["probability"] for answer in heard]
        assert said == [answer["probabilities"][answer["label"]] for answer in heard]
        assert min(said) < 0.5


class Picky(Loudness):
    """Fails on clips longer than a second, and is lost after two."""

    def predict_proba(self, X):
        if len(X[0]) > 32_000:
            return [[np.nan, np.nan]]
        if len(X[0]) > 16_000:
            raise ValueError("too long for me")
        return super().predict_proba(X)


@pytest.mark.parametrize(
    ("n_samples", "reason"), [(20_000, "too long for me"), (40_000, "values that are no prob")]
)
def test_a_fault_of_the_model_is_not_the_recordings(serve, caplog, n_samples, reason):
    port = serve(Picky())
    status, answer = post(port, sound(0.4 * np.ones(n_samples)))
    assert status == 500
    assert answer["detail"].startswith("The model can't classify")
    assert reason in caplog.text
    assert post(port, sound(0.4 * np.ones(8000)))[0] == 200


class Grumbling(Loudness):
    def predict_proba(self, X):
        warnings.warn("The cache in /srv/secret is full.", stacklevel=2)
        return super().predict_proba(X)


def test_warnings_of_the_model_stay_on_the_server(serve):
    with pytest.warns(UserWarning, match="secret"):
        status, answer = post(serve(Grumbling()), sound(0.5 * np.ones(16_000))[:20_000])
    assert status == 200
    (remark,) = answer["remarks"]
    assert remark.startswith("The recording holds 19956 of the 32000 bytes")


def test_nobody_asks_for_files_of_the_server(port, write):
    status, answer = post(port, write("secret.wav", np.ones(8000)).encode())
    assert status == 400
    assert "is not audio" in answer["detail"]


def test_remarks_go_to_who_asked(port):
    half, whole = sound(0.5 * np.ones(16_000))[:20_000], sound(0.5 * np.ones(16_000))
    answers = [None] * 8

    def ask(i):
        answers[i] = post(port, whole if i % 2 else half)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(answer["remarks"]) for _, answer in answers] == [1, 0] * 4


# ------------------------------------------------------------------------------ forms


def form(*contents, field="file"):
    """Body and header of a form with files."""
    head = b'--edge\r\nContent-Disposition: form-data; name="%s"; filename="a.wav"\r\n\r\n'
    parts = [head % field.encode() + content + b"\r\n" for content in contents]
    return b"".join(parts) + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def test_a_form_with_a_file_is_answered_as_the_file(port):
    wav = sound(0.3 * np.ones(8000))
    body, headers = form(wav)
    assert post(port, body, **headers) == post(port, wav)


def test_a_large_form_is_not_written_to_disk(port, monkeypatch):
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", None)
    wav = sound(0.3 * np.ones(1_000_000))
    body, headers = form(wav)
    assert post(port, body, **headers) == post(port, wav)


@pytest.mark.parametrize("n_files", [0, 2, 3])
def test_a_form_without_one_file(port, n_files):
    body, headers = form(*[sound(np.ones(100))] * n_files)
    status, answer = post(port, body, **headers)
    assert (status, "form" in answer["detail"]) == (422, True)


def test_a_form_that_is_none(port):
    _, headers = form()
    status, answer = post(port, b"no edge anywhere", **headers)
    assert (status, "form" in answer["detail"]) == (422, True)


# ------------------------------------------------------------------------------ models


def test_health_and_model_are_told_while_a_clip_is_classified_and_too_many_wait(serve):
    model = Slow()
    port = serve(model, max_waiting=1)
    model.may_go.clear()
    model.was_asked.clear()
    wav, answers = sound(0.4 * np.ones(8000)), []
    asker = threading.Thread(target=lambda: answers.append(post(port, wav)))
    asker.start()
    assert model.was_asked.wait(20)
    assert post(port, wav)[0] == 503
    assert get(port, "/health") == {"status": "ok"}
    about = get(port, "/model")
    assert about["classes"] == ["loud", "quiet"]
    assert about["skspeech"] == __version__
    model.may_go.set()
    asker.join()
    assert answers[0][0] == 200
    assert set(get(port, "/openapi.json")["paths"]) == {"/predict", "/health", "/model"}


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return json.load(answer)
    finally:
        connection.close()


@pytest.mark.parametrize("model", [GaussianNB(), LinearSVC().fit([[0.0], [1.0]], [0, 1])])
def test_a_model_that_takes_no_clips(model):
    with pytest.raises(ValueError, match=r"no fitted classifier|can't classify a clip"):
        create_app(model)


def test_the_command_answers_as_the_model_and_ends(tones, tmp_path):
    X, y = tones
    model = SpeakerEmbeddingClassifier().fit(X[:12], y[:12])
    path = tmp_path / "tones.skspeech"
    skspeech.save(model, path)
    command = [sys.executable, "-m", "skspeech", "serve", str(path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = process.stderr.readline()
            port = int(said.split(":")[2].split(".")[0])
            answers = [None] * len(X)

            def ask(i):
                answers[i] = post(port, sound(X[i], subtype="FLOAT"))

            threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(X))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            taken = subprocess.run(
                [*command[:-1], str(port)], capture_output=True, text=True, check=False
            )
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
        assert process.stderr.read() == ""
    assert taken.returncode == 2
    assert "Can't listen" in taken.stderr
    for (status, answer), row, label in zip(
        answers, model.predict_proba(X), model.predict(X), strict=True
    ):
        assert (status, answer["label"]) == (200, label)
        assert list(answer["probabilities"]) == model.classes_.tolist()
        np.testing.assert_allclose(list(answer["probabilities"].values()), row, atol=1e-4)


def test_a_request_to_end_is_heard_while_the_model_loads(tmp_path, monkeypatch, capfd):
    """Also as the first process of a container, for which the system's default is to ignore it."""

    def load(*_):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("ignored")

    path = tmp_path / "model.skspeech"
    path.touch()
    monkeypatch.setattr("skspeech.cli.serve.load_classifier", load)
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    remembered = cache.memory_store().max_bytes
    try:
        assert main(["serve", str(path), "--port", "0"]) == 130
        assert cache.memory_store().max_bytes == remembered
    finally:
        signal.signal(signal.SIGTERM, former)
    assert capfd.readouterr().err == "\nInterrupted.\n"
