"""Where computation happens."""

import pytest
import torch

from skspeech._device import computes_bfloat16  # a pure function


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
