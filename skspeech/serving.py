"""A web service that classifies sound files with a model.

The command ``skspeech serve`` runs it; :func:`create_app` is for your own server.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator

from skspeech import __version__
from skspeech._clip_checks import SHORT_SECONDS
from skspeech._extras import how_to_install
from skspeech._one_clip import labels_of
from skspeech.audio import SAMPLING_RATE, as_clips, iter_waveforms
from skspeech.audio.loading import Remarks
from skspeech.audio.measuring import SILENT_DB
from skspeech.audio.rates import ready_for
from skspeech.ensemble.blending import probabilities_of

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["create_app"]

_log = logging.getLogger(__name__)


def create_app(
    model: BaseEstimator,
    *,
    max_bytes: int = 20_000_000,
    max_seconds: float = 60.0,
    max_waiting: int = 64,
    timeout: float = 30.0,
) -> "FastAPI":
    """Make a web application of a fitted classifier, for any ASGI server.

    ============================  ================================================================
    ``POST /predict``             A sound file of any kind that skspeech reads, as the body or as
                                  the only file of a form. The answer has ``label``,
                                  ``probability``, ``probabilities`` of all classes, ``seconds``
                                  that were used, and ``remarks`` on the recording, such as on
                                  silence.
    ``GET /health``               ``{"status": "ok"}``, also while clips are classified.
    ``GET /model``                About the model: its kind and classes, the version of skspeech,
                                  limits.
    ``GET /openapi.json``         A machine-readable description.
    ============================  ================================================================

    An error has a status of 400 or above, and a reason in ``detail``: 400 for a recording that
    can't be read, 408 for a body that does not arrive, 413 for one that is too large, 422 for a
    form without exactly one file, 500 for a recording on which the model fails, 503 if too many
    requests are waiting.

    One clip is classified at a time, on all cores, by the only copy of the model; the others wait.
    So the memory does not grow with the number of clients. The cache of embeddings is bounded, too:
    see :func:`skspeech.cache.memory_store`. Warnings of the model are about this machine, so they
    are shown here, as others of Python's, and are no remarks.

    Parameters
    ----------
    model : classifier
        Fitted on clips, such as :func:`skspeech.load` returns.
    max_bytes : int, default=20_000_000
        The largest file that is accepted.
    max_seconds : float, default=60.0
        Of longer recordings, only the beginning is used, and a remark says so.
    max_waiting : int, default=64
        How many requests may wait for their answer.
    timeout : float, default=30.0
        Seconds within which a file has to arrive.

    Returns
    -------
    fastapi.FastAPI

    Raises
    ------
    ImportError
        If FastAPI is not installed.
    ValueError
        If `model` is not a fitted classifier of clips.

    Examples
    --------
    >>> from skspeech import SpeakerEmbeddingClassifier
    >>> from skspeech.datasets import make_speech_like
    >>> from skspeech.serving import create_app
    >>> clips = make_speech_like(12, n_classes=2, random_state=0)
    >>> model = SpeakerEmbeddingClassifier().fit(clips.data, clips.target)  # doctest: +SKIP
    >>> app = create_app(model)  # doctest: +SKIP
    """
    try:
        from fastapi import FastAPI, HTTPException, Request
        from starlette.requests import ClientDisconnect
    except ImportError as error:
        raise ImportError(f"A service needs FastAPI: {how_to_install('serve')}.") from error
    classes = [str(label) for label in getattr(model, "classes_", ())]
    if not classes:
        raise ValueError(f"The {type(model).__name__} is no fitted classifier.")
    _warm_up(model)
    app = FastAPI(title="skspeech", version=__version__, docs_url=None, redoc_url=None)
    turn = asyncio.Semaphore(1)
    waiting = 0

    async def receive(request):
        """The file in a request, as bytes, which are never taken for a path."""
        content, n_bytes = bytearray(), 0

        async def read():
            nonlocal n_bytes
            async for part in request.stream():
                n_bytes += len(part)
                if n_bytes <= max_bytes:
                    content.extend(part)
                else:  # read on: a client that still sends would miss the answer
                    content.clear()

        try:
            await asyncio.wait_for(read(), timeout)
        except asyncio.TimeoutError:
            raise HTTPException(408, "The rest of the recording did not come.") from None
        except ClientDisconnect:
            raise HTTPException(400, "The recording was not sent to its end.") from None
        if n_bytes > max_bytes:
            raise HTTPException(413, f"Send {max_bytes} bytes at most.")
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            content = await _only_file(request, bytes(content))
        if not content:
            raise HTTPException(400, "There is no recording: the body is empty.")
        return content

    @app.post("/predict")
    async def predict(request: Request) -> dict:
        nonlocal waiting
        content = await receive(request)
        if waiting >= max_waiting:
            told = f"{waiting} others wait already. Try again soon."
            raise HTTPException(503, told, headers={"Retry-After": "1"})
        waiting += 1
        try:
            async with turn:
                return await asyncio.to_thread(hear, model, classes, content, max_seconds)
        except ValueError as error:
            raise HTTPException(400, f"The recording {error}") from None
        except RuntimeError as error:
            _log.exception("A recording was not classified.")
            raise HTTPException(500, str(error)) from None
        finally:
            waiting -= 1

    @app.get("/health")
    async def health() -> dict:
        return {"status": "ok"}

    @app.get("/model")
    async def about() -> dict:
        unknown = getattr(model, "unknown_label", None)
        return {
            "model": type(model).__name__,
            "classes": classes,
            "unknown": None if unknown is None else str(unknown),
            "skspeech": __version__,
            "max_bytes": max_bytes,
            "max_seconds": max_seconds,
        }

    return app


async def _only_file(request, body):
    """The one file of a form whose whole body is here."""
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def replay():
        yield body

    parser = MultiPartParser(request.headers, replay(), max_files=2, max_fields=10)
    parser.spool_max_size = len(body)  # a larger file would be written to disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(422, f"The form can't be read: {error.message}") from None
    files = [item for _, item in form.multi_items() if not isinstance(item, str)]
    contents = [bytearray(await file.read()) for file in files]
    await form.close()
    if len(files) != 1:
        raise HTTPException(422, f"A form has to hold one file; this one holds {len(files)}.")
    return contents[0]


def hear(model, classes, source, max_seconds):
    """What a model says of one recording, and what makes that less reliable.

    Parameters
    ----------
    model : classifier
    classes : list of str
        Names of the model's classes, in its order.
    source : clip
        The recording: a path, or the content of a file.
    max_seconds : float
        Of longer recordings, only the beginning is used.

    Returns
    -------
    dict
        ``label``, ``seconds``, ``remarks``, and if the model has probabilities ``probability`` and
        ``probabilities``.

    Raises
    ------
    ValueError
        If the recording can't be read.
    RuntimeError
        If the model fails on it.
    """
    clips, read = as_clips([source]), Remarks()
    waveforms = [w for _, w in iter_waveforms(clips, max_duration=max_seconds, remarks=read)]
    if read.failures:
        raise ValueError(read.failures[0][-1])
    (waveform,) = waveforms
    remarks = [f"The recording {note}" for *_, note in read.notes]
    try:
        answer = _classify(model, classes, waveform)
    except Exception as error:
        raise RuntimeError(
            f"The model can't classify this recording ({type(error).__name__}: {error})."
        ) from error
    seconds = len(waveform) / SAMPLING_RATE
    if seconds < SHORT_SECONDS:
        remarks.append(f"The recording lasts {1000 * seconds:.2g} ms: too short to say anything.")
    n_most = max_seconds * SAMPLING_RATE - 1  # it may be no whole number of samples
    if len(waveform) >= n_most and clips[0].duration() > max_seconds:
        remarks.append(f"Only the first {max_seconds:g} s were used.")
    if not len(waveform) or abs(waveform).max() < 10 ** (SILENT_DB / 20):
        remarks.append("The recording is silent: the label is no more than a guess.")
    return {**answer, "seconds": round(seconds, 3), "remarks": remarks}


def _classify(model, classes, waveform):
    clip = ready_for(model)([waveform])
    if not hasattr(model, "predict_proba"):
        return {"label": str(model.predict(clip)[0])}
    proba = probabilities_of(model, clip)
    (row,), (label,) = proba, labels_of(model, clip, proba)
    return {
        "label": str(label),
        "probability": round(float(row[classes.index(str(label))]), 6),
        "probabilities": {name: round(float(p), 6) for name, p in zip(classes, row)},
    }


def _warm_up(model):
    """Load the networks now, and check that the model takes clips."""
    noise = 0.1 * np.random.RandomState(0).randn(SAMPLING_RATE).astype(np.float32)
    try:
        model.predict([noise])
    except (TypeError, ValueError) as error:
        raise ValueError(f"The {type(model).__name__} can't classify a clip: {error}") from error
