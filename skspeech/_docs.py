"""Paragraphs of documentation that several classes or functions share, each written once."""

import re
import textwrap

__all__ = ["shared"]


def shared(**paragraphs):
    """Make a decorator that puts paragraphs into a docstring.

    Parameters
    ----------
    **paragraphs : str
        A line ``{name}`` of the docstring is replaced by the paragraph of that name, indented as
        the line is.
    """

    def fill(documented):
        for name, text in paragraphs.items() if documented.__doc__ else ():
            lines = textwrap.dedent(text).strip()
            documented.__doc__ = re.sub(
                rf"^( *)\{{{name}\}}$",
                lambda line, lines=lines: textwrap.indent(lines, line[1]),
                documented.__doc__,
                flags=re.MULTILINE,
            )
        return documented

    return fill
