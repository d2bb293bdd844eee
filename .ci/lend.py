"""Lend an environment what a package in it asks for, from the environment that runs this.

    python .ci/lend.py PACKAGE SITE_PACKAGES

Nothing else becomes visible there: what is imported without being asked for is missing, as it is
where the package is installed alone. `pip check` there tells which requirements are not met.
"""

import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement


def main(package, there):
    own = {found.name: found for found in distributions(path=[there])}
    seen, left = set(), [(own[package], "")]
    while left:
        found, extra = left.pop()
        if (found.name, extra) in seen:
            continue
        seen.add((found.name, extra))
        if found.name not in own:
            lend(found, Path(there))
        for wanted in map(Requirement, found.requires or ()):
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                try:
                    asked_for = distribution(wanted.name)
                except PackageNotFoundError:
                    continue
                left += [(asked_for, extra) for extra in ("", *wanted.extras)]


def lend(found, there):
    """Link the folders and modules of an installed distribution."""
    here = Path(sysconfig.get_path("purelib"))
    for name in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
        if not (there / name).exists():
            (there / name).symlink_to(here / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
