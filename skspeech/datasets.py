"""Data sets: folders of your own clips, public recordings, and clips made from nothing.

``load_*`` reads what is on disk, ``fetch_*`` may download, ``make_*`` computes. All return a
:class:`sklearn.utils.Bunch` with ``data``, ``target``, ``target_names``, ``groups`` and ``DESCR``.
"""

import os
import re
import shutil
import tempfile
import warnings
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ._download import Apt, locked, not_there, run, some, verified_files
from ._progress import progress_bar
from ._sklearn import Interval, StrOptions, validate_params
from ._synthesis import WORDS, draw_speaker, say
from .audio.formats import AUDIO_EXTENSIONS, is_hidden, loose_recordings, recordings_in

__all__ = [
    "fetch_emodb",
    "fetch_fsdd",
    "fetch_voice_prompts",
    "get_data_home",
    "load_audio_folder",
    "make_speech_like",
    "make_tones",
]

# ---------------------------------------------------------------------------------------------
# Your own folders


@validate_params(
    {
        "path": [str, os.PathLike],
        "categories": ["array-like", None],
        "target": [StrOptions({"index", "name"})],
        "description": [str, None],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_audio_folder(path, *, categories=None, target="index", description=None, return_X_y=False):
    """List the clips of a folder that has one sub-folder a class.

    The layout is that of :func:`sklearn.datasets.load_files`, with an optional second level that
    says which clips belong together, such as the speaker or the recording session::

        container/             container/
            class_1/               class_1/
                a.wav                  speaker_1/
                b.flac                     a.wav
            class_2/                   speaker_2/
                c.mp3                      b.wav
                                   class_2/
                                       speaker_1/
                                           c.wav

    Nothing is decoded. Hidden files and folders, ``__MACOSX`` and files that are not audio by their
    extension are left out; of those that look like audio all the same, of recordings beside the
    sub-folders, and of sub-folders without any clip, a warning tells.

    Parameters
    ----------
    path : str or os.PathLike
        The folder that holds one sub-folder a class.
    categories : array-like of str or None, default=None
        Names of the sub-folders to read; None reads all of them.
    target : {"index", "name"}, default="index"
        What `target` holds: the index of each clip's class, as :func:`sklearn.datasets.load_files`
        has it, or the class's name, which a classifier then predicts.
    description : str or None, default=None
        Text for ``DESCR``.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of str
            Paths of the clips, sorted within each class.
        target : ndarray of shape (n_clips,), dtype int or str
            Index of each clip's class in `target_names`, or with ``target="name"`` its name.
        target_names : list of str
            Names of the classes: the sub-folders, sorted.
        groups : ndarray of shape (n_clips,), dtype str, or None
            Name of the second-level folder of each clip, where there is one. A name that occurs
            in several classes is one group. Give it to splitters such as
            :class:`~sklearn.model_selection.StratifiedGroupKFold`, so that no speaker is in both
            halves.
        DESCR : str
            The description.

    Raises
    ------
    NotADirectoryError
        If `path` is no folder.
    ValueError
        If there are no sub-folders, no class or one of `categories` has no clips, or only some
        clips are in a second level; with ``return_X_y=True`` the levels don't matter.

    Examples
    --------
    >>> import numpy as np, soundfile, tempfile
    >>> from pathlib import Path
    >>> from skspeech.datasets import load_audio_folder
    >>> folder = Path(tempfile.mkdtemp())
    >>> for label in ("no", "yes"):
    ...     (folder / label / "anna").mkdir(parents=True)
    ...     soundfile.write(folder / label / "anna" / "1.wav", np.zeros(8000), 16000)
    >>> clips = load_audio_folder(folder)
    >>> clips.target_names, clips.target, clips.groups
    (['no', 'yes'], array([0, 1]), array(['anna', 'anna'], dtype='<U4'))
    >>> load_audio_folder(folder, target="name").target.tolist()
    ['no', 'yes']
    """
    path = Path(path)
    if not path.is_dir():
        raise NotADirectoryError(
            f"{str(path)!r} is not a folder. Give the folder that holds one sub-folder a class."
        )
    target_names = _class_folders(path, categories)
    clips_of = {name: recordings_in(path / name) for name in target_names}
    empty = [name for name, clips in clips_of.items() if not clips]
    if empty and (categories is not None or len(empty) == len(target_names)):
        raise ValueError(
            f"No audio files in {some(empty)} of {str(path)!r}. Each class needs files that end"
            f" in one of: {' '.join(sorted(AUDIO_EXTENSIONS))}."
        )
    if empty:
        warnings.warn(
            f"Sub-folders of {str(path)!r} without audio files are no classes, and are left out:"
            f" {some(empty)}.",
            stacklevel=3,
        )
    if categories is None and (loose := loose_recordings(path)):
        warnings.warn(
            f"Recordings that lie in {str(path)!r} itself are left out, because they have no class:"
            f" {some(p.name for p in loose)}. Move them into the sub-folder of their class.",
            stacklevel=3,
        )
    target_names = [name for name in target_names if clips_of[name]]
    data = [str(clip) for name in target_names for clip in clips_of[name]]
    labels = target_names if target == "name" else np.arange(len(target_names))
    y = np.repeat(labels, [len(clips_of[name]) for name in target_names])
    if return_X_y:
        return data, y
    return Bunch(
        data=data,
        target=y,
        target_names=target_names,
        groups=second_level(path, data),
        DESCR=description or f"Clips of the folder {str(path)!r}, one sub-folder a class.",
    )


def _class_folders(path, categories):
    found = sorted(p.name for p in path.iterdir() if p.is_dir() and not is_hidden(p.name))
    if categories is None:
        if not found:
            raise ValueError(
                f"{str(path)!r} has no sub-folders. Put the clips of each class into a sub-folder"
                " with the class's name."
            )
        return found
    missing = sorted(set(categories) - set(found))
    if missing:
        raise ValueError(
            f"categories names {some(missing)}, but {str(path)!r} has the sub-folders"
            f" {some(found, 20)}."
        )
    return sorted(set(categories))


def second_level(path, data):
    """The folder below the class of each clip, or None where clips lie in the class itself."""
    parts = [Path(clip).relative_to(path).parts for clip in data]
    grouped = [len(p) > 2 for p in parts]
    if not any(grouped):
        return None
    if not all(grouped):
        loose = [clip for clip, g in zip(data, grouped) if not g]
        raise ValueError(
            f"{len(loose)} of {len(data)} clips are not in a second-level folder, such as"
            f" {some(loose)}, so their group is not known. Move them into one, or take the"
            " second level away everywhere."
        )
    return np.array([p[1] for p in parts])


# ---------------------------------------------------------------------------------------------
# Public recordings


@validate_params({"data_home": [str, os.PathLike, None]}, prefer_skip_nested_validation=True)
def get_data_home(data_home=None):
    """Folder where the ``fetch_*`` functions look for data sets and keep what they download.

    Parameters
    ----------
    data_home : str or os.PathLike or None, default=None
        None means the environment variable ``SKSPEECH_DATA`` where it is set, else the
        platform's folder for the data of applications.

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


@validate_params(
    {"task": [StrOptions({"digit", "speaker"})], **_FETCH_CONSTRAINTS},
    prefer_skip_nested_validation=True,
)
def fetch_fsdd(
    *,
    task="digit",
    data_home=None,
    download_if_missing=True,
    progress=True,
    return_X_y=False,
):
    """Spoken digits: 3,000 clips of 6 speakers (Free Spoken Digit Dataset).

    The recordings are looked for in ``data_home/fsdd/recordings``, and downloaded from a pinned
    commit of their GitHub repository where they are not there (16 MB). Either way every file is
    checked against its sha256.

    Parameters
    ----------
    task : {"digit", "speaker"}, default="digit"
        What `target` is: the spoken digit (10 classes) or the speaker (6 classes).
    data_home : str or os.PathLike or None, default=None
        Folder of data sets; see :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, missing data are an error instead of a download.
    progress : bool, default=True
        Show a progress bar while downloading.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

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
            The speakers for ``task="digit"``, the digits for ``task="speaker"``: what a split
            must not share between its halves.
        digit, speaker : ndarray of shape (3000,), dtype str
            Both labels, whatever the task.
        take : ndarray of shape (3000,), dtype int
            Number of the take, 0 to 49.
        DESCR : str
            Description, licence and citation.

    Raises
    ------
    OSError
        If the data are neither there nor to be had, or differ from the published ones.

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
5 men), 16 kHz, made in an anechoic chamber.

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


@validate_params(
    {"task": [StrOptions({"emotion", "speaker"})], **_FETCH_CONSTRAINTS},
    prefer_skip_nested_validation=True,
)
def fetch_emodb(
    *,
    task="emotion",
    data_home=None,
    download_if_missing=True,
    progress=True,
    return_X_y=False,
):
    """Acted emotions: 535 German clips of 10 speakers (Emo-DB).

    The recordings are looked for in ``data_home/emodb/wav``, and downloaded from their public
    archive where they are not there (40 MB). Either way every file is checked against its sha256.

    Parameters
    ----------
    task : {"emotion", "speaker"}, default="emotion"
        What `target` is: the emotion (7 classes) or the speaker (10 classes).
    data_home : str or os.PathLike or None, default=None
        Folder of data sets; see :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, missing data are an error instead of a download.
    progress : bool, default=True
        Show a progress bar while downloading.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

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
        If the data are neither there nor to be had, or differ from the published ones.

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


@validate_params(
    {"languages": ["array-like", None], **_FETCH_CONSTRAINTS}, prefer_skip_nested_validation=True
)
def fetch_voice_prompts(
    *,
    languages=None,
    data_home=None,
    download_if_missing=True,
    progress=True,
    return_X_y=False,
):
    """Languages of telephone prompts: about 2,800 clips in five languages.

    The recordings are looked for in ``data_home/voice_prompts``. Where they are not there, the
    Debian packages ``asterisk-core-sounds-{en,es,fr,it,ru}-wav`` are downloaded with ``apt-get``
    (20 MB each) and unpacked; they are not installed and no root is needed. APT checks their
    signatures.

    Parameters
    ----------
    languages : array-like of str or None, default=None
        Two or more of "en", "es", "fr", "it" and "ru"; None is all of them.
    data_home : str or os.PathLike or None, default=None
        Folder of data sets; see :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, missing data are an error instead of a download.
    progress : bool, default=True
        Show a progress bar while downloading.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

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
        If the data are neither there nor to be had.

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
    """Download, unpack and move into place one language after the other."""
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
    """Folder of the voice in an unpacked package, with nothing but speech left in it."""
    (voice,) = (unpacked / "usr" / "share" / "asterisk" / "sounds").iterdir()
    for path in recordings_in(voice):
        header_only = path.stat().st_size <= 44
        if header_only or _NOT_SPEECH.fullmatch(_prompt(path, voice)):
            path.unlink()
    return voice


def _prompt(path, folder):
    return path.relative_to(folder).with_suffix("").as_posix()


def _labelled(paths, labels, *, task, groups, return_X_y, **more):
    """Bunch of `paths` whose target is the label named `task`."""
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


# ---------------------------------------------------------------------------------------------
# Clips made from nothing


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_classes": [Interval(Integral, 1, 40, closed="both")],
        "duration": [Interval(Real, 0, None, closed="neither")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "sampling_rate": [Interval(Integral, 4000, None, closed="left")],
        "random_state": ["random_state"],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_tones(
    n_samples=60,
    *,
    n_classes=3,
    duration=1.0,
    noise=0.1,
    sampling_rate=16_000,
    random_state=None,
    return_X_y=False,
):
    """Make clips of tones, one pitch a class: easy, quick and offline.

    Each class is a note with four harmonics, the next class four semitones higher from 110 Hz on,
    wrapped into five octaves. Phase, loudness and tuning (up to a quarter of a semitone) are drawn
    for each clip, and white noise is added.

    Parameters
    ----------
    n_samples : int, default=60
        Number of clips, dealt to the classes in turn and then shuffled.
    n_classes : int, default=3
        Number of classes, at most 40.
    duration : float, default=1.0
        Length of each clip in seconds.
    noise : float, default=0.1
        Standard deviation of the noise, where the tone's amplitude is between 0.2 and 0.5.
    sampling_rate : int, default=16000
        Samples a second, in Hz.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws; an int gives the same clips each time.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of ndarray of shape (n,), dtype float32
            The waveforms.
        target : ndarray of shape (n_samples,), dtype int
            Index of each clip's class in `target_names`.
        target_names : list of str
            The pitches, such as "110 Hz".
        groups : None
            Clips do not belong together.
        DESCR : str
            The description.

    Examples
    --------
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(6, random_state=0)
    >>> len(tones.data), tones.data[0].shape, tones.target_names
    (6, (16000,), ['110 Hz', '139 Hz', '175 Hz'])
    """
    rng = check_random_state(random_state)
    pitches = 110.0 * 2 ** ((4 * np.arange(n_classes) % 61) / 12)
    target = rng.permutation(np.arange(n_samples) % n_classes)
    time = np.arange(max(1, round(duration * sampling_rate))) / sampling_rate
    data = []
    for pitch in pitches[target] * 2 ** (rng.uniform(-0.25, 0.25, n_samples) / 12):
        harmonics = np.arange(1, 5)
        harmonics = harmonics[harmonics * pitch < sampling_rate / 2]
        angles = (
            2 * np.pi * (np.outer(harmonics * pitch, time) + rng.random_sample((len(harmonics), 1)))
        )
        tone = (np.sin(angles) / harmonics[:, None] ** 2).sum(axis=0)
        waveform = rng.uniform(0.2, 0.5) * tone + noise * rng.standard_normal(len(time))
        data.append(waveform.astype(np.float32))
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=[f"{pitch:.0f} Hz" for pitch in pitches],
        groups=None,
        DESCR=f"{n_samples} tones in noise, made by make_tones.",
    )


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_classes": [Interval(Integral, 1, len(WORDS), closed="both")],
        "n_speakers": [Interval(Integral, 1, None, closed="left")],
        "duration": [Interval(Real, 0.2, None, closed="left")],
        "sampling_rate": [Interval(Integral, 8_000, None, closed="left")],
        "random_state": ["random_state"],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_speech_like(
    n_samples=100,
    *,
    n_classes=4,
    n_speakers=6,
    duration=0.7,
    sampling_rate=16_000,
    random_state=None,
    return_X_y=False,
):
    """Make clips that are to speech what a mannequin is to a person, offline.

    Source and filter: a pulse train with a pitch contour (or noise, for "s" and "sh") excites
    resonances at the formants of each sound. Each class is a word of three sounds, said by all
    speakers. A speaker has a vocal-tract length, a pitch, a breathiness and a pace of their own;
    pitch, pace, loudness and background noise also vary from clip to clip.

    Parameters
    ----------
    n_samples : int, default=100
        Number of clips, dealt to all pairs of a word and a speaker in turn and then shuffled.
    n_classes : int, default=4
        Number of words.
    n_speakers : int, default=6
        Number of speakers.
    duration : float, default=0.7
        Average length of a clip in seconds; a clip's is at most a third more or less.
    sampling_rate : int, default=16000
        Samples a second, in Hz; at 8000 the fricatives lose most of what makes them.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws; an int gives the same clips each time.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of ndarray of shape (n,), dtype float32
            The waveforms, of different lengths.
        target : ndarray of shape (n_samples,), dtype int
            Index of each clip's word in `target_names`.
        target_names : list of str
            The words, such as "a-s-i".
        groups : ndarray of shape (n_samples,), dtype str
            The speakers, such as "speaker 1".
        DESCR : str
            The description.

    References
    ----------
    .. [1] G. E. Peterson and H. L. Barney, "Control methods used in a study of the vowels",
       Journal of the Acoustical Society of America 24, 1952: the vowels' formants.

    Examples
    --------
    >>> from skspeech.datasets import make_speech_like
    >>> words = make_speech_like(12, n_classes=2, n_speakers=3, random_state=0)
    >>> len(words.data), len(words.target_names), sorted(set(words.groups.tolist()))
    (12, 2, ['speaker 1', 'speaker 2', 'speaker 3'])
    """
    rng = check_random_state(random_state)
    words = [WORDS[i] for i in sorted(rng.choice(len(WORDS), n_classes, replace=False))]
    speakers = [draw_speaker(rng) for _ in range(n_speakers)]

    order = rng.permutation(n_samples)
    target = order % n_classes
    speaker_of = order // n_classes % n_speakers
    data = [
        say(words[word], speakers[speaker], duration, sampling_rate, rng)
        for word, speaker in zip(target, speaker_of)
    ]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=["-".join(word) for word in words],
        groups=np.array([f"speaker {i + 1}" for i in speaker_of]),
        DESCR=f"{n_samples} clips of {n_classes} made-up words by {n_speakers} made-up speakers,"
        " made by make_speech_like.",
    )
