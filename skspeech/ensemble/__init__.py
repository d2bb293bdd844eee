"""Ensembles: no single model is best on all data, so several vote."""

import lazy_loader

# The names are listed in __init__.pyi, where type checkers and editors find them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
