"""The figures, by what they are about. Importing this package fills `course.figures.FIGURES`."""

from . import answer, asymmetry, heads, lookup, sharing, specialists

__all__ = ["answer", "asymmetry", "heads", "lookup", "sharing", "specialists"]
