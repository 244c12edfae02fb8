"""How x W is multiplied, not what it means: in tiles and parts, as many at once as the processors can use.

Which way is fastest, and which rounds least, hangs on the number of queries and on the matrix library; the figures are
in docs/decisions.md.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from einops import rearrange

from ._parallel import in_parallel, multiplies_small, shares
from ._shapes import Array, Float

FEW_QUERIES, LONG_SUM, PART_TERMS, ALONE_TERMS = 32, 576, 48, 192
"""Up to so many queries, sums of more than so many terms are taken in parts of at most so many; where each query is
multiplied alone, of at most `ALONE_TERMS`."""
ROW_BY_ROW = 3
"""Up to so many queries are multiplied one by one where the matrix library would copy every tile for them."""
MANY_QUERIES, WIDE_ELEMENTS = 96, 1_000_000
"""From so many queries on, tiles are put side by side for one wide product, of up to so many weights at once (4 MB)."""
WORTH_A_PIECE = 1_000_000
"""From two queries on, a product is cut for the processors into pieces of at least so many multiplications; to read a
weight costs as much as eight. One query alone waits for memory, not for a processor."""


def products(x: Float[Array, "query d_in"], tiled: Sequence[Array], outs: Sequence[Array]) -> None:
    """x W for several W, [tile, d_in, width] each, into `outs`, [tile, query, width] each; on all processors where
    there is enough to do.

    For a few queries, a sum of many terms is taken in parts: the matrix product for small sizes adds its terms one
    after the other, and rounding grows with their number; the one for larger sizes already works in parts, and the one
    for a single query adds four terms at a time. For many queries the matrix library would copy all of x again for
    every tile, so there the tiles are copied instead.
    """
    n_query, d_in = x.shape
    if n_query == 1 and multiplies_small():  # there is no small kernel for one row
        both = [np.empty((W.shape[0], 2, W.shape[2]), out.dtype) for W, out in zip(tiled, outs, strict=True)]
        products(np.repeat(x, 2, axis=0), tiled, both)
        for out, twice in zip(outs, both, strict=True):
            out[...] = twice[:, :1]
        return
    row_by_row = 1 < n_query <= ROW_BY_ROW and not multiplies_small()
    n_part = 1
    if n_query <= FEW_QUERIES and d_in > LONG_SUM:
        most_terms = ALONE_TERMS if n_query == 1 or row_by_row else PART_TERMS
        n_part = next((n for n in range(2, d_in // 8) if d_in % n == 0 and d_in // n <= most_terms), 1)
    most = 1 if n_query == 1 else sum(W.size for W in tiled) * (n_query + 8) // WORTH_A_PIECE
    some = partial(_some_products, x, tiled, outs, row_by_row, n_part)
    in_parallel([partial(some, shared) for shared in shares(*(W.shape[0] for W in tiled), most=most)])


def _some_products(
    x: Array, tiled: Sequence[Array], outs: Sequence[Array], row_by_row: bool, n_part: int, shared: Sequence[slice]
) -> None:
    """The products with these tiles of each W; every sum in `n_part` parts."""
    n_query, d_in = x.shape
    terms = x.reshape(n_query, n_part, -1).swapaxes(0, 1)
    for W, out, tiles in zip(tiled, outs, shared, strict=True):
        if n_query >= MANY_QUERIES:
            wide_product(x, W[tiles], out[tiles])
        elif row_by_row and n_part == 1:  # tile by tile, so that a tile stays in the cache for the next query
            out[tiles] = (x[:, None] @ W[tiles][:, None])[..., 0, :]
        elif n_part == 1:
            np.matmul(x, W[tiles], out=out[tiles])
        else:
            parts = W[tiles].reshape(-1, n_part, d_in // n_part, W.shape[2])
            sums = (terms[:, :, None] @ parts[:, :, None])[..., 0, :] if row_by_row else terms @ parts
            np.sum(sums, axis=1, out=out[tiles])


def wide_product(
    x: Float[Array, "query d_in"], W: Float[Array, "tile d_in width"], out: Float[Array, "tile query width"]
) -> None:
    """x W for one W, with as many tiles side by side as `WIDE_ELEMENTS` allows."""
    n_tile, d_in, width = W.shape
    at_once = max(1, WIDE_ELEMENTS // (d_in * width))
    for tiles in (slice(first, first + at_once) for first in range(0, n_tile, at_once)):
        wide = rearrange(W[tiles], "tile d_in width -> d_in (tile width)")
        columns = out[tiles].swapaxes(0, 1)
        if columns.strides[1] == width * columns.itemsize:  # an ordinary layer's columns lie side by side already
            np.matmul(x, wide, out=columns.reshape(len(x), -1))
        else:
            columns[...] = (x @ wide).reshape(columns.shape)
