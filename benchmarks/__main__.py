"""Run benchmarks by name, or all of them."""

import os
import sys

from . import cold, long, warm

os.environ.setdefault("HF_HUB_OFFLINE", "1")
BENCHMARKS = {"cold": cold.main, "warm": warm.main, "long": long.main}

for name in sys.argv[1:] or BENCHMARKS:
    BENCHMARKS[name]()
