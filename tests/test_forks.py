"""A process that is forked while another thread works gets no lock that nobody lets go of."""

import os
import subprocess
import sys
import textwrap

import pytest

HELD = """
    import os, signal, sys, threading
    import numpy as np
    import skspeech._threads, skspeech.audio.ahead, skspeech.audio.clips, skspeech.cache
    import skspeech.transformers._windowed as windowed
    from skspeech import SpectralStatistics
    from skspeech._threads import limited_threads

    clips = [np.sin(np.arange(4000) * f) for f in (0.1, 0.2)]
    SpectralStatistics().transform(clips[:1])
    held = {held}
    taken, over = threading.Event(), threading.Event()

    def hold():
        with held:
            taken.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        with limited_threads(1):
            SpectralStatistics().transform(clips)
        windowed.shared_network("none", "cpu", lambda device: None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    over.set()
    thread.join()
    sys.exit(status != 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "held",
    [
        "skspeech._threads._lock",
        "skspeech.cache.memory_store()._lock",
        "skspeech.audio.ahead._OPEN_LOCK",
        "windowed._all_locks",
    ],
)
def test_a_lock_that_is_held_while_the_process_forks(held):
    code = textwrap.dedent(HELD).replace("{held}", held)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    assert subprocess.run(command, timeout=120).returncode == 0


FORKED = """
    import os, signal, sys
    from skspeech._shared_setting import SharedSetting

    value = ["before"]

    def change():
        value[0] = "changed"
        return lambda: value.__setitem__(0, "before")

    setting = SharedSetting(change)
    with setting.block():
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            found = [*value]
            with setting.block():
                found += value
        else:
            _, status = os.waitpid(child, 0)
            found = value * 2
    found += value
    if child == 0:
        os._exit(found != ["before", "changed", "before"])
    sys.exit(status != 0 or found != ["changed", "changed", "before"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_setting_that_is_changed_while_the_process_forks():
    assert (
        subprocess.run([sys.executable, "-c", textwrap.dedent(FORKED)], timeout=120).returncode == 0
    )
