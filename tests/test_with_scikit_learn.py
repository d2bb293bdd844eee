"""The guide's page on extractors: what scikit-learn's own combinations take."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import labelled_tones

import skspeech
from skspeech import AudioLoader, SpectralStatistics, VoiceActivityTrimmer

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "extractors.md"


@pytest.fixture
def table(tmp_path):
    pd = pytest.importorskip("pandas")
    waveforms, labels = labelled_tones(24, ["low", "high"], duration=0.2)
    paths = [str(tmp_path / f"{i}.wav") for i in range(24)]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, 16_000)
    return pd.DataFrame({"path": paths, "age": np.arange(24.0)}), labels


def _run(names, table, labels, monkeypatch):
    """What the guide's examples define, with features that need no weights."""
    monkeypatch.setattr(skspeech, "SpeakerEmbedding", SpectralStatistics)
    monkeypatch.setattr(
        skspeech,
        "SpeakerEmbeddingClassifier",
        lambda: skspeech.FusedEmbeddingClassifier(extractor=SpectralStatistics()),
    )
    defined = {"table": table, "labels": labels}
    for name in names:
        (code,) = re.findall(
            rf"<!-- example: {name} -->\n```python\n(.*?)```", GUIDE.read_text(), re.DOTALL
        )
        exec(code, defined)
    return defined


def test_a_column_transformer_takes_a_column_of_paths(table, monkeypatch):
    table, labels = table
    pipeline = _run(["columns"], table, labels, monkeypatch)["pipeline"]
    assert pipeline.score(table, labels) > 0.9
    names = pipeline[0].get_feature_names_out()
    assert names[-1] == "passthrough__age"
    assert len(names) > 100


def test_bagging_takes_a_column_of_paths(table, monkeypatch):
    table, labels = table
    bagging = _run(["bagging"], table, labels, monkeypatch)["bagging"]
    assert bagging.score(table[["path"]], labels) > 0.9
    column = np.array(table["path"].tolist()).reshape(-1, 1)
    assert bagging.fit(column, labels).score(column, labels) > 0.9


def test_stacking_passes_paths_through_to_who_can_listen(table, monkeypatch):
    table, labels = table
    stacking = _run(["columns", "bagging", "stacking"], table, labels, monkeypatch)["stacking"]
    assert stacking.score(table[["path"]], labels) > 0.9
    n_features = (
        stacking.final_estimator_[0].transform(stacking.transform(table[["path"]])).shape[1]
    )
    assert n_features > 100, "the final classifier does not hear the clips"


def test_what_gives_clips_needs_an_extractor_behind_it(table):
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline

    table, _ = table
    heard = make_pipeline(AudioLoader(), SpectralStatistics())
    assert make_column_transformer((heard, ["path"])).fit_transform(table).shape[0] == 24


@pytest.mark.parametrize("loader", [AudioLoader(), VoiceActivityTrimmer()], ids=["load", "trim"])
def test_clips_stay_with_their_rows_in_tables(table, loader):
    from sklearn.base import clone
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline

    table, _ = table
    heard = make_pipeline(loader, SpectralStatistics())
    try:
        expected = heard.fit_transform(table[["path"]])
    except ImportError as error:
        pytest.skip(str(error))
    columns = make_column_transformer((heard, ["path"]), ("passthrough", ["age"]))
    for order in (table.sample(frac=1, random_state=0), table[::2]):
        found = clone(columns).set_output(transform="pandas").fit_transform(order)
        assert found.index.equals(order.index)
        np.testing.assert_allclose(found.iloc[:, :-1], expected[order.index], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(found.iloc[:, -1], order["age"])
    assert type(loader.transform(table["path"])) is np.ndarray
