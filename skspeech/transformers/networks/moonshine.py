"""The encoder of Moonshine."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["MoonshineEncoder"]

_EPSILON = 1e-5
_WAVELENGTH_BASE = 10_000.0


class MoonshineEncoder(nn.Module):
    """Three convolutions over the waveform, then attention layers at 41.7 positions a second.

    Names of parameters are those of Hugging Face's transformers.

    Parameters
    ----------
    n_units : int, default=288
        Width of the layers.
    n_layers : int, default=6
        Number of layers.
    n_heads : int, default=8
        Heads of attention in each.
    n_rotated : int, default=32
        Units of each head that are rotated by an angle in proportion to the position.

    References
    ----------
    Jeffries, N. et al. (2024). Moonshine: speech recognition for live transcription and voice
    commands. https://arxiv.org/abs/2410.15608
    """

    def __init__(self, n_units=288, n_layers=6, n_heads=8, n_rotated=32):
        super().__init__()
        self.conv1 = nn.Conv1d(1, n_units, 127, stride=64, bias=False)
        self.groupnorm = nn.GroupNorm(1, n_units, eps=_EPSILON)
        self.conv2 = nn.Conv1d(n_units, 2 * n_units, 7, stride=3)
        self.conv3 = nn.Conv1d(2 * n_units, n_units, 3, stride=2)
        self.layers = nn.ModuleList(_Layer(n_units, n_heads) for _ in range(n_layers))
        self.layer_norm = nn.LayerNorm(n_units, eps=_EPSILON, bias=False)
        self.n_rotated = n_rotated

    def compute_in(self, dtype):
        """Multiply matrices in another precision; waveforms, sums and norms stay in float32."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)) and module is not self.conv1:
                module.to(dtype)
        return self

    def forward(self, waveforms, n_layers=None):
        """Compute the hidden states.

        Parameters
        ----------
        waveforms : tensor of shape (n, n_samples)
            At 16,000 Hz; at least 895 samples, which are one position.
        n_layers : int or None, default=None
            Layers to go through; None is all.

        Returns
        -------
        list of tensors of shape (n, n_positions, n_units)
            The input of the first layer and the output of each layer; the last one is normalised,
            as in transformers.
        """
        states = self.groupnorm(self.conv1(waveforms[:, None]).tanh())
        states = functional.gelu(self.conv2(states.to(self.conv2.weight.dtype)))
        states = functional.gelu(self.conv3(states)).float().transpose(1, 2).contiguous()
        rotation = self._rotation(states)
        every = [states]
        for layer in self.layers[:n_layers]:
            every.append(layer(every[-1], rotation))
        if len(every) > len(self.layers):
            every[-1] = self.layer_norm(every[-1])
        return every

    def _rotation(self, states):
        """Angles' cosines and sines, (n_positions, n_rotated / 2) each."""
        half = torch.arange(0, self.n_rotated, 2, device=states.device)
        speeds = _WAVELENGTH_BASE ** (-half / self.n_rotated)
        angles = torch.arange(states.shape[1], device=states.device)[:, None] * speeds
        return angles.cos(), angles.sin()


class _Layer(nn.Module):
    def __init__(self, n_units, n_heads):
        super().__init__()
        self.self_attn = _Attention(n_units, n_heads)
        self.mlp = _Mlp(n_units)
        self.input_layernorm = nn.LayerNorm(n_units, eps=_EPSILON, bias=False)
        self.post_attention_layernorm = nn.LayerNorm(n_units, eps=_EPSILON, bias=False)

    def forward(self, states, rotation):
        dtype = self.mlp.fc1.weight.dtype
        attended = self.self_attn(self.input_layernorm(states).to(dtype), rotation)
        states = states + attended
        return states + self.mlp(self.post_attention_layernorm(states).to(dtype))


class _Mlp(nn.Module):
    def __init__(self, n_units):
        super().__init__()
        self.fc1 = nn.Linear(n_units, 4 * n_units)
        self.fc2 = nn.Linear(4 * n_units, n_units)

    def forward(self, states):
        return self.fc2(functional.gelu(self.fc1(states)))


class _Attention(nn.Module):
    def __init__(self, n_units, n_heads):
        super().__init__()
        self.n_heads = n_heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(n_units, n_units, bias=False))

    def forward(self, states, rotation):
        query, key, value = (
            projection(states).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _rotated(query, *rotation), _rotated(key, *rotation)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


def _rotated(heads, cos, sin):
    """Turn each pair of neighbouring units, among the first ones of each head, by an angle."""
    n_rotated = 2 * cos.shape[1]
    pairs = heads[..., :n_rotated].unflatten(-1, (-1, 2))
    first, second = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([turned.flatten(-2).to(heads.dtype), heads[..., n_rotated:]], dim=-1)
