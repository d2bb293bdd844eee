"""Google's speech embedding: a small convolutional network trained on spoken keywords."""

from torch import nn
from torch.nn import functional

__all__ = ["SpeechEmbedding"]

# Filters of each block, and the (frames, bands) of the max-pooling at its end.
_BLOCKS = [(24, (2, 2)), (48, (1, 2)), (72, (2, 2)), (96, (1, 2)), (96, (2, 2))]
_LOWEST = -0.4


class SpeechEmbedding(nn.Module):
    """Twenty convolutions over 76 frames of 32 log mel bands; an embedding every 8 frames.

    Nothing is padded in time, so the embeddings of a long spectrogram equal those of its windows
    computed one by one, and frames shared by overlapping windows are computed once.

    References
    ----------
    Lin, J., Kilgour, K., Roblek, D. and Sharifi, M. (2020). Training keyword spotters with limited
    and synthesized speech data. ICASSP. https://arxiv.org/abs/2002.01322
    """

    n_mels = 32
    n_units = 96
    window = 76
    """Frames that an embedding sees."""
    hop = 8
    """Frames between the windows of two embeddings."""

    def __init__(self):
        super().__init__()
        blocks = []
        n_inputs = 1
        for i, (n_filters, _) in enumerate(_BLOCKS):
            if i == 0:
                convs = [_conv(1, n_filters, (3, 3))]
            else:
                convs = [_conv(n_inputs, n_filters, (1, 3)), _conv(n_filters, n_filters, (3, 1))]
            convs += [_conv(n_filters, n_filters, (1, 3)), _conv(n_filters, n_filters, (3, 1))]
            blocks.append(nn.ModuleList(convs))
            n_inputs = n_filters
        self.blocks = nn.ModuleList(blocks)
        self.output = nn.Conv2d(n_inputs, self.n_units, (3, 1), bias=False)

    def forward(self, logmel):
        """Embed the windows of log mel spectrograms.

        Parameters
        ----------
        logmel : tensor of shape (n, n_frames, 32)
            Decibels, of samples between ±32767, divided by 10, plus 2; at least 76 frames.

        Returns
        -------
        tensor of shape (n, 1 + (n_frames - 76) // 8, 96)
            Row `i` is the embedding of the 76 frames from frame ``8 * i``.
        """
        maps = logmel[:, None]
        for convs, (_, pool) in zip(self.blocks, _BLOCKS):
            for conv in convs:
                # Slope 0.2 below 0, constant at -0.4 and below.
                maps = functional.leaky_relu(conv(maps), 0.2, inplace=True).clamp_(min=_LOWEST)
            maps = functional.max_pool2d(maps, pool)
        return self.output(maps)[..., 0].transpose(1, 2)


def _conv(n_inputs, n_filters, kernel):
    """A convolution that keeps the number of bands and does not pad in time."""
    return nn.Conv2d(n_inputs, n_filters, kernel, padding=(0, kernel[1] // 2))
