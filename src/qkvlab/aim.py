"""The smallest change of a query with which a chosen key wins: a least-distance problem, solved exactly."""

import numpy as np

from ._shapes import Array, Float
from .errors import EditError


def least_shift(
    q: Float[Array, " d_head"],
    keys: Float[Array, "key d_head"],
    chosen: int,
    scale: float,
    margin: float = 3.0,
) -> Float[Array, " d_head"]:
    """The shift of least norm after which the chosen key's score exceeds every other's by at least `margin`.

    minimise ‖δ‖ subject to scale · (q + δ)·(k_chosen - k_j) ≥ margin for all j ≠ chosen: least distance
    programming, as a non-negative least-squares problem (Lawson & Hanson 1974, chapter 23). In float64.
    Raises EditError when no query makes that key win (it lies inside the hull of the others).
    """
    others = np.delete(np.asarray(keys, np.float64), chosen, axis=0)
    G = scale * (np.asarray(keys[chosen], np.float64) - others)
    h = margin - G @ np.asarray(q, np.float64)
    if len(others) == 0 or np.all(h <= 0):
        return np.zeros_like(q)
    size = np.linalg.norm(G, axis=1).max()
    if size == 0:
        raise EditError("all visible keys are equal, so no query can tell them apart")
    # scaled so that the answer does not depend on the units of the keys
    reach = np.abs(h).max()
    E = np.vstack([G.T / size, h / reach])
    f = np.zeros(len(E))
    f[-1] = 1.0
    residual = E @ nonnegative_least_squares(E, f) - f
    if residual[-1] > -1e-9:
        raise EditError("no query makes that key win: it lies inside the hull of the other keys")
    shift = -residual[:-1] / residual[-1] * reach / size
    return shift.astype(np.asarray(q).dtype)


def nonnegative_least_squares(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """u ≥ 0 that minimises ‖A u - b‖: the active-set method of Lawson & Hanson (1974, algorithm NNLS)."""
    n = A.shape[1]
    u, passive = np.zeros(n), np.zeros(n, bool)
    tolerance = 1e-11 * max(1.0, float(np.abs(A).max()))
    for _ in range(10 * (n + 1)):
        gradient = A.T @ (b - A @ u)
        gradient[passive] = -np.inf
        if passive.all() or gradient.max() <= tolerance:
            break
        passive[int(gradient.argmax())] = True
        while True:
            trial = np.zeros(n)
            trial[passive] = np.linalg.lstsq(A[:, passive], b, rcond=None)[0]
            falling = passive & (trial <= 0)
            if not falling.any():
                break
            step = np.min(u[falling] / (u[falling] - trial[falling]))
            u += step * (trial - u)
            passive &= u > 1e-14
            u[~passive] = 0
        u = trial
    return u
