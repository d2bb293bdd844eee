"""A pretrained network with a head of its own, as torch modules: no files, no network."""

import torch
from torch import nn

from skspeech.transformers.networks.ge2e import GE2E
from skspeech.transformers.networks.resnetse34l import ResNetSE34L
from skspeech.transformers.networks.whisper import WhisperEncoder, scale_power

__all__ = ["SpeakerNetwork"]

_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "none": nn.Identity}
# Features further than this from the training clips' mean, in standard deviations, count as this.
_CLIP = 5.0
_TINY = 1e-8


class SmartTurn(WhisperEncoder):
    """Whisper's encoder up to the last layer whose output is used."""

    def __init__(self):
        super().__init__(n_layers=3)
        self.layer_norm = nn.Identity()  # what is normalised is the layer above


_TRUNKS = {"ge2e": GE2E, "resnetse34l": ResNetSE34L, "smart-turn": SmartTurn}


class SpeakerNetwork(nn.Module):
    """A trunk, statistics of all its layers over time, and a head on them.

    The head is linear, plus a network with hidden layers if there are any. That network starts at
    zero, so that training begins from the linear part's predictions.

    Parameters
    ----------
    model : {"ge2e", "resnetse34l", "smart-turn"}
        The trunk.
    n_classes : int
        Number of classes.
    hidden_layers : tuple of int, default=()
        Units of the head's hidden layers.
    activation : {"tanh", "relu", "none"}, default="tanh"
        Activation after each of them.
    dropout : float, default=0.0
        Share of the features that is set to zero in training.
    mixed_precision : bool, default=False
        Whether the trunk computes in bfloat16 while it trains.
    """

    def __init__(
        self,
        model,
        n_classes,
        hidden_layers=(),
        activation="tanh",
        dropout=0.0,
        mixed_precision=False,
    ):
        super().__init__()
        self.trunk = _TRUNKS[model]()
        n_features, self.n_embedding = _n_features(self.trunk)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_features, n_classes)
        self.hidden = _hidden(n_features, hidden_layers, activation, dropout, n_classes)
        self.mixed_precision = mixed_precision

    def train(self, mode=True):
        """Set the mode; batch norm keeps the statistics that it was trained with."""
        super().train(mode)
        for module in self.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, mel, lengths):
        """Score the classes.

        Parameters
        ----------
        mel : tensor of shape (n, n_frames, n_mels)
            Power mel spectrograms.
        lengths : tensor of shape (n,), int
            Valid frames of each; frames after them have no effect.

        Returns
        -------
        tensor of shape (n, n_classes)
            Logits.
        """
        return self.classify(self.pool(mel, lengths))

    def classify(self, features):
        """Score the classes by pooled features."""
        features = self.dropout(self.standardise(features))
        logits = self.head(features)
        return logits if self.hidden is None else logits + self.hidden(features)

    def standardise(self, features):
        """Bring features to the scale that the head expects."""
        return ((features - self.mean) / self.scale).clamp(-_CLIP, _CLIP)

    def pool(self, mel, lengths):
        """Mean and standard deviation of all layers over time, and the embedding, if any."""
        with torch.autocast(
            mel.device.type, torch.bfloat16, enabled=self.mixed_precision and self.training
        ):
            states, embedding = self._states(mel, lengths)
        blocks = []
        for layer, n_frames in states:
            blocks += _masked_statistics(layer.float(), n_frames)
        return torch.cat([*blocks, embedding.float()], dim=1)

    def _states(self, mel, lengths):
        """Pairs of a layer's states (n, n_frames, n_units) and how many are valid; the embedding.

        States of the LSTM do not depend on frames that come later. Those of the convolutions do:
        there all spectrograms of a batch have one length.
        """
        if isinstance(self.trunk, GE2E):
            states = self.trunk.hidden_states(mel)
            last = states[-1][torch.arange(len(mel), device=mel.device), lengths - 1]
            return [(state, lengths) for state in states], self.trunk.project(last)
        if isinstance(self.trunk, SmartTurn):
            states = self.trunk(scale_power(mel, lengths), lengths)[1:]
            return [(state, (lengths + 1) // 2) for state in states], mel.new_empty(len(mel), 0)
        maps = self.trunk.feature_maps(mel)
        states = [layer.mean(dim=2).transpose(1, 2) for layer in maps]
        counts = [torch.full_like(lengths, state.shape[1]) for state in states]
        return list(zip(states, counts, strict=True)), self.trunk.project(maps[-1])


def _n_features(trunk):
    """Number of features, and how many of them, the last, are the embedding's."""
    if isinstance(trunk, GE2E):
        return (2 * 3 + 1) * trunk.n_units, trunk.n_units
    if isinstance(trunk, SmartTurn):
        return 2 * len(trunk.layers) * trunk.conv1.out_channels, 0
    return 2 * sum(trunk.n_filters) + trunk.n_features, trunk.n_features


def _masked_statistics(states, lengths):
    counts = lengths.to(states.dtype)[:, None]
    valid = torch.arange(states.shape[1], device=states.device)[None, :] < lengths[:, None]
    valid = valid[:, :, None].to(states.dtype)
    mean = (states * valid).sum(dim=1) / counts
    variance = ((states - mean[:, None]).square() * valid).sum(dim=1) / counts
    return [mean, torch.sqrt(variance + _TINY)]  # the root's slope has to be finite at zero


def _hidden(n_features, widths, activation, dropout, n_classes):
    if not widths:
        return None
    layers = []
    for n_inputs, n_units in zip([n_features, *widths], widths, strict=False):
        layers += [nn.Linear(n_inputs, n_units), _ACTIVATIONS[activation](), nn.Dropout(dropout)]
    last = nn.Linear(widths[-1], n_classes)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
