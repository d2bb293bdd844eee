"""Public recordings, fetched once and verified."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.utils import Bunch

from skspeech._docs import shared
from skspeech._download import Apt, locked, not_there, run, verified_files
from skspeech._progress import progress_bar
from skspeech._sklearn import StrOptions, validate_params
from skspeech._typing import ArrayLike, PathLike
from skspeech.audio.formats import recordings_in

__all__ = ["fetch_emodb", "fetch_fsdd", "fetch_voice_prompts", "get_data_home"]


@validate_params({"data_home": [str, os.PathLike, None]}, prefer_skip_nested_validation=True)
def get_data_home(data_home: PathLike | None = None) -> Path:
    """Folder where the ``fetch_*`` functions look for data sets and keep what they download.

    Parameters
    ----------
    data_home : str or os.PathLike or None, default=None
        None means the environment variable ``SKSPEECH_DATA`` if it is set, else the platform's
        folder for application data.

    Returns
    -------
    data_home : pathlib.Path
        The folder. It need not exist yet.

    Examples
    --------
    >>> from skspeech.datasets import get_data_home
    >>> get_data_home("recordings").as_posix()
    'recordings'
    """
    if data_home is None:
        data_home = os.environ.get("SKSPEECH_DATA")
    if not data_home:
        import platformdirs

        data_home = platformdirs.user_data_dir("skspeech", appauthor=False)
    return Path(data_home).expanduser()


# The parameters that all `fetch_*` share.
_FETCHING = """
data_home : str or os.PathLike or None, default=None
    Folder of data sets; see :func:`get_data_home`.
download_if_missing : bool, default=True
    If False, missing data are an error instead of a download.
progress : bool, default=True
    Show a progress bar while downloading.
return_X_y : bool, default=False
    Return ``(data, target)`` instead of a Bunch.
"""
_FETCH_CONSTRAINTS = {
    "data_home": [str, os.PathLike, None],
    "download_if_missing": ["boolean"],
    "progress": ["boolean"],
    "return_X_y": ["boolean"],
}

_FSDD_COMMIT = "d6938f9bf1545aa66d8489fc9f1385a7abd64282"  # the tag v1.0.10
_FSDD_URL = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{_FSDD_COMMIT}.tar.gz"
_FSDD_DESCR = """\
Free Spoken Digit Dataset, version 1.0.10
=========================================

3,000 recordings of the ten digits in English: 6 speakers, 50 takes of each digit by each speaker,
8 kHz, trimmed to little silence.

Tasks
-----
digit     which digit is spoken (10 classes). Groups are the speakers: split by them, or the score
          is that of known speakers.
speaker   who speaks (6 classes). Groups are the digits: train on some, test on others.

Licence: Creative Commons Attribution-ShareAlike 4.0 International.

Citation: Zohar Jackson, César Souza, Jason Flaks, Yuxin Pan, Hereman Nicolas and Adhish Thite:
Jakobovski/free-spoken-digit-dataset: v1.0.8. Zenodo, 2018. doi:10.5281/zenodo.1342401.
Source: https://github.com/Jakobovski/free-spoken-digit-dataset
"""


@shared(fetching=_FETCHING)
@validate_params(
    {"task": [StrOptions({"digit", "speaker"})], **_FETCH_CONSTRAINTS},
    prefer_skip_nested_validation=True,
)
def fetch_fsdd(
    *,
    task: Literal["digit", "speaker"] = "digit",
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
    progress: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple:
    """Spoken digits: 3,000 clips of 6 speakers (Free Spoken Digit Dataset).

    The recordings are read from ``data_home/fsdd/recordings``. If they are not there, they are
    downloaded from a pinned commit of their GitHub repository (16 MB). Either way every file is
    checked against its sha256.

    Parameters
    ----------
    task : {"digit", "speaker"}, default="digit"
        What `target` is: the spoken digit (10 classes) or the speaker (6 classes).
    {fetching}

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of str
            Paths of the 3,000 clips.
        target : ndarray of shape (3000,), dtype int
            Index of each clip's class in `target_names`.
        target_names : list of str
            Names of the classes.
        groups : ndarray of shape (3000,), dtype str
            The speakers for ``task="digit"``, the digits for ``task="speaker"``: no group may be on
            both sides of a split.
        digit, speaker : ndarray of shape (3000,), dtype str
            Both labels, whatever the task.
        take : ndarray of shape (3000,), dtype int
            Number of the take, 0 to 49.
        DESCR : str
            Description, licence and citation.

    Raises
    ------
    OSError
        If the data are neither there nor available, or differ from the published ones.

    References
    ----------
    .. [1] Z. Jackson et al., "Free Spoken Digit Dataset",
       https://github.com/Jakobovski/free-spoken-digit-dataset, doi:10.5281/zenodo.1342401

    Examples
    --------
    >>> from skspeech.datasets import fetch_fsdd
    >>> digits = fetch_fsdd()  # doctest: +SKIP
    >>> digits.target_names  # doctest: +SKIP
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    """
    paths = verified_files(
        "fsdd",
        folder=get_data_home(data_home) / "fsdd" / "recordings",
        url=_FSDD_URL,
        download=download_if_missing,
        progress=progress,
    )
    fields = [path.stem.split("_") for path in paths]
    labels = {"digit": [f[0] for f in fields], "speaker": [f[1] for f in fields]}
    return _labelled(
        paths,
        labels,
        task=task,
        groups="speaker" if task == "digit" else "digit",
        return_X_y=return_X_y,
        take=np.array([int(f[2]) for f in fields]),
        DESCR=_FSDD_DESCR,
    )


_EMODB_URL = "http://emodb.bilderbar.info/download/download.zip"
_EMODB_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
_EMODB_DESCR = """\
Berlin Database of Emotional Speech (Emo-DB)
============================================

535 recordings of 10 everyday sentences in German, acted in seven emotions by 10 actors (5 women,
5 men), made in an anechoic chamber; here cut or filled up to 2 s, at 22,050 Hz.

Tasks
-----
emotion   anger, boredom, disgust, fear, happiness, neutral or sadness. Groups are the speakers:
          split by them, or the score is that of known speakers.
speaker   who speaks (10 classes). Groups are the sentences.

Licence: published by its authors for free use, with the request to cite the paper. Ask them before
passing the recordings on.

Citation: Felix Burkhardt, Astrid Paeschke, Miriam Rolfes, Walter F. Sendlmeier and Benjamin Weiss:
A Database of German Emotional Speech. Interspeech 2005, pages 1517-1520.
Source: http://emodb.bilderbar.info
"""


@shared(fetching=_FETCHING)
@validate_params(
    {"task": [StrOptions({"emotion", "speaker"})], **_FETCH_CONSTRAINTS},
    prefer_skip_nested_validation=True,
)
def fetch_emodb(
    *,
    task: Literal["emotion", "speaker"] = "emotion",
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
    progress: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple:
    """Acted emotions: 535 German clips of 10 speakers (Emo-DB).

    The recordings are read from ``data_home/emodb/wav``. If they are not there, they are
    downloaded from their public archive (40 MB). Either way every file is checked against its
    sha256. These are of the copy that our scores were measured on, whose clips are cut or filled up
    to 2 s, at 22,050 Hz. The recordings as they were published, at 16 kHz, differ from it and are
    refused.

    Parameters
    ----------
    task : {"emotion", "speaker"}, default="emotion"
        What `target` is: the emotion (7 classes) or the speaker (10 classes).
    {fetching}

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of str
            Paths of the 535 clips.
        target : ndarray of shape (535,), dtype int
            Index of each clip's class in `target_names`.
        target_names : list of str
            Names of the classes.
        groups : ndarray of shape (535,), dtype str
            The speakers for ``task="emotion"``, the sentences for ``task="speaker"``.
        emotion, speaker, sentence : ndarray of shape (535,), dtype str
            All labels, whatever the task.
        DESCR : str
            Description, licence and citation.

    Raises
    ------
    OSError
        If the data are neither there nor available, or differ from the published ones.

    References
    ----------
    .. [1] F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier and B. Weiss, "A Database of
       German Emotional Speech", Interspeech 2005, pages 1517-1520.

    Examples
    --------
    >>> from skspeech.datasets import fetch_emodb
    >>> emotions = fetch_emodb()  # doctest: +SKIP
    >>> emotions.target_names  # doctest: +SKIP
    ['anger', 'boredom', 'disgust', 'fear', 'happiness', 'neutral', 'sadness']
    """
    paths = verified_files(
        "emodb",
        folder=get_data_home(data_home) / "emodb" / "wav",
        url=_EMODB_URL,
        download=download_if_missing,
        progress=progress,
    )
    names = [path.name for path in paths]
    labels = {
        "emotion": [_EMODB_EMOTIONS[name[5]] for name in names],
        "speaker": [name[:2] for name in names],
        "sentence": [name[2:5] for name in names],
    }
    return _labelled(
        paths,
        labels,
        task=task,
        groups="speaker" if task == "emotion" else "sentence",
        return_X_y=return_X_y,
        DESCR=_EMODB_DESCR,
    )


_LANGUAGES = {
    "en": "English (United States), read by Allison Smith",
    "es": "Spanish (Mexico), read by Allison Smith",
    "fr": "French (Canada), read by June Wallack",
    "it": "Italian, read by Carlo Flora",
    "ru": "Russian, provided by Maxim Topal, ivrvoice.ru",
}
_PACKAGE = "asterisk-core-sounds-{}-wav"
_NOT_SPEECH = re.compile(r"silence/.*|beep(err)?|(a|de)scending-2tone|confbridge-(join|leave)")
_VOICE_PROMPTS_DESCR = """\
Voice prompts of the Asterisk telephone exchange
================================================

Telephone prompts of a word to a few sentences, studio quality reduced to 8 kHz, about 550 in each
language. Tones and silences are left out.

{languages}

Task: the language. Groups are the names of the prompts, the same in every language, so that no
prompt is in both halves of a split by them.

Each language is read by one voice, so a classifier may tell the voices apart rather than the
languages: a score on these data says little about other speakers. English and Spanish share a
voice; between these two, it is the language (and the microphone of the day) that counts.

Licence: Creative Commons Attribution-ShareAlike 3.0 (en, es, fr), Attribution 3.0 (it, ru).

Citation: Asterisk core sounds, version 1.6.1. Digium, Inc. and the voices named above.
Source: the Debian packages asterisk-core-sounds-{{en,es,fr,it,ru}}-wav
"""


@shared(fetching=_FETCHING)
@validate_params(
    {"languages": ["array-like", None], **_FETCH_CONSTRAINTS}, prefer_skip_nested_validation=True
)
def fetch_voice_prompts(
    *,
    languages: ArrayLike | None = None,
    data_home: PathLike | None = None,
    download_if_missing: bool = True,
    progress: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple:
    """Telephone prompts by language: about 2,800 clips in five languages.

    The recordings are read from ``data_home/voice_prompts``. If they are not there, the
    Debian packages ``asterisk-core-sounds-{en,es,fr,it,ru}-wav`` are downloaded with ``apt-get``
    (20 MB each) and unpacked; they are not installed and no root is needed. APT checks their
    signatures.

    Parameters
    ----------
    languages : array-like of str or None, default=None
        Two or more of "en", "es", "fr", "it" and "ru"; None is all of them.
    {fetching}

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of str
            Paths of the clips.
        target : ndarray of shape (n_clips,), dtype int
            Index of each clip's language in `target_names`.
        target_names : list of str
            Codes of the languages, sorted.
        groups : ndarray of shape (n_clips,), dtype str
            Name of the prompt, such as "digits/7": the same text in every language.
        DESCR : str
            Description, licence and citation. Read what it says about voices.

    Raises
    ------
    OSError
        If the data are neither there nor available for download.

    References
    ----------
    .. [1] Asterisk core sounds, https://www.asterisk.org

    Examples
    --------
    >>> from skspeech.datasets import fetch_voice_prompts
    >>> prompts = fetch_voice_prompts(languages=["en", "es"])  # doctest: +SKIP
    >>> prompts.target_names  # doctest: +SKIP
    ['en', 'es']
    """
    languages = _check_languages(languages)
    home = get_data_home(data_home) / "voice_prompts"
    missing = [language for language in languages if not recordings_in(home / language)]
    if missing:
        if not download_if_missing:
            raise not_there("voice_prompts", [str(home / language) for language in missing])
        with locked(home):
            _fetch_voice_prompts(missing, home, progress)

    clips, prompts, target = [], [], []
    for code, language in enumerate(languages):
        folder = home / language
        for path in recordings_in(folder):
            clips.append(str(path))
            prompts.append(_prompt(path, folder))
            target.append(code)
    if return_X_y:
        return clips, np.array(target)
    return Bunch(
        data=clips,
        target=np.array(target),
        target_names=languages,
        groups=np.array(prompts),
        DESCR=_VOICE_PROMPTS_DESCR.format(
            languages="\n".join(f"{code}   {_LANGUAGES[code]}" for code in languages)
        ),
    )


def _check_languages(languages):
    if languages is None:
        return list(_LANGUAGES)
    chosen = sorted(set(languages))
    unknown = sorted(set(chosen) - set(_LANGUAGES))
    if unknown or len(chosen) < 2:
        raise ValueError(f"languages={languages!r}: choose two or more of {', '.join(_LANGUAGES)}.")
    return chosen


def _fetch_voice_prompts(languages, home, progress):
    """Download, unpack and move into place one language after another."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise OSError(
                f"The voice prompts come from Debian packages, and this machine has no {tool}."
                f" Copy the folder {str(home)!r} from a machine with Debian or Ubuntu, or use"
                " fetch_fsdd or fetch_emodb."
            )
    with tempfile.TemporaryDirectory(dir=home, prefix=".fetching-") as scratch:
        apt = Apt(Path(scratch))
        for language in progress_bar(
            languages, desc="Voice prompts", unit="language", disable=not progress
        ):
            if recordings_in(home / language):  # another process was faster
                continue
            try:
                package = apt.download(_PACKAGE.format(language))
                unpacked = Path(scratch, language)
                run(["dpkg-deb", "-x", package, unpacked])
            except OSError as error:
                raise OSError(
                    f"The voice prompts are not in {str(home)!r} and cannot be had: {error}\n"
                    "Call fetch_voice_prompts() where there is a network, or copy the folder from"
                    " another machine; SKSPEECH_DATA or data_home= names another folder of data"
                    " sets."
                ) from error
            package.unlink()
            _keep_speech(unpacked).rename(home / language)


def _keep_speech(unpacked):
    """Folder of the voice in an unpacked package, after removing what is not speech."""
    (voice,) = (unpacked / "usr" / "share" / "asterisk" / "sounds").iterdir()
    for path in recordings_in(voice):
        header_only = path.stat().st_size <= 44
        if header_only or _NOT_SPEECH.fullmatch(_prompt(path, voice)):
            path.unlink()
    return voice


def _prompt(path, folder):
    return path.relative_to(folder).with_suffix("").as_posix()


def _labelled(paths, labels, *, task, groups, return_X_y, **more):
    """Make a Bunch of `paths` whose target is the label named `task`."""
    target_names, target = np.unique(labels[task], return_inverse=True)
    data = [str(path) for path in paths]
    if return_X_y:
        return data, target
    labels = {name: np.array(values) for name, values in labels.items()}
    return Bunch(
        data=data,
        target=target,
        target_names=target_names.tolist(),
        groups=labels[groups],
        **labels,
        **more,
    )
