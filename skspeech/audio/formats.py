"""File names of recordings: one table for folders, the command line and the guide."""

import collections
import os
from pathlib import Path

from skspeech._warning import warn
from skspeech.audio.errors import printable

__all__ = ["AUDIO_EXTENSIONS"]

# Format, suffixes and decoder. A file is opened by its content, whatever its name; names only
# choose the files of a folder.
FORMATS = (
    ("WAV, also Wave64, RF64 and Broadcast Wave", ".wav .wave .w64 .rf64 .bwf", "libsndfile"),
    ("FLAC", ".flac", "libsndfile"),
    ("Ogg with Vorbis, Opus or FLAC", ".ogg .oga .opus", "libsndfile"),
    ("MP3, MP2, MP1", ".mp3 .mp2 .mp1 .mpa .mpga", "libsndfile"),
    ("AIFF", ".aiff .aif .aifc", "libsndfile"),
    ("Sun and NeXT audio", ".au .snd", "libsndfile"),
    ("Core Audio", ".caf", "libsndfile"),
    ("NIST Sphere", ".sph .nist", "libsndfile"),
    (
        "IRCAM, PARIS, Portable Voice, Psion, AVR, HTK",
        ".ircam .sf .paf .pvf .wve .avr .htk",
        "libsndfile",
    ),
    ("Amiga 8SVX", ".iff .svx .8svx", "libsndfile"),
    ("Creative Voice", ".voc", "libsndfile"),
    ("GSM 6.10 and Dialogic ADPCM without a header", ".gsm .vox", "libsndfile, by the name"),
    ("MPEG-4 with AAC or Apple Lossless", ".m4a .m4b .m4r .mp4 .m4v .mov .f4a .f4v", "FFmpeg"),
    ("Phones: 3GPP, AMR, QCELP", ".3gp .3gpp .3g2 .3ga .amr .awb .qcp", "FFmpeg"),
    ("AAC as a stream", ".aac .adts .loas .latm", "FFmpeg"),
    ("WebM, Matroska", ".webm .weba .mka .mkv", "FFmpeg"),
    ("Windows Media", ".wma .wmv .asf .xwma", "FFmpeg"),
    ("Dolby and DTS", ".ac3 .eac3 .ec3 .dts .dtshd .mlp .thd", "FFmpeg"),
    ("Ogg with Speex or a video", ".spx .ogv .ogx", "FFmpeg"),
    ("MPEG video and transport streams", ".mpg .mpeg .vob .ts .m2ts .mts", "FFmpeg"),
    ("AVI, Flash, RealMedia, NUT, MXF, WTV", ".avi .flv .rm .ra .rmvb .nut .mxf .wtv", "FFmpeg"),
    (
        "Lossless: WavPack, True Audio, Monkey's Audio, TAK, Shorten",
        ".wv .tta .ape .tak .shn",
        "FFmpeg",
    ),
    ("Musepack, QOA, SoX, SBC, DSD, ATRAC", ".mpc .qoa .sox .sbc .dsf .oma .aa3", "FFmpeg"),
)

AUDIO_EXTENSIONS = frozenset(suffix for _, suffixes, _ in FORMATS for suffix in suffixes.split())
"""Suffixes, in lower case, of the files that are taken from folders."""

# Audio, or what people take for audio, that can't be read: it has no header that describes it, is
# encrypted, or holds notes or file names instead of sound.
_NOT_TAKEN = frozenset(
    (
        *(".raw", ".pcm", ".sln", ".ul", ".ulaw", ".al", ".alaw", ".g722", ".g726", ".g729"),
        *(".aa", ".aax", ".aaxc", ".m4p", ".dvf", ".msv", ".ds2", ".dss"),
        *(".mid", ".midi", ".kar", ".m3u", ".m3u8", ".pls", ".xspf", ".cda", ".wpl"),
        *(".aup", ".aup3", ".ptx", ".sesx"),
    )
)
# First bytes of recordings, for files whose names say nothing; and of pictures that begin alike.
_SIGNATURES = (
    *((0, start) for start in (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b".snd")),
    *((0, start) for start in (b"caff", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"#!AMR")),
    *((0, start) for start in (b"\x1aE\xdf\xa3", b"0&\xb2u", b"wvpk", b"MAC ", b"TTA1", b"NIST")),
    (4, b"ftyp"),
)
_PICTURES = tuple((8, kind) for kind in (b"WEBP", b"heic", b"heix", b"mif1", b"msf1", b"avif"))


def recordings_in(folder):
    """Recordings below a folder, sorted; warns of files that look like audio but are skipped.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of pathlib.Path
        Files whose suffix is in AUDIO_EXTENSIONS. Hidden files and folders are left out, and links
        to a folder that contains the link.
    """
    taken, left_out, errors = [], [], []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=errors.append):
        folders[:] = [name for name in folders if not (is_hidden(name) or _leads_back(root, name))]
        for name in names:
            path = Path(root, name)
            if is_hidden(name):
                continue
            if path.suffix.lower() in AUDIO_EXTENSIONS:
                taken.append(path)
            elif _looks_like_audio(path):
                left_out.append(path)
    if closed := [error for error in errors if not isinstance(error, FileNotFoundError)]:
        _warn_of_closed(folder, closed)
    if left_out:
        _warn(folder, sorted(left_out))
    return sorted(taken)


def loose_recordings(folder):
    """Files in a folder itself, not in its subfolders, that look like recordings, sorted.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of pathlib.Path
    """
    files = [path for path in Path(folder).iterdir() if not (is_hidden(path.name) or path.is_dir())]
    return sorted(
        path for path in files if path.suffix.lower() in AUDIO_EXTENSIONS or _looks_like_audio(path)
    )


def _leads_back(root, name):
    """Whether a folder is a link to a folder that contains it: walking it would never end."""
    if not os.path.islink(os.path.join(root, name)):
        return False
    real = Path(root, name).resolve()
    around = Path(root).absolute()
    return any(folder.resolve() == real for folder in (around, *around.parents))


def is_hidden(name):
    """Whether a file or folder is hidden, or was added to an archive by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def _looks_like_audio(path):
    if path.suffix.lower() in _NOT_TAKEN:
        return True
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return _begins(head, _SIGNATURES) and not _begins(head, _PICTURES)


def _begins(head, signatures):
    return any(head[place:].startswith(signature) for place, signature in signatures)


def _warn_of_closed(folder, errors):
    folders = "1 folder" if len(errors) == 1 else f"{len(errors)} folders"
    first = errors[0]
    warn(
        f"{folders} below {printable(str(folder))!r} can't be opened, so what is in there is left "
        f"out, such as {printable(str(first.filename))!r} ({first.strerror})."
    )


def _warn(folder, left_out):
    counts = collections.Counter(path.suffix.lower() or "no suffix" for path in left_out)
    kinds = ", ".join(f"{suffix} ({count})" for suffix, count in counts.most_common(10))
    files = "1 file that looks" if len(left_out) == 1 else f"{len(left_out)} files that look"
    warn(
        f"{files} like audio by name or content, but can't be taken by that name, left out of "
        f"{printable(str(folder))!r}: {kinds}, such as {printable(str(left_out[0]))!r}. Rename "
        "recordings that have a wrong ending, and convert others, for example to FLAC."
    )
