from .folders import load_audio_folder as load_audio_folder
from .made import make_speech_like as make_speech_like
from .made import make_tones as make_tones
from .recordings import fetch_emodb as fetch_emodb
from .recordings import fetch_fsdd as fetch_fsdd
from .recordings import fetch_voice_prompts as fetch_voice_prompts
from .recordings import get_data_home as get_data_home
