"""Choose the label of each cell, without changes that last only a moment."""

import collections
import itertools

import numpy as np

__all__ = ["median", "most_probable", "viterbi"]


def viterbi(cells, cost, lag=None):
    """Find the most probable sequence of labels if each change has a cost.

    Parameters
    ----------
    cells : iterable of Cell
        In order.
    cost : float
        The cost of a change, in the unit of the evidence: nats.
    lag : int or None
        Number of later cells that are awaited before a cell is decided; None waits for the end.

    Yields
    ------
    cell : Cell
    code : int
        Index of its class.
    """
    waiting, origins, scores = collections.deque(), collections.deque(), None
    for cell in cells:
        if scores is None:
            scores, origin = cell.evidence, np.arange(len(cell.evidence))
        else:
            best = int(np.argmax(scores))
            stays = scores >= scores[best] - cost
            origin = np.where(stays, np.arange(len(scores)), best)
            scores = np.where(stays, scores, scores[best] - cost) + cell.evidence
        scores = scores - scores.max()  # in an endless recording they would lose precision
        waiting.append(cell)
        origins.append(origin)
        if lag is not None and len(waiting) > lag:
            paths = np.arange(len(scores))
            for origin in itertools.islice(reversed(origins), len(origins) - 1):
                paths = origin[paths]
            decided = int(paths[np.argmax(scores)])
            scores = np.where(paths == decided, scores, -np.inf)
            origins.popleft()
            yield waiting.popleft(), decided
    if not waiting:
        return
    path = [int(np.argmax(scores))]
    for origin in itertools.islice(reversed(origins), len(origins) - 1):
        path.append(int(origin[path[-1]]))
    yield from zip(waiting, reversed(path))


def median(cells, n_around):
    """Decide each cell by the median of each class over the cells around it, silent ones left out.

    Parameters
    ----------
    cells : iterable of Cell
        In order.
    n_around : int
        Cells before and after a cell.

    Yields
    ------
    cell : Cell
    code : int
        Index of its class.
    """
    around = collections.deque(maxlen=2 * n_around + 1)
    nothing = [None] * n_around
    for cell in itertools.chain(nothing, cells, nothing):
        around.append(cell)
        if len(around) == around.maxlen:
            middle = around[n_around]
            heard = [c.proba for c in around if c is not None and not c.is_silent]
            yield middle, int(np.argmax(np.median(heard or [middle.proba], axis=0)))


def most_probable(cells):
    """Decide each cell by itself.

    Parameters
    ----------
    cells : iterable of Cell

    Yields
    ------
    cell : Cell
    code : int
        Index of its class.
    """
    for cell in cells:
        yield cell, int(np.argmax(cell.proba))
