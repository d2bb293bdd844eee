"""The error that names all unusable clips, and the wording of messages."""

__all__ = ["AudioError"]


_MAX_LISTED_FAILURES = 20
_SHORT_NAME = 300  # characters of a name that a message shows


class AudioError(ValueError):
    """Some clips cannot be used; one error names all bad clips of a call.

    Parameters
    ----------
    failures : list of (int, str, str)
        Position, name and reason of each bad clip.
    n_clips : int
        Number of clips checked, good and bad.
    advice : str, default=""
        What to do about it; ends the message.

    Attributes
    ----------
    failures : list of (int, str, str)
        Position in `X`, name (path or ``"clip 3"``) and reason of each bad clip.

    Examples
    --------
    >>> from skspeech.audio import AudioError, load_waveforms
    >>> try:
    ...     load_waveforms(["no-such-folder/a.wav", [0.1, 0.2]])
    ... except AudioError as error:
    ...     position, name, reason = error.failures[0]
    >>> position, name
    (0, 'no-such-folder/a.wav')
    """

    def __init__(self, failures, n_clips, advice=""):
        self.failures = list(failures)
        self.n_clips = n_clips
        self.advice = advice
        super().__init__(describe_failures(self.failures, n_clips, advice))

    def __reduce__(self):
        return type(self), (self.failures, self.n_clips, self.advice)


class DamagedError(ValueError):
    """A recording can be decoded only up to a point.

    Parameters
    ----------
    seconds : float
        How much of it is good.
    why : str
        The decoder's message.
    waveform : ndarray of shape (n_samples,), default=None
        The good part, where there is any.
    """

    def __init__(self, seconds, why, waveform=None):
        self.seconds, self.why, self.waveform = seconds, why, waveform
        super().__init__(f"is damaged or cut off after {seconds:.2f} s ({why}).")


def describe_failures(failures, n_clips, advice):
    verb = "clip cannot" if n_clips == 1 else "clips cannot"
    heading = f"{len(failures)} of {n_clips} {verb} be used:"
    more = " (the attribute `failures` of the error has all)"
    return listed(heading, failures, more) + (f"\n{advice}" if advice else "")


def listed(heading, remarks, more=""):
    """A heading, and a line for each of the first (position, name, remark)."""
    lines = [heading]
    for position, name, remark in remarks[:_MAX_LISTED_FAILURES]:
        lines.append(f"  [{position}] {printable(name)}: {remark}")
    if len(remarks) > _MAX_LISTED_FAILURES:
        lines.append(f"  ... and {len(remarks) - _MAX_LISTED_FAILURES} more{more}")
    return "\n".join(lines)


def printable(name):
    """A name that prints on one line anywhere, whatever bytes the file name contains."""
    if not name:
        return "''"
    name = name if name.isprintable() else repr(name)[1:-1]
    if len(name) > _SHORT_NAME:
        half = _SHORT_NAME // 2
        name = f"{name[:half]}…{name[-half:]}"
    return name


def first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
