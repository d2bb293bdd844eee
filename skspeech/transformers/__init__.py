"""Extractors and small feature transformers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Extractor"],
        "huggingface": ["TransformersEmbedding"],
        "keyword": ["KeywordEmbedding"],
        "music": ["MusicEmbedding"],
        "scaling": ["SignedSqrt"],
        "speaker": ["SpeakerEmbedding"],
        "spectral": ["LogMelSpectrogram", "SpectralStatistics"],
        "vad": ["VoiceActivityTrimmer"],
        "whisper": ["WhisperEmbedding"],
    },
)
