"""Numbers as people write them on a command line: seconds, and shares of a whole."""

import math
import re

import click

__all__ = ["SECONDS", "SHARE"]

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_PARTS = re.compile(
    rf"(?:{_NUMBER}\s*h)?\s*(?:{_NUMBER}\s*m(?:in)?)?\s*(?:{_NUMBER}\s*s(?:ec)?)?", re.IGNORECASE
)
_LONGEST = 365 * 24 * 3600.0  # more is a mistake, and timeouts of the system have a maximum


class _Seconds(click.ParamType):
    """A time, such as 90, 90s, 2m or 1h30m."""

    name = "time"

    def convert(self, value, parameter, context):
        try:
            seconds = float(value)
        except ValueError:
            parts = _PARTS.fullmatch(value.strip())
            if not parts or not any(parts.groups()):
                self.fail(
                    f"{value!r} is not a time. Write seconds, or hours, minutes and seconds: "
                    "90, 90s, 2m, 1h30m.",
                    parameter,
                    context,
                )
            hours, minutes, rest = (float(part or 0) for part in parts.groups())
            seconds = 3600 * hours + 60 * minutes + rest
        if not 0 < seconds <= _LONGEST:  # false for NaN, too
            self.fail(
                f"{value!r} is not a time of more than 0 s and up to a year.", parameter, context
            )
        return seconds


class _Share(click.ParamType):
    """A share of a whole: more than 0, and less than 1."""

    name = "share"

    def convert(self, value, parameter, context):
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            self.fail(f"{value!r} is not a number between 0 and 1.", parameter, context)
        return share


SECONDS, SHARE = _Seconds(), _Share()
