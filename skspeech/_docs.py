"""Paragraphs of documentation that several classes share, each written once."""

import textwrap

__all__ = ["shared"]


def shared(**paragraphs):
    """Make a class decorator that puts paragraphs into the class's docstring.

    Parameters
    ----------
    **paragraphs : str
        A line ``{name}`` of the docstring is replaced by the paragraph of that name.
    """

    def fill(cls):
        for name, text in paragraphs.items() if cls.__doc__ else ():
            text = textwrap.indent(textwrap.dedent(text).strip(), "    ").lstrip()
            cls.__doc__ = cls.__doc__.replace(f"{{{name}}}", text)
        return cls

    return fill
