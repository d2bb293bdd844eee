"""The page of ``skspeech app``: collect clips, train, listen to mistakes, try the model.

`clips` and `training` know nothing of the page: what a visitor has collected, and what a model
learns from it. `page` shows it with Gradio, and `looks` makes the HTML.
"""

__all__ = []
