"""Speech encoders of every family, tiny and random, in folders as ``save_pretrained`` writes them.

The code that reads them is the one that reads the published ones.
"""

import warnings

import numpy as np

FAMILIES = [
    "wav2vec2-layer",
    "wav2vec2-group",
    "hubert",
    "wavlm-layer",
    "wavlm-group",
    "data2vec-audio",
    "unispeech-sat",
    "wav2vec2-conformer",
    "whisper",
    "ast",
    "clap",
    "clap-fused",
]
_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 8,
}
_CONVOLUTIONS = {
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 4, 4),
    "conv_stride": (5, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def save_tiny(family, folder, seed=0):
    """Save a random model of a family and its feature extractor; returns the folder as str."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    with torch.random.fork_rng(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model, extractor = _MAKERS[family]()
        for parameter in model.parameters():  # as made, their outputs hardly depend on the input
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


def _waveforms(name, norm, **changes):
    def make():
        import transformers

        config = getattr(transformers, f"{name}Config")(
            **_SMALL,
            **_CONVOLUTIONS,
            feat_extract_norm=norm,
            do_stable_layer_norm=norm == "layer",
            **changes,
        )
        extractor = transformers.Wav2Vec2FeatureExtractor(
            do_normalize=norm == "layer", return_attention_mask=norm == "layer"
        )
        return getattr(transformers, f"{name}Model")(config), extractor

    return make


def _whisper():
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    config = WhisperConfig(
        vocab_size=16,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=100,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        begin_suppress_tokens=None,
    )
    return WhisperModel(config), WhisperFeatureExtractor(chunk_length=2)


def _ast():
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    config = ASTConfig(**{k: x for k, x in _SMALL.items() if k != "vocab_size"}, max_length=128)
    return ASTModel(config), ASTFeatureExtractor(max_length=128)


def _clap(*, fused):
    def make():
        from transformers import (
            ClapAudioConfig,
            ClapConfig,
            ClapFeatureExtractor,
            ClapModel,
            ClapTextConfig,
        )

        audio = ClapAudioConfig(
            spec_size=64,
            num_mel_bins=16,
            patch_embeds_hidden_size=8,
            hidden_size=16,
            depths=[1, 1],
            num_attention_heads=[1, 2],
            num_hidden_layers=2,
            window_size=4,
            projection_dim=8,
            enable_fusion=fused,
        )
        text = ClapTextConfig(
            **_SMALL, max_position_embeddings=16, projection_dim=8, pad_token_id=1
        )
        config = ClapConfig(
            text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=8
        )
        extractor = ClapFeatureExtractor(
            feature_size=16,
            sampling_rate=48_000,
            max_length_s=2,
            truncation="fusion" if fused else "rand_trunc",
        )
        return ClapModel(config), extractor

    return make


_MAKERS = {
    "wav2vec2-layer": _waveforms("Wav2Vec2", "layer"),
    "wav2vec2-group": _waveforms("Wav2Vec2", "group"),
    "hubert": _waveforms("Hubert", "layer"),
    "wavlm-layer": _waveforms("WavLM", "layer"),
    "wavlm-group": _waveforms("WavLM", "group"),
    "data2vec-audio": _waveforms("Data2VecAudio", "layer"),
    "unispeech-sat": _waveforms("UniSpeechSat", "layer"),
    "wav2vec2-conformer": _waveforms("Wav2Vec2Conformer", "layer"),
    "whisper": _whisper,
    "ast": _ast,
    "clap": _clap(fused=False),
    "clap-fused": _clap(fused=True),
}


def make_clips():
    """Clips of other lengths, up to three windows of 2 s, and one that is no window at all."""
    rng = np.random.default_rng(0)
    seconds = [0.02, 0.33, 0.9, 1.0, 1.7, 2.0, 5.1]
    clips = []
    for i, s in enumerate(seconds):
        t = np.arange(int(s * 16_000)) / 16_000
        tone = np.sin(2 * np.pi * (200 + 130 * i) * t) * (1 + np.sin(2 * np.pi * 3 * t))
        clips.append((0.1 * tone + 0.02 * rng.normal(size=len(t))).astype(np.float32))
    return clips
