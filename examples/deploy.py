"""
From a fit to a service
=======================

A model is trained once and asked often, by something that is not Python. This script saves one,
loads it, and puts it behind a small web service: clips come in by HTTP, labels and probabilities go
out as JSON. It uses nothing but the standard library, asks its own service a few questions, and
stops it.
"""

import contextlib
import io
import json
import socket
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import soundfile

import skspeech
from skspeech import SpeakerEmbeddingClassifier
from skspeech.audio import SAMPLING_RATE, as_clips
from skspeech.datasets import make_speech_like

# %%
# Train, save, load
# -----------------
# Made-up words keep this short; any classifier, Pipeline or
# :class:`~skspeech.TimeBudgetClassifier` goes the same way.

clips = make_speech_like(60, n_classes=3, n_speakers=5, random_state=0)
labels = [clips.target_names[code] for code in clips.target]
X_train, y_train, X_new, y_new = clips.data[:48], labels[:48], clips.data[48:], labels[48:]
trained = SpeakerEmbeddingClassifier().fit(X_train, y_train)

# %%
# A model file is checked when it is loaded, and can run no code, unlike a pickle. The pretrained
# networks stay out of it, which keeps it small: on the machine of the service,
# ``python -m skspeech.weights fetch`` brings them beforehand.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "words.skspeech"
skspeech.save(trained, path)
model = skspeech.load(path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {type(model).__name__}")
assert (model.predict(X_new) == trained.predict(X_new)).all()

# %%
# The first prediction loads the network, so make it before the first request.

model.predict_proba(X_new[:1])

# %%
# The service
# -----------
# The body of a request is the content of a sound file, of any kind that skspeech reads. What can't
# be read is the asker's mistake, and gets the reason with a status of 400. What can be read but
# says little, such as silence, gets an answer with remarks. One fitted model serves all threads.

MAX_BYTES = 10_000_000
MAX_SECONDS = 60
MIN_SECONDS = 0.1
SILENCE = 1e-4  # the largest sample: 80 dB below full scale

decoding = threading.Lock()


def hear(content):
    """The waveform in a sound file, and what is to be said of it."""
    # A bytearray is always content, where bytes may be a path, of a file that is nobody's business.
    # Warnings are caught for all threads at once, so one file is decoded at a time.
    with decoding, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        waveform = as_clips([bytearray(content)])[0].load(max_duration=MAX_SECONDS)
    remarks = [str(warning.message) for warning in caught]
    seconds = len(waveform) / SAMPLING_RATE
    if seconds < MIN_SECONDS:
        remarks.append(f"The recording lasts {1000 * seconds:.2g} ms: too short to say anything.")
    if seconds >= MAX_SECONDS:
        remarks.append(f"Only the first {MAX_SECONDS} s were listened to.")
    if abs(waveform).max() < SILENCE:
        remarks.append("The recording is silent: the label is no more than a guess.")
    return waveform, remarks


def classify(content):
    waveform, remarks = hear(content)
    (row,) = model.predict_proba([waveform])
    probabilities = dict(zip(model.classes_.tolist(), (round(float(p), 4) for p in row)))
    label = max(probabilities, key=probabilities.get)
    return {"label": label, "probabilities": probabilities, "remarks": remarks}


# %%
# Whoever writes to an open port writes anything. The size of a body is asked for, and checked,
# before it is read; who stops in the middle costs no more than a thread for some seconds.


class Refused(Exception):
    """A status, and the reason for it."""


class Service(BaseHTTPRequestHandler):
    timeout = 30  # seconds to wait for the next byte

    def handle(self):
        with contextlib.suppress(OSError):  # the asker is gone
            super().handle()

    def do_POST(self):
        try:
            content = self.body()
        except Refused as refused:
            self.refuse(*refused.args)
            return
        try:
            self.answer(200, classify(content))
        except (OSError, ValueError) as error:
            self.answer(400, {"error": f"The recording {error}"})

    def body(self):
        if "Transfer-Encoding" in self.headers:
            raise Refused(411, "Send the body in one piece, with its size in Content-Length.")
        size = ", ".join(self.headers.get_all("Content-Length", []))
        if not size:
            raise Refused(411, "Send the size of the body in Content-Length.")
        if not (size.isascii() and size.isdigit()):
            raise Refused(400, "Content-Length has to be one number, of bytes.")
        if len(size) > len(str(MAX_BYTES)) or int(size) > MAX_BYTES:
            raise Refused(413, f"Send {MAX_BYTES} bytes at most.")
        if int(size) == 0:
            raise Refused(400, "The body is empty.")
        try:
            content = self.rfile.read(int(size))
        except TimeoutError:
            raise Refused(408, "The rest of the body did not come.") from None
        if len(content) < int(size):
            raise Refused(400, f"The body ended after {len(content)} of {size} bytes.")
        return content

    def refuse(self, status, reason):
        self.answer(status, {"error": reason})
        # A connection that is closed with bytes unread is reset, and who still sends them never
        # sees the answer. So listen for a while.
        self.connection.shutdown(socket.SHUT_WR)
        end = time.monotonic() + self.timeout
        while time.monotonic() < end and self.rfile.read1(65536):
            pass

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Keep the output of this script to itself."""


# %%
# Port 0 is any that is free, and the address is this machine's alone. Behind a reverse proxy, with
# a real server in the place of this one, the class stays as it is.

server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
address = f"http://127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()

# %%
# Asking it
# ---------


def ask(content):
    request = Request(address, data=content, headers={"Content-Type": "audio/wav"})
    with urlopen(request, timeout=60) as response:
        return json.load(response)


def as_wav(waveform):
    file = io.BytesIO()
    soundfile.write(file, waveform, 16_000, format="WAV")
    return file.getvalue()


answer = ask(as_wav(X_new[0]))
print(json.dumps(answer, indent=2))
print(f"(It was {y_new[0]!r}.)")

# %%
# Many at once get the answers that they would get one by one.

with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(ask, map(as_wav, X_new)))
n_right = sum(answer["label"] == label for answer, label in zip(answers, y_new))
print(f"{n_right} of {len(answers)} right")

# %%
# Silence has to be something, too, but the answer says what it is worth. What is no sound, or too
# much of it, gets told so.

print(ask(as_wav(0 * X_new[0]))["remarks"])
for content in (b"not a sound file", bytes(MAX_BYTES + 1)):
    try:
        ask(content)
    except HTTPError as error:
        print(error.code, json.load(error)["error"])
        error.close()

# %%
# The end
# -------

server.shutdown()
server.server_close()
folder.cleanup()
print("The service has stopped.")
