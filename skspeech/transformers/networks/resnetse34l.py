"""The speaker network of VoxCeleb's trainer in its 2020 form: a thin residual network."""

import torch
from torch import nn

__all__ = ["ResNetSE34L"]


class ResNetSE34L(nn.Module):
    """Residual network of 34 layers with squeeze and excitation, self-attentive pooling.

    The names of its parameters are those of the published weights.

    References
    ----------
    Chung, J. S., Huh, J., Mun, S., Lee, M., Heo, H. S., Choe, S., Ham, C., Jung, S., Lee, B.-J. and
    Han, I. (2020). In defence of metric learning for speaker recognition. Interspeech.
    https://arxiv.org/abs/2003.11982
    """

    n_mels = 40
    n_features = 512
    n_filters = (16, 32, 64, 128)
    n_blocks = (3, 4, 6, 3)
    strides = (1, 2, 2, 1)

    def __init__(self):
        super().__init__()
        first, last = self.n_filters[0], self.n_filters[-1]
        self.conv1 = nn.Conv2d(1, first, 7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        n_inputs = first
        for i, (n_filters, n_blocks, stride) in enumerate(
            zip(self.n_filters, self.n_blocks, self.strides, strict=True), start=1
        ):
            setattr(self, f"layer{i}", _stage(n_inputs, n_filters, n_blocks, stride))
            n_inputs = n_filters
        self.sap_linear = nn.Linear(last, last)
        self.attention = nn.Parameter(nn.init.xavier_normal_(torch.empty(last, 1)))
        self.fc = nn.Linear(last, self.n_features)

    def forward(self, mel):
        """Embed windows of power mel spectrogram.

        Parameters
        ----------
        mel : tensor of shape (n, n_frames, 40)

        Returns
        -------
        tensor of shape (n, 512)
        """
        return self.project(self.feature_maps(mel)[-1])

    def feature_maps(self, mel):
        """Outputs of the four stages, each of shape (n, n_filters, n_rows, n_frames)."""
        x = _normalise(torch.log(mel + 1e-6)).transpose(1, 2).unsqueeze(1)
        x = torch.relu(self.bn1(self.conv1(x)))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def project(self, last_map):
        """Turn the last stage's map (n, 128, 5, n_frames) into the embedding (n, 512)."""
        states = last_map.mean(dim=2).transpose(1, 2)
        scores = torch.tanh(self.sap_linear(states)) @ self.attention
        return self.fc((states * torch.softmax(scores, dim=1)).sum(dim=1))


def _normalise(logmel, epsilon=1e-5):
    """Instance normalisation: zero mean and unit variance over time, in each band of a window."""
    # In silence, the rounding of a mean would count for hundreds of times as much.
    logmel = logmel - logmel[:, :1]
    variance, mean = torch.var_mean(logmel, dim=1, correction=0, keepdim=True)
    return (logmel - mean) / torch.sqrt(variance + epsilon)


def _stage(n_inputs, n_filters, n_blocks, stride):
    blocks = [_Block(n_inputs, n_filters, stride)]
    blocks += [_Block(n_filters, n_filters, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(*blocks)


class _Block(nn.Module):
    """Two convolutions around a short cut; the ReLU comes before the first normalisation."""

    def __init__(self, n_inputs, n_filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_filters)
        self.conv2 = nn.Conv2d(n_filters, n_filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_filters)
        self.se = _SqueezeExcitation(n_filters)
        self.downsample = None
        if stride != 1 or n_inputs != n_filters:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_inputs, n_filters, 1, stride=stride, bias=False),
                nn.BatchNorm2d(n_filters),
            )

    def forward(self, x):
        short_cut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(torch.relu(self.conv1(x)))
        x = self.se(self.bn2(self.conv2(x)))
        return torch.relu(x + short_cut)


class _SqueezeExcitation(nn.Module):
    """Weights each filter by a function of the averages of all filters."""

    def __init__(self, n_filters, reduction=8):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(n_filters, n_filters // reduction),
            nn.ReLU(),
            nn.Linear(n_filters // reduction, n_filters),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None]
