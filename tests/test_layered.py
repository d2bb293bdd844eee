"""What extractors that keep statistics of an encoder's layers have in common."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skspeech import MoonshineEmbedding, SpeakerEmbedding, WhisperEmbedding, cache
from skspeech.datasets import make_speech_like
from skspeech.weights import WeightsError, load_weights

encoders = pytest.mark.parametrize("make", [MoonshineEmbedding, WhisperEmbedding])


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()


@pytest.fixture(scope="module")
def weights():
    try:
        for name in ("moonshine-tiny", "smart-turn"):
            load_weights(name)
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")


@pytest.fixture(scope="module")
def clips():
    """Clips of other lengths: some samples, less than a window, a window, and more than two."""
    speech = np.concatenate(make_speech_like(n_samples=12, random_state=0).data)
    seconds = [0.01, 0.3, 1.0, 1.01, 2.7, 8.0, 10.0, 17.3, 21.3, 0.31]
    return [np.resize(np.roll(speech, -777 * i), int(s * 16_000)) for i, s in enumerate(seconds)]


@encoders
def test_features_in_bfloat16_are_nearly_the_same(make, weights, clips):
    exact, rounded = (
        make(dtype=dtype, device="cpu").transform(clips) for dtype in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - rounded).mean() < 0.02 * np.abs(exact).mean()


@encoders
@pytest.mark.parametrize(("can", "auto"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_taken_where_the_processor_has_it(make, set_bfloat16, can, auto):
    set_bfloat16(can)
    assert make(device="cpu")._precision() == auto


@encoders
def test_pickle_holds_no_weights_and_clones_are_equal(make, weights, clips):
    extractor = make(layers=(1, 2))
    expected = extractor.fit_transform(clips[:3])
    assert len(pickle.dumps(extractor)) < 2_000
    for copy in (pickle.loads(pickle.dumps(extractor)), clone(extractor)):
        assert_array_equal(copy.transform(clips[:3]), expected)


@pytest.mark.parametrize("make", [MoonshineEmbedding, SpeakerEmbedding, WhisperEmbedding])
@pytest.mark.parametrize(
    "layers", [9, (9,), -9, (), (1, 1), (1.0,), True, (True,), np.array([True])], ids=repr
)
def test_fit_refuses_what_is_no_layer(make, layers, clips):
    with pytest.raises(ValueError, match=r"layers=.* is not accepted\. Use one or several of"):
        make(layers=layers).fit(clips[:1])


@pytest.mark.gpu
@encoders
def test_gpu_gives_the_cpus_features(make, weights, clips):
    extractor = make(memory=False, dtype="float32", device="cuda")
    on_gpu = extractor.transform(clips)
    on_cpu = extractor.set_params(device="cpu").transform(clips)
    assert_allclose(on_gpu, on_cpu, rtol=1e-2, atol=1e-2)
