"""
From a fit to a service
=======================

A model is trained once and asked often, by something that is not Python. This script saves one,
loads it, and puts it behind a small web service: clips come in by HTTP, labels and probabilities go
out as JSON. It uses nothing but the standard library, asks its own service a few questions, and
stops it.
"""

import io
import json
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import soundfile

import skspeech
from skspeech import SpeakerEmbeddingClassifier
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
# The body of a request is the content of a sound file. What can't be read is the asker's mistake,
# and gets the reason with a status of 400; so does what is too large. One fitted model serves all
# threads.

MAX_BYTES = 10_000_000
MAX_SECONDS = 60


class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        if not 0 < size <= MAX_BYTES:
            self.answer(413, {"error": f"Send 1 to {MAX_BYTES} bytes."})
            return
        try:
            probabilities = self.classify(self.rfile.read(size))
        except ValueError as error:
            self.answer(400, {"error": str(error)})
            return
        label = max(probabilities, key=probabilities.get)
        self.answer(200, {"label": label, "probabilities": probabilities})

    def classify(self, content):
        try:
            with soundfile.SoundFile(io.BytesIO(content)) as sound:
                waveform = sound.read(MAX_SECONDS * sound.samplerate, always_2d=True).mean(axis=1)
                rate = sound.samplerate
        except soundfile.LibsndfileError as error:
            raise ValueError(f"This is no sound file: {error.error_string}") from error
        (row,) = model.predict_proba([(waveform, rate)])
        return dict(zip(model.classes_.tolist(), (round(float(p), 4) for p in row)))

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
# And what is no sound gets told so.

try:
    ask(b"not a sound file")
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
