"""The music taggers of the musicnn package: convolutional networks over log-mel bands."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["MSD_POOLS", "MSD_TAGS", "MTT_POOLS", "MTT_TAGS", "VGG", "MusicNN"]

MTT_TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast",
    "piano", "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male",
    "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman",
    "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man", "classic", "choir", "voice",
    "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice",
    "weird", "country", "metal", "female voice", "choral",
)  # fmt: skip
"""Labels of the networks trained on MagnaTagATune, in the order of their output."""

MSD_TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists",
    "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill",
    "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic",
    "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country",
    "easy listening", "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock",
    "60s", "rnb", "indie pop", "sad", "House", "happy",
)  # fmt: skip
"""Labels of the networks trained on the Million Song Dataset, in the order of their output."""

# Size and stride, each in (frames, bands), of the pooling in a VGG's five blocks. The graphs of the
# two networks show that they were trained with different ones.
MTT_POOLS = (
    ((4, 1), (2, 2)),
    ((2, 2), (2, 2)),
    ((2, 2), (2, 2)),
    ((2, 2), (2, 2)),
    ((4, 4), (4, 4)),
)
MSD_POOLS = (
    ((4, 1), (4, 1)),
    ((1, 4), (1, 4)),
    ((2, 2), (2, 2)),
    ((2, 2), (2, 2)),
    ((4, 4), (4, 4)),
)


class _Scale(nn.Module):
    """Batch normalisation with learnt statistics, as one factor and one offset per channel."""

    def __init__(self, n_channels):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(n_channels))
        self.offset = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x):
        shape = (-1,) + (1,) * (x.ndim - 2)
        return torch.addcmul(self.offset.view(shape), x, self.factor.view(shape))


class _ConvPool(nn.Module):
    """Convolution, ReLU, batch normalisation, max-pooling: computed with the pooling first.

    ReLU never decreases, and normalisation scales each channel by a constant. So pooling may come
    right after the convolution, where it leaves less to compute, if channels with a negative
    constant are negated before the pooling and again after it. The result is the same.
    """

    def __init__(self, n_inputs, n_filters, kernel_size, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(n_inputs, n_filters, kernel_size, padding=padding)
        self.norm = _Scale(n_filters)
        self._folded = None

    def fold(self, dtype):
        """Keep the weights in the form that :meth:`forward` needs; they must not change later."""
        self._folded = self._fold(dtype)

    def forward(self, x, pool):
        sign, weight, bias = self._folded or self._fold(x.dtype)
        maps = functional.conv2d(x.to(weight.dtype), weight, bias, padding=self.conv.padding)
        return self.norm(torch.relu(pool(maps).float() * sign))

    def _fold(self, dtype):
        sign = torch.where(self.norm.factor < 0, -1.0, 1.0)
        weight = self.conv.weight * sign[:, None, None, None]
        # With the channels last in memory, convolutions on a CPU are about twice as fast. Unlike
        # to(), contiguous() would leave filters with one input channel as they are.
        weight = weight.to(dtype=dtype, memory_format=torch.channels_last)
        return sign.view(-1, 1, 1), weight, (self.conv.bias * sign).to(dtype)


class _ConvMax(_ConvPool):
    """The same for one input channel, where the pooling is the maximum over all bands.

    On a CPU it is a product of matrices: a row has all that a filter sees at some neighbouring
    positions, and for each of these, a column has the filter's weights, shifted to it. At most half
    as many numbers are copied as if each position had a row, and products this wide are fast.

    Normalisation comes after the pooling, so the pooling of channels with a negative factor is the
    minimum. Both compare bits as integers, which takes a third of the time: the order of numbers
    above zero is that of their bits, all below zero have the sign bit, and become zero by the ReLU.
    """

    _INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
    _MULTIPLE = 32  # matrices of multiples of this size are multiplied half as fast again

    def __init__(self, n_filters, kernel_size, positions):
        super().__init__(1, n_filters, kernel_size)
        self._products = None
        self.positions = positions  # neighbours in a row: frames, bands; one of them is 1

    def forward(self, x):
        """Turn (n, 1, n_frames, n_bands) into (n, n_filters, n_frames - kernel + 1)."""
        if x.device.type != "cpu" or torch.jit.is_tracing():
            return super().forward(x, _max_over_bands).squeeze(3)
        order, parts = self._products or self._shifted(x.dtype)
        weight, _ = parts[0]
        n_frames = x.shape[2] - self.conv.kernel_size[0] + 1
        rows = self._rows(x[:, 0].to(weight.dtype), n_frames, weight.shape[1])
        maps = torch.cat([self._pooled(rows, *part) for part in parts], dim=2)[:, :n_frames].float()
        places = order.expand(*maps.shape[:2], -1)  # gather() is faster than maps[:, :, order]
        return self.norm(torch.relu(maps).gather(2, places).transpose(1, 2))

    def _rows(self, x, n_frames, width):
        """What filters see, (n, frame blocks, band blocks, width), then 1 for the bias, and 0."""
        x = functional.pad(x, (0, 0, 0, -n_frames % self.positions[0]))
        if self.positions[0] > 1:  # what a row has of a band is then contiguous
            x = x.transpose(1, 2).contiguous().transpose(1, 2)
        n_seen, n_bands = self._seen()
        x = x.unfold(1, n_seen, self.positions[0])
        blocks = [x.unfold(2, n_bands, self.positions[1])]
        if (x.shape[2] - n_bands) % self.positions[1]:
            # The last block ends with the bands: some positions twice change no maximum.
            blocks.append(x[:, :, -n_bands:].unfold(2, n_bands, 1))
        sizes = [block.shape[2] for block in blocks]
        rows = x.new_empty(*x.shape[:2], sum(sizes), width)
        n_seen *= n_bands
        for part, block in zip(rows.split(sizes, dim=2), blocks, strict=True):
            part[..., :n_seen].unflatten(3, block.shape[3:]).copy_(block)
        rows[..., n_seen] = 1
        rows[..., n_seen + 1 :] = 0
        return rows

    def _pooled(self, rows, weight, pool):
        """The pooled maps of some of the filters, (n, n_frames, n_filters)."""
        maps = functional.linear(rows, weight).view(self._INTEGERS[weight.dtype])
        maps = pool(maps, dim=2).unflatten(2, (*self.positions, -1))
        return pool(maps, dim=3).flatten(1, 2).view(rows.dtype)

    def _seen(self):
        """Frames and bands that a filter sees at all of these positions."""
        kernel = self.conv.kernel_size
        return [k + p - 1 for k, p in zip(kernel, self.positions, strict=True)]

    def fold(self, dtype):
        super().fold(dtype)
        if self.conv.weight.device.type == "cpu":
            self._products = self._shifted(dtype)

    def _shifted(self, dtype):
        """The column of each filter, and matrices of the shifted filters with their pooling."""
        (n_frames, n_bands), kernel = self.positions, self.conv.kernel_size
        columns = torch.zeros(n_frames, n_bands, len(self.conv.weight), *self._seen())
        for i in range(n_frames):
            for j in range(n_bands):
                columns[i, j, :, i : i + kernel[0], j : j + kernel[1]] = self.conv.weight[:, 0]
        bias = self.conv.bias.expand(n_frames, n_bands, -1)
        columns = torch.cat([columns.flatten(3), bias[..., None]], dim=3)
        columns = functional.pad(columns, (0, -columns.shape[3] % self._MULTIPLE)).to(dtype)
        multiple = max(1, self._MULTIPLE // (n_frames * n_bands))
        is_negative = self.norm.factor < 0
        order, parts, n_columns = torch.empty(len(is_negative), dtype=torch.long), [], 0
        for chosen, pool in [(is_negative, torch.amin), (~is_negative, torch.amax)]:
            own = columns[:, :, chosen]
            own = functional.pad(own, (0, 0, 0, -own.shape[2] % multiple))
            order[chosen] = n_columns + torch.arange(int(chosen.sum()))
            n_columns += own.shape[2]
            if len(own[0, 0]):
                parts.append((own.flatten(0, 2), pool))
        return order, parts


class _ConvOverTime(nn.Conv1d):
    """A convolution over time, computed with the channels last in memory.

    Time is the width of an image one pixel high. Of an image one pixel wide with 561 channels,
    torch 2.13 reads memory that it has not written, on processors with AVX-512: it may be NaN.
    """

    _folded = None

    def fold(self, dtype):
        """Keep the weights in the form that :meth:`forward` needs; they must not change later."""
        self._folded = self._fold(dtype)

    def forward(self, x):
        weight, bias = self._folded or self._fold(x.dtype)
        x = x[:, :, None].to(dtype=weight.dtype, memory_format=torch.channels_last)
        return functional.conv2d(x, weight, bias, padding=(0, *self.padding))[:, :, 0].float()

    def _fold(self, dtype):
        weight = self.weight[:, :, None].to(dtype=dtype, memory_format=torch.channels_last)
        return weight, self.bias.to(dtype)


def _together(maps):
    """Maps (n, n_channels, n_frames) one after the other, with the channels last in memory."""
    return torch.cat([x.transpose(1, 2) for x in maps], dim=2).transpose(1, 2)


def _max_over_bands(x):
    return functional.max_pool2d(x, (1, int(x.shape[3])))


class _MusicNetwork(nn.Module):
    """Takes windows of log-mel spectrograms and returns a dict of layers."""

    n_mels = 96
    n_frames = 187
    # On a CPU, the first layers' maps of more windows fit neither the caches nor the allocator's
    # pool, which makes them up to twice as slow.
    _windows_at_once = 2

    def fold(self, dtype=torch.float32):
        """Prepare for prediction; the weights must not change afterwards.

        Parameters
        ----------
        dtype : torch.dtype, default=torch.float32
            What the convolutions compute in. ``torch.bfloat16`` takes less than two thirds of the
            time where the processor has instructions for it; all else stays in single precision.

        Returns
        -------
        self : object
        """
        for module in self.modules():
            if isinstance(module, _ConvPool | _ConvOverTime):
                module.fold(dtype)
        return self

    def forward(self, logmel):
        """All layers of windows of log-mel spectrogram.

        Parameters
        ----------
        logmel : tensor of shape (n, n_frames, 96)

        Returns
        -------
        dict of str to tensor
        """
        if logmel.device.type != "cpu":
            return self._layers(logmel)
        parts = [self._layers(part) for part in logmel.split(self._windows_at_once)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class MusicNN(_MusicNetwork):
    """Timbral and temporal filters over log-mel bands, three layers over time, global pools.

    Called with log-mel spectrograms (n, n_frames, 96), 187 frames (3 s) in training, it gives a
    dict: ``"mean_pool"`` and ``"max_pool"`` (n, 753), ``"penultimate"`` (n, 200), ``"tags"``
    (n, n_tags) probabilities.

    Parameters
    ----------
    n_tags : int, default=50
        Number of outputs.

    References
    ----------
    Pons, J. and Serra, X. (2019). musicnn: pre-trained convolutional neural networks for music
    audio tagging. ISMIR late-breaking demos. https://arxiv.org/abs/1909.06654
    """

    _windows_at_once = 4

    def __init__(self, n_tags=50):
        super().__init__()
        self.norm = _Scale(1)
        self.timbral = nn.ModuleList(_ConvMax(204, (7, n), (1, p)) for n, p in [(38, 4), (67, 2)])
        self.temporal = nn.ModuleList(_ConvMax(51, (n, 1), (32, 1)) for n in (128, 64, 32))
        self.middle = nn.ModuleList(_ConvOverTime(n, 64, 7, padding=3) for n in (561, 64, 64))
        self.middle_norms = nn.ModuleList(_Scale(64) for _ in range(3))
        self.pool_norm = _Scale(2 * 753)
        self.dense = nn.Linear(2 * 753, 200)
        self.dense_norm = _Scale(200)
        self.output = nn.Linear(200, n_tags)

    def _layers(self, logmel):
        front = self._front_end(logmel)
        maps = _together([front, *self._middle(front)])
        mean_pool, max_pool = maps.mean(dim=2), maps.amax(dim=2)
        interleaved = torch.stack([max_pool, mean_pool], dim=2).flatten(1)
        dense = torch.relu(self.dense(self.pool_norm(interleaved)))
        penultimate = self.dense_norm(dense)
        return {
            "mean_pool": mean_pool,
            "max_pool": max_pool,
            "penultimate": penultimate,
            "tags": torch.sigmoid(self.output(penultimate)),
        }

    def _front_end(self, logmel):
        x = self.norm(logmel[:, None])
        padded = functional.pad(x, (0, 0, 3, 3))
        maps = [block(padded) for block in self.timbral]
        for block in self.temporal:
            n = block.conv.kernel_size[0]
            # TensorFlow's "same" padding: with an odd number of zeros, the extra one is at the end.
            padded = functional.pad(x, (0, 0, (n - 1) // 2, n // 2))
            maps.append(block(padded))
        return _together(maps)

    def _middle(self, x):
        maps = []
        for conv, norm in zip(self.middle, self.middle_norms, strict=True):
            y = norm(torch.relu(conv(x)))
            x = x + y if maps else y
            maps.append(x)
        return maps


class VGG(_MusicNetwork):
    """Five blocks of 3x3 convolution and max-pooling over a log-mel spectrogram.

    Called with log-mel spectrograms (n, 187, 96), it gives a dict: ``"pool1"`` to ``"pool5"``, and
    ``"tags"`` (n, n_tags) probabilities. A pool is the mean over time of the block's map, one
    channel's bands after the other: (n, 128 * n_bands), where 96 (48 with ``MTT_POOLS``), 24, 12, 6
    and 1 bands are left. If bands were averaged too, the features would hardly separate speakers.

    Parameters
    ----------
    n_tags : int, default=50
        Number of outputs.
    pools : tuple of 5 pairs, default=MTT_POOLS
        Size and stride of each block's pooling: ``MSD_POOLS`` for the weights trained on the
        Million Song Dataset, ``MTT_POOLS`` for those trained on MagnaTagATune.
    """

    def __init__(self, n_tags=50, pools=MTT_POOLS):
        super().__init__()
        self.pools = pools
        self.norm = _Scale(1)
        self.blocks = nn.ModuleList(
            _ConvPool(n, 128, 3, padding=1) for n in (1, 128, 128, 128, 128)
        )
        self.output = nn.Linear(256, n_tags)

    def _layers(self, logmel):
        maps = self.feature_maps(logmel)
        features = {f"pool{i}": x.mean(dim=2).flatten(1) for i, x in enumerate(maps, 1)}
        flat = maps[-1].permute(0, 2, 3, 1).flatten(1)
        return {**features, "tags": torch.sigmoid(self.output(flat))}

    def feature_maps(self, logmel):
        """The five pooled maps, each (n, 128, n_frames_i, n_bands_i)."""
        x = self.norm(logmel[:, None])
        maps = []
        for block, (size, stride) in zip(self.blocks, self.pools, strict=True):
            x = block(x, lambda y, k=size, s=stride: functional.max_pool2d(y, k, s))
            maps.append(x)
        return maps
