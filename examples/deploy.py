"""
From a fit to a service
=======================

A model is trained once and used often, also by programs that are not written in Python. This script
saves a model, loads it, and starts a small web service: clips come in over HTTP, labels and
probabilities go out as JSON. It sends its own service a few requests, and stops it.

On a server, one command does the same: ``skspeech serve words.skspeech``. It needs FastAPI and
uvicorn: ``pip install '.[serve]'`` in the folder of skspeech's source.
"""

import io
import json
import socket
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import soundfile
import uvicorn

import skspeech
from skspeech import SpeakerEmbeddingClassifier
from skspeech.datasets import make_speech_like
from skspeech.serving import create_app

# %%
# Train, save, load
# -----------------
# Synthetic words keep this short; any classifier, Pipeline or
# :class:`~skspeech.TimeBudgetClassifier` works the same way.

clips = make_speech_like(60, n_classes=3, n_speakers=5, random_state=0)
labels = [clips.target_names[code] for code in clips.target]
X_train, y_train, X_new, y_new = clips.data[:48], labels[:48], clips.data[48:], labels[48:]
trained = SpeakerEmbeddingClassifier().fit(X_train, y_train)

# %%
# A model file is checked when it is loaded and, unlike a pickle, can't run code. The pretrained
# networks are not in the file, which keeps it small: on the server, fetch them beforehand with
# ``python -m skspeech.weights fetch``.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "words.skspeech"
skspeech.save(trained, path)
model = skspeech.load(path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {type(model).__name__}")
assert (model.predict(X_new) == trained.predict(X_new)).all()

# %%
# The service
# -----------
# :func:`~skspeech.serving.create_app` makes an application that any ASGI server runs. The body of a
# request is the content of a sound file, in any format that skspeech reads, or a form with one
# file. One model answers all requests, one clip after another. Port 0 means any free port, and the
# address can be reached from this machine only.

listener = socket.create_server(("127.0.0.1", 0))
address = f"http://127.0.0.1:{listener.getsockname()[1]}/predict"
app = create_app(model, max_bytes=10_000_000, max_seconds=60)
server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
service = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
service.start()

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
# Requests sent at the same time get the same answers as one by one.

with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(ask, map(as_wav, X_new)))
n_right = sum(answer["label"] == label for answer, label in zip(answers, y_new))
print(f"{n_right} of {len(answers)} right")

# %%
# Silence gets a label too, but a remark in the answer says how little it means. A request that is
# not sound, or is too large, gets an error that says so.

print(ask(as_wav(0 * X_new[0]))["remarks"])
for content in (b"not a sound file", bytes(10_000_001)):
    try:
        ask(content)
    except HTTPError as error:
        print(error.code, json.load(error)["detail"])
        error.close()

# %%
# The end
# -------

server.should_exit = True
service.join()
listener.close()
folder.cleanup()
print("The service has stopped.")
