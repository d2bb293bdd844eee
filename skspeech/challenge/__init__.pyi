from .folders import load_autospeech as load_autospeech
from .folders import one_hot as one_hot
from .folders import save_autospeech as save_autospeech
from .local_test import main as main
from .local_test import run_local_test as run_local_test
from .model import Model as Model
