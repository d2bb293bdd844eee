"""Take a model out of Python: one file that runs on a phone, in a browser, in another language.

:func:`export_onnx` writes classifiers that are made of pretrained networks and linear algebra.
"""

from skspeech.export.writing import export_onnx

__all__ = ["export_onnx"]
