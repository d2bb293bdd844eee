from .candidates import Candidate as Candidate
from .classifier import TimeBudgetClassifier as TimeBudgetClassifier
from .line_ups import PRESETS as PRESETS
from .line_ups import default_candidates as default_candidates
