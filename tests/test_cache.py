"""Embeddings are remembered, bounded, shared, and never wrong."""

import contextlib
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest

from skspeech.cache import DiskStore, EmbeddingCache, MemoryStore, open_cache


def _row(value, n=10):
    return np.full(n, value, dtype=np.float32)


def test_memory_store_drops_the_least_recently_used():
    store = MemoryStore(max_bytes=3 * _row(0).nbytes)
    store.set_many({"a": _row(1), "b": _row(2), "c": _row(3)})
    store.get_many(["a"])
    store.set_many({"d": _row(4)})
    assert set(store.get_many("abcd")) == {"a", "c", "d"}
    assert store.n_bytes == 3 * _row(0).nbytes


def test_memory_store_counts_replaced_values_once():
    store = MemoryStore()
    for value in range(5):
        store.set_many({"a": _row(value)})
    assert store.n_bytes == _row(0).nbytes
    np.testing.assert_array_equal(store.get_many(["a"])["a"], _row(4))


def test_memory_store_refuses_what_is_larger_than_itself():
    store = MemoryStore(max_bytes=8)
    store.set_many({"a": _row(1)})
    assert len(store) == 0


def test_what_is_remembered_for_now_is_forgotten_alone():
    store = MemoryStore(max_bytes=1000)
    store.set_many({"old": _row(1), "replaced": _row(2)})
    n_bytes = store.n_bytes
    with contextlib.suppress(KeyError), store.for_now():
        store.set_many({"new": _row(3), "replaced": _row(4)})
        assert set(store.get_many(["old", "new", "replaced"])) == {"old", "new", "replaced"}
        raise KeyError
    assert set(store.get_many(["old", "new", "replaced"])) == {"old", "replaced"}
    assert store.n_bytes == n_bytes


def test_stored_values_can_not_be_changed():
    store, value = MemoryStore(), _row(1)
    store.set_many({"a": value})
    value[:] = 7
    found = store.get_many(["a"])["a"]
    np.testing.assert_array_equal(found, _row(1))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 2


def test_disk_store_survives_and_keeps_shapes(tmp_path):
    values = {"row": _row(1), "windows": np.arange(12, dtype=np.float32).reshape(3, 4)}
    DiskStore(tmp_path).set_many(values)
    found = DiskStore(tmp_path).get_many(["row", "windows", "missing"])
    assert found.keys() == values.keys()
    for key, value in values.items():
        np.testing.assert_array_equal(found[key], value)


def test_disk_store_takes_more_keys_than_sqlite_has_placeholders(tmp_path):
    store = DiskStore(tmp_path)
    store.set_many({str(i): _row(i) for i in range(2_500)})
    assert len(store.get_many(map(str, range(2_500)))) == 2_500


def test_disk_store_pickles_and_works_in_threads(tmp_path):
    store = pickle.loads(pickle.dumps(DiskStore(tmp_path)))
    threads = [
        threading.Thread(target=store.set_many, args=({f"{t}-{i}": _row(i) for i in range(20)},))
        for t in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.get_many([f"{t}-{i}" for t in range(8) for i in range(20)])) == 160


def test_processes_write_at_once(tmp_path):
    code = (
        "import sys, numpy as np; from skspeech.cache import DiskStore; who = sys.argv[2]\n"
        "store = DiskStore(sys.argv[1])\n"
        "for i in range(50): store.set_many({f'{who}-{i}': np.full(100, i, dtype=np.float32)})"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(who)]) for who in range(3)
    ]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    assert (
        len(DiskStore(tmp_path).get_many([f"{w}-{i}" for w in range(3) for i in range(50)])) == 150
    )


def test_processes_that_begin_at_once_share_a_new_folder(tmp_path):
    code = (
        "import sys, time, warnings; import numpy as np; from skspeech.cache import DiskStore\n"
        "warnings.simplefilter('error')\n"
        "begin, who, *folders = sys.argv[1:]\n"
        "for number, folder in enumerate(folders):\n"
        "    time.sleep(max(0, float(begin) + number / 5 - time.time()))\n"
        "    store = DiskStore(folder)\n"
        "    store.get_many(['a'])\n"
        "    store.set_many({who: np.full(100, float(who), dtype=np.float32)})\n"
    )
    folders = [tmp_path / str(number) for number in range(5)]
    begin = time.time() + 3
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(begin), str(who), *map(str, folders)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in range(8)
    ]
    assert [worker.communicate(timeout=120)[1] for worker in workers] == [""] * 8
    for folder in folders:
        assert len(DiskStore(folder).get_many(map(str, range(8)))) == 8


@contextlib.contextmanager
def _held_by_another(store, seconds=60.0):
    held, released = threading.Event(), threading.Event()

    def hold():
        with contextlib.closing(sqlite3.connect(store.path)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            held.set()
            released.wait(seconds)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    yield
    released.set()
    holder.join()


def test_a_file_that_another_process_holds_is_waited_for(tmp_path):
    store = DiskStore(tmp_path)
    store.set_many({"a": _row(1)})
    with _held_by_another(store, seconds=1.5):
        store.set_many({"b": _row(2)})
    assert set(store.get_many("ab")) == {"a", "b"}


def test_a_file_that_another_process_never_lets_go_costs_one_true_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("skspeech.cache._PATIENCE", 0.1)
    store = DiskStore(tmp_path)
    store.set_many({"a": _row(1)})
    with _held_by_another(store):
        with pytest.warns(UserWarning, match="other processes") as caught:
            store.set_many({"b": _row(2)})
        store.set_many({"b": _row(2)})
    assert "disk is full" not in str(caught[0].message)
    store.set_many({"c": _row(3)})
    assert set(store.get_many("abc")) == {"a", "c"}


@pytest.mark.parametrize("column", ["shape", "checksum", "value"])
def test_a_changed_value_is_not_returned(tmp_path, column):
    store = DiskStore(tmp_path)
    store.set_many({"a": _row(1), "b": _row(2)})
    with sqlite3.connect(store.path) as connection:
        connection.execute(f"UPDATE embeddings SET {column} = x'00' WHERE key = 'a'")
    connection.close()
    assert set(DiskStore(tmp_path).get_many(["a", "b"])) == {"b"}


def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path):
    store = DiskStore(tmp_path)
    store.path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.warns(UserWarning, match="could not be used to read"):
        assert store.get_many(["a"]) == {}
    store.set_many({"a": _row(1)})
    assert set(DiskStore(tmp_path).get_many(["a"])) == {"a"}


def test_a_folder_that_can_not_be_made_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = DiskStore(tmp_path / "file" / "folder")
    with pytest.warns(UserWarning, match="Embeddings are computed instead"):
        store.set_many({"a": _row(1)})
    store.set_many({"a": _row(1)})
    assert store.get_many(["a"]) == {}


def test_a_folder_that_can_not_be_looked_into_costs_one_warning(tmp_path):
    store = DiskStore(tmp_path / ("long" * 100))
    with pytest.warns(UserWarning, match="could not be used to read"):
        assert store.get_many(["a"]) == {}
    store.set_many({"a": _row(1)})


def test_a_folder_that_was_deleted_is_begun_anew(tmp_path):
    store = DiskStore(tmp_path / "folder")
    store.set_many({"a": _row(1)})
    shutil.rmtree(store.folder)
    store.set_many({"b": _row(2)})
    assert set(DiskStore(store.folder).get_many(["a", "b"])) == {"b"}


def test_a_read_only_folder_is_still_read(tmp_path):
    store = DiskStore(tmp_path)
    store.set_many({"a": _row(1)})
    store.close()
    # Root may write anywhere, so the refusal itself is what is asked for here.
    reader = DiskStore(tmp_path)
    os.chmod(tmp_path, 0o555)
    try:
        reader._local.connection, reader._local.pid = reader._connect_read_only(), os.getpid()
        assert set(reader.get_many(["a"])) == {"a"}
        with pytest.warns(UserWarning, match="could not be used to write"):
            reader.set_many({"b": _row(2)})
    finally:
        os.chmod(tmp_path, 0o755)


def test_a_full_disk_costs_one_warning(tmp_path):
    store = DiskStore(tmp_path)
    store.set_many({"a": _row(1)})
    pages = store._connection().execute("PRAGMA page_count").fetchone()[0]
    store._connection().execute(f"PRAGMA max_page_count={pages}")
    with pytest.warns(UserWarning, match="full"):
        store.set_many({str(i): _row(i, 10_000) for i in range(10)})
    assert set(DiskStore(tmp_path).get_many(["a", "0"])) == {"a"}


def test_a_folder_whose_name_is_full_is_no_full_disk(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="Make the folder writable"):
        DiskStore(tmp_path / "file" / "full").set_many({"a": _row(1)})


def test_what_is_found_on_disk_is_kept_in_memory(tmp_path):
    disk, memory = DiskStore(tmp_path), MemoryStore()
    disk.set_many({"a": _row(1)})
    assert set(EmbeddingCache([memory, disk]).get_many(["a", "b"])) == {"a"}
    assert set(memory.get_many(["a"])) == {"a"}


def test_open_cache_forms(tmp_path):
    assert open_cache(False).stores == []
    assert len(open_cache(None).stores) == len(open_cache(joblib.Memory(None)).stores) == 1
    by_path = open_cache(tmp_path).stores[1]
    by_memory = open_cache(joblib.Memory(tmp_path, verbose=0)).stores[1]
    assert by_path.path == by_memory.path
    with pytest.raises(TypeError, match="memory=3 is not accepted"):
        open_cache(3)
    with pytest.raises(ValueError, match="memory='' names no folder"):
        open_cache("")
