"""Where computation happens."""

import numpy as np
import pytest
import torch

from skspeech import Extractor
from skspeech._device import computes_bfloat16, in_single_precision
from skspeech._spectrogram import power_to_db
from skspeech.estimators.training import spectrograms


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "avx2": True}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx2": True}, False),  # it would be computed in single precision and rounded: slower
        ({}, False),
    ],
)
def test_bfloat16_is_for_processors_with_its_instructions(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert computes_bfloat16(torch.device("cpu")) is expected


def test_bfloat16_where_torch_does_not_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert computes_bfloat16(torch.device("cpu")) is False
    assert computes_bfloat16(torch.device("meta")) is False


class Threads(Extractor):
    """How many threads torch may use here, in place of features."""

    def _extract(self, waveforms):
        return np.full((len(waveforms), 1), torch.get_num_threads(), dtype=np.float32)


@pytest.mark.usefixtures("many_threads")
def test_extractors_use_no_more_threads_than_cores():
    clips = np.random.default_rng(0).normal(size=(3, 4000))
    assert Threads(memory=False).transform(clips).ravel().tolist() == [1, 1, 1]


@pytest.mark.usefixtures("many_threads")
def test_spectrograms_for_training_use_no_more_threads_than_cores(monkeypatch):
    seen = []

    def counted(power, starts):
        seen.append(torch.get_num_threads())
        return power_to_db(power, starts)

    monkeypatch.setattr(spectrograms, "power_to_db", counted)
    spectrograms.log_mel([np.zeros(4000, np.float32)], n_fft=512, hop_length=160, n_mels=40)
    assert seen == [1]


def rounding():
    cudnn = torch.backends.cudnn
    settings = [cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32]
    return settings + ([cudnn.conv.fp32_precision] if hasattr(cudnn, "conv") else [])


@pytest.mark.parametrize("matmul", ["highest", "high"])
def test_a_gpu_computes_in_single_precision_inside_a_block(matmul, request):
    request.addfinalizer(lambda: torch.set_float32_matmul_precision("highest"))
    torch.set_float32_matmul_precision(matmul)
    before = rounding()
    assert before[0]
    first, second = (in_single_precision(torch.device("cuda")) for _ in range(2))
    with in_single_precision(torch.device("cpu")):
        assert rounding() == before
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # blocks of two threads end in any order
    if hasattr(torch.backends.cudnn, "conv"):
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert torch.backends.cudnn.rnn.fp32_precision == "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    else:
        assert rounding() == [False, False]
    second.__exit__(None, None, None)
    assert rounding() == before
