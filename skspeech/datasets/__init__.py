"""Data sets: folders of your own clips, public recordings, and synthetic clips.

``load_*`` reads what is on disk, ``fetch_*`` may download, ``make_*`` computes. All return a
:class:`sklearn.utils.Bunch` with ``data``, ``target``, ``target_names``, ``groups`` and ``DESCR``.
"""

import lazy_loader

# The names are listed in __init__.pyi, where type checkers and editors find them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
