"""``python -m skspeech`` is the command ``skspeech``."""

from skspeech.cli import run

if __name__ == "__main__":
    run()
