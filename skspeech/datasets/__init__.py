"""Data sets: folders of your own clips, public recordings, and synthetic clips.

``load_*`` reads what is on disk, ``fetch_*`` may download, ``make_*`` computes. All return a
:class:`sklearn.utils.Bunch` with ``data``, ``target``, ``target_names``, ``groups`` and ``DESCR``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "folders": ["load_audio_folder"],
        "made": ["make_speech_like", "make_tones"],
        "recordings": ["fetch_emodb", "fetch_fsdd", "fetch_voice_prompts", "get_data_home"],
    },
)
