"""How to install optional dependencies."""

__all__ = ["how_to_install"]


def how_to_install(extra):
    """The command that installs an extra, for messages.

    Until there is a release, that is from the source: the name on PyPI could be anybody's.
    """
    return f"pip install '.[{extra}]' in the folder of skspeech's source"
