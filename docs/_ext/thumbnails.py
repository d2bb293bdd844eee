"""Pictures for the gallery of examples, taken from the outputs that are kept in the notebooks."""

import base64
import json

__all__ = ["write_thumbnails"]

# Notebook, and which of its pictures: an example names the file that it wants by
# `sphinx_gallery_thumbnail_path`.
_PICTURES = {
    "waveform": ("quick_start", 0),
    "confusion": ("quick_start", 1),
    "learning_curve": ("time_budget", 0),
    "leaderboard": ("time_budget", 1),
}


def write_thumbnails(notebooks, folder):
    """Write the pictures of the notebooks in a folder as PNG files."""
    folder.mkdir(exist_ok=True)
    for name, (notebook, number) in _PICTURES.items():
        cells = json.loads((notebooks / f"{notebook}.ipynb").read_text())["cells"]
        data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
        pictures = [item["image/png"] for item in data if "image/png" in item]
        (folder / f"{name}.png").write_bytes(base64.b64decode(pictures[number]))
