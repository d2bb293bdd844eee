"""The web service of the example: whatever comes in, an answer goes out, and nothing is printed."""

import http.client
import io
import json
import re
import socket
import struct
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

EXAMPLE = Path(__file__).parents[1] / "examples" / "deploy.py"
SECONDS = 0.3  # that the service waits for a byte


class Loudness:
    """In the model's place: what it gets decides what it says."""

    classes_ = np.array(["loud", "quiet"])

    def predict_proba(self, X):
        return [[p, 1 - p] for p in (min(1, 2 * float(abs(x).max())) for x in X)]


@pytest.fixture(scope="module")
def port():
    """Of a server that runs what the example defines."""
    cells = EXAMPLE.read_text().split("# %%\n")
    code = {"model": Loudness()}
    exec(re.split(r"^import skspeech$", cells[0], flags=re.MULTILINE)[0], code)
    exec("from skspeech.audio import SAMPLING_RATE, as_clips", code)
    for cell in cells:
        if re.search(r"^(class Service|def classify)", cell, re.MULTILINE):
            exec(cell, code)
    service = type("Service", (code["Service"],), {"timeout": SECONDS})
    server = ThreadingHTTPServer(("127.0.0.1", 0), service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


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


def post(port, content):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/", body=content)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def send(port, *headers, body=b"", hang_up=True):
    """Status and reason for what no proper client would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = ["POST / HTTP/1.1", "Host: here", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.load(answer)["error"]


@pytest.mark.parametrize(
    "size", ["many", "-5", "+5", "1_0", "5.0", "0x5", "", "5, 6", "5\r\nContent-Length: 6", "٥"]
)
def test_a_size_that_is_no_number(port, size):
    status, error = send(port, f"Content-Length: {size}", body=b"12345")
    assert (status, "Content-Length" in error) == (411 if not size else 400, True)


@pytest.mark.parametrize("size", ["10000001", "9" * 5000])
def test_a_body_that_would_be_too_large(port, size):
    assert send(port, f"Content-Length: {size}", body=b"12345")[0] == 413


def test_who_sends_too_much_sees_why(port):
    status, answer = post(port, bytes(30_000_000))
    assert status == 413
    assert "10000000 bytes at most" in answer["error"]


def test_a_body_without_a_size_or_in_chunks(port):
    assert send(port)[0] == 411
    assert send(port, "Transfer-Encoding: chunked", body=b"5\r\n12345\r\n0\r\n\r\n")[0] == 411
    both = ("Content-Length: 5", "Transfer-Encoding: chunked")
    assert send(port, *both, body=b"12345")[0] == 411


def test_an_empty_body(port):
    assert post(port, b"") == (400, {"error": "The body is empty."})


def test_half_a_body(port):
    body = sound(np.ones(1000))
    headers = f"Content-Length: {len(body)}"
    status, error = send(port, headers, body=body[:1000])
    assert (status, error) == (400, f"The body ended after 1000 of {len(body)} bytes.")
    status, error = send(port, headers, body=body[:1000], hang_up=False)
    assert (status, error) == (408, "The rest of the body did not come.")


@pytest.mark.parametrize("n_sent", [0, 100, 2044])
def test_an_asker_who_goes_away(port, n_sent):
    body = sound(np.ones(1000))
    assert len(body) == 2044
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: 2044\r\n\r\n" + body[:n_sent])
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
    assert answer["error"].startswith("The recording ")
    assert error in answer["error"]


@pytest.mark.parametrize(
    ("content", "remarks"),
    [
        (sound(np.zeros(8000)), ["is silent"]),
        (sound(0.5 * np.ones(1)), ["too short"]),
        (sound(np.zeros(1)), ["too short", "is silent"]),
        (sound(0.5 * np.ones(16_000))[:20_000], ["broke off"]),
        (sound(0.1 * np.ones(61 * 16_000), format="FLAC"), ["first 60 s"]),
    ],
    ids=["silence", "one sample", "one silent sample", "half a WAV", "too long"],
)
def test_what_says_little_is_remarked_on(port, content, remarks):
    status, answer = post(port, content)
    assert status == 200
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert len(answer["remarks"]) == len(remarks)
    for part, remark in zip(remarks, answer["remarks"], strict=True):
        assert part in remark


def test_nobody_asks_for_files_of_the_server(port, write):
    status, answer = post(port, write("secret.wav", np.ones(8000)).encode())
    assert status == 400
    assert "is not audio" in answer["error"]


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
