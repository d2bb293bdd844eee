"""The line-ups of candidates for clips, under their public name."""

from skspeech.time_budget.line_ups import PRESETS, default_candidates

__all__ = ["PRESETS", "default_candidates"]
