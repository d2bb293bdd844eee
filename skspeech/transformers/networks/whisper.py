"""The encoder of Whisper."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["WhisperEncoder", "scale_power"]


class WhisperEncoder(nn.Module):
    """Two convolutions over log mel frames, then attention layers at half the frame rate.

    Names of parameters are those of Hugging Face's transformers. Padding after a row that is
    shorter than others in its batch changes nothing: neither the convolutions nor the attention
    see it.

    Parameters
    ----------
    n_mels : int, default=80
        Mel bands.
    n_units : int, default=384
        Width of the layers.
    n_layers : int, default=4
        Number of layers.
    n_heads : int, default=6
        Heads of attention in each.
    n_hidden : int or None, default=None
        Units between the two linear layers of each; None is four times `n_units`.
    n_positions : int, default=400
        Positions that the network knows, each of two frames.

    References
    ----------
    Radford, A. et al. (2022). Robust speech recognition via large-scale weak supervision.
    https://arxiv.org/abs/2212.04356
    """

    def __init__(
        self, n_mels=80, n_units=384, n_layers=4, n_heads=6, n_hidden=None, n_positions=400
    ):
        super().__init__()
        self.conv1 = nn.Conv1d(n_mels, n_units, 3, padding=1)
        self.conv2 = nn.Conv1d(n_units, n_units, 3, stride=2, padding=1)
        # No random initialisation: on a meta device it would import torch.compile, which takes 2 s.
        self.embed_positions = nn.Embedding.from_pretrained(
            torch.empty(n_positions, n_units), freeze=False
        )
        self.layers = nn.ModuleList(
            _Layer(n_units, n_heads, n_hidden or 4 * n_units) for _ in range(n_layers)
        )
        self.layer_norm = nn.LayerNorm(n_units)

    def compute_in(self, dtype):
        """Multiply matrices in another precision; sums and norms stay in float32."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)):
                module.to(dtype)
        return self

    def forward(self, logmel, n_frames=None, first=None, n_layers=None):
        """Compute the hidden states.

        Parameters
        ----------
        logmel : tensor of shape (n, n_frames, n_mels)
            Scaled as for Whisper. The number of frames is even.
        n_frames : tensor of int of shape (n,) or None, default=None
            Frames of each row; None is all.
        first : tensor of int of shape (n,) or None, default=None
            The position at which each row begins; None is the first there is.
        n_layers : int or None, default=None
            Layers to go through; None is all.

        Returns
        -------
        list of tensors of shape (n, n_frames / 2, n_units)
            The input of the first layer and the output of each layer; the last one is normalised,
            as in transformers.
        """
        dtype = self.conv1.weight.dtype
        inside = mask = None
        if n_frames is not None:
            inside = torch.arange(logmel.shape[1], device=logmel.device) < n_frames[:, None]
            logmel = logmel * inside[:, :, None]
            mask = inside[:, None, None, ::2]
        states = functional.gelu(self.conv1(logmel.to(dtype).transpose(1, 2)))
        if inside is not None:
            states = states * inside[:, None]
        states = functional.gelu(self.conv2(states)).float().transpose(1, 2).contiguous()
        positions = torch.arange(states.shape[1], device=states.device)
        if first is not None:
            positions = positions + first[:, None]
            positions = positions.clamp(max=self.embed_positions.num_embeddings - 1)
        states = states + self.embed_positions(positions)
        every = [states]
        for layer in self.layers[:n_layers]:
            every.append(layer(every[-1], mask))
        if len(every) > len(self.layers):
            every[-1] = self.layer_norm(every[-1])
        return every


def scale_power(power, n_frames):
    """Whisper's logarithm of power mel spectrograms of several clips.

    Parameters
    ----------
    power : tensor of shape (n, n_frames, n_mels)
    n_frames : tensor of int of shape (n,)
        Frames of each row.

    Returns
    -------
    tensor of shape (n, n_frames, n_mels)
        The decimal logarithm, clipped at 8 below the row's maximum, plus 4, divided by 4; with one
        more frame where their number is odd.

    Examples
    --------
    >>> import torch
    >>> from skspeech.transformers.networks.whisper import scale_power
    >>> scale_power(torch.tensor([[[1.0, 1e-4], [1e-9, 0.0]]]), torch.tensor([2]))
    tensor([[[ 1.,  0.],
             [-1., -1.]]])
    """
    if power.shape[1] % 2:
        power = functional.pad(power, (0, 0, 0, 1))
    outside = torch.arange(power.shape[1], device=power.device) >= n_frames[:, None]
    logs = power.clamp(min=1e-10).log10().masked_fill(outside[:, :, None], -10.0)
    return (torch.maximum(logs, logs.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


class _Layer(nn.Module):
    def __init__(self, n_units, n_heads, n_hidden):
        super().__init__()
        self.self_attn = _Attention(n_units, n_heads)
        self.self_attn_layer_norm = nn.LayerNorm(n_units)
        self.fc1 = nn.Linear(n_units, n_hidden)
        self.fc2 = nn.Linear(n_hidden, n_units)
        self.final_layer_norm = nn.LayerNorm(n_units)

    def forward(self, states, mask=None):
        dtype = self.fc1.weight.dtype
        states = states + self.self_attn(self.self_attn_layer_norm(states).to(dtype), mask)
        hidden = functional.gelu(self.fc1(self.final_layer_norm(states).to(dtype)))
        return states + self.fc2(hidden)


class _Attention(nn.Module):
    def __init__(self, n_units, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.k_proj = nn.Linear(n_units, n_units, bias=False)
        self.v_proj = nn.Linear(n_units, n_units)
        self.q_proj = nn.Linear(n_units, n_units)
        self.out_proj = nn.Linear(n_units, n_units)

    def forward(self, states, mask=None):
        query, key, value = (
            projection(states).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))
