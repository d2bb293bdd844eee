"""Silero's voice activity detector, for many clips at once."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

__all__ = ["SileroVAD"]

# Frames that go through the convolutions at once; an hour of audio has 112,500.
_BLOCK_FRAMES = 4096


class SileroVAD(nn.Module):
    """Spectrum, four convolutions, an LSTM, and the probability that a frame holds speech.

    Frames depend on earlier ones only through the LSTM's state. So the convolutions take all frames
    of all clips in one batch, and the LSTM takes all clips in parallel.

    References
    ----------
    Silero Team (2024). Silero VAD. https://github.com/snakers4/silero-vad
    """

    frame_length = 512
    context_length = 64

    def __init__(self):
        super().__init__()
        self.spectrum = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(129, 128, 3, padding=1),
                nn.Conv1d(128, 64, 3, stride=2, padding=1),
                nn.Conv1d(64, 64, 3, stride=2, padding=1),
                nn.Conv1d(64, 128, 3, padding=1),
            ]
        )
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.output = nn.Conv1d(128, 1, 1)

    @classmethod
    def published_names(cls):
        """The name of each parameter in the published ONNX graph."""
        names = {"spectrum.weight": "model.stft.forward_basis_buffer"}
        for kind in ("weight", "bias"):
            names |= {
                f"convs.{i}.{kind}": f"model.encoder.{i}.reparam_conv.{kind}" for i in range(4)
            }
            names |= {f"lstm.{kind}_{x}_l0": f"model.decoder.rnn.{kind}_{x}" for x in ("ih", "hh")}
            names[f"output.{kind}"] = f"model.decoder.decoder.2.{kind}"
        return names

    def forward(self, waveforms):
        """Probability of speech in each frame of 512 samples (32 ms).

        Parameters
        ----------
        waveforms : list of tensors of shape (n_samples,)
            At 16 kHz. The last frame is filled with zeros.

        Returns
        -------
        list of tensors of shape (n_frames,)
        """
        frames = [self.frames(waveform) for waveform in waveforms]
        encoded = torch.cat([self._encode(x) for x in torch.cat(frames).split(_BLOCK_FRAMES)])
        sequences = encoded.split([len(x) for x in frames])
        states, _ = self.lstm(pack_sequence(sequences, enforce_sorted=False))
        return [self._classify(x) for x in unpack_sequence(states)]

    def follow(self, frames, state=None):
        """The same for frames that continue where the previous call ended.

        Parameters
        ----------
        frames : tensor of shape (n_frames, 64 + 512)
            Each with the end of the previous one in front.
        state : tuple of tensors or None, default=None
            The state that the previous call returned; None at the start.

        Returns
        -------
        probabilities : tensor of shape (n_frames,)
        state : tuple of tensors
        """
        encoded = torch.cat([self._encode(x) for x in frames.split(_BLOCK_FRAMES)])
        states, state = self.lstm(encoded[None], state)
        return self._classify(states[0]), state

    def frames(self, waveform):
        """Frames of a clip, each with the end of the previous one: (n_frames, 64 + 512)."""
        missing = -len(waveform) % self.frame_length
        padded = nn.functional.pad(waveform, (self.context_length, missing))
        return padded.unfold(0, self.context_length + self.frame_length, self.frame_length)

    def _encode(self, frames):
        # Mirror the end of a frame by as many samples as there is context before the frame.
        padded = nn.functional.pad(frames[:, None], (0, self.context_length), mode="reflect")
        real, imaginary = self.spectrum(padded).chunk(2, dim=1)
        x = torch.sqrt(real**2 + imaginary**2)
        for conv in self.convs:
            x = torch.relu(conv(x))
        return x[:, :, 0]

    def _classify(self, states):
        return torch.sigmoid(self.output(torch.relu(states).T))[0]
