"""The time budget: train many candidates against one clock, and keep the best ensemble.

Names are loaded when they are first used, so that a worker process imports only what it runs.
"""

import lazy_loader

# The names are listed in __init__.pyi, where type checkers and editors find them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
