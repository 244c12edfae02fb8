"""Array types with their shapes, for signatures: `Float[Array, "head query d_head"]`.

The shapes are checked wherever jaxtyping is loaded before this package (the tests load it with its import
hook). Otherwise they cost nothing: importing jaxtyping takes 70 ms, a tenth of a whole `qkvlab find`.
"""

import sys
from typing import TYPE_CHECKING, Any

Array = Any
"""A NumPy or PyTorch array (anything that follows the array API standard)."""

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int
else:

    class _Unchecked:
        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    Bool = Float = Int = _Unchecked

__all__ = ["Array", "Bool", "Float", "Int"]
