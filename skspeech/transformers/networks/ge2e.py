"""The speaker encoder of Resemblyzer: LSTM layers trained with the generalised end-to-end loss."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["GE2E"]


class GE2E(nn.Module):
    """Three LSTM layers of 256 units, a linear layer, ReLU, and a unit norm.

    Every layer is its own module, so that one pass gives the hidden states of all three.

    References
    ----------
    Wan, L., Wang, Q., Papir, A. and Moreno, I. L. (2018). Generalized end-to-end loss for speaker
    verification. ICASSP. https://arxiv.org/abs/1710.10467
    """

    n_mels = 40
    n_units = 256

    def __init__(self):
        super().__init__()
        sizes = [self.n_mels, self.n_units, self.n_units]
        self.layers = nn.ModuleList(nn.LSTM(size, self.n_units, batch_first=True) for size in sizes)
        self.linear = nn.Linear(self.n_units, self.n_units)

    def forward(self, mel):
        """Embed windows of power mel spectrogram.

        Parameters
        ----------
        mel : tensor of shape (n, n_frames, 40)

        Returns
        -------
        tensor of shape (n, 256)
            Not negative, of unit length (all zeros where all outputs of the ReLU are 0).
        """
        return self.project(self.hidden_states(mel)[-1][:, -1])

    def hidden_states(self, mel, n_layers=3):
        """Hidden states of the first `n_layers` layers, each of shape (n, n_frames, 256)."""
        states = []
        for layer in self.layers[:n_layers]:
            if mel.is_cuda:
                layer.flatten_parameters()  # those of a copied network lie apart
            mel, _ = layer(mel)
            states.append(mel)
        return states

    def project(self, last_state):
        """Turn the third layer's last hidden state (n, 256) into the embedding (n, 256)."""
        return functional.normalize(torch.relu(self.linear(last_state)), dim=1)
