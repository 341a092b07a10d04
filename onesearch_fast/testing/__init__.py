"""What tests and benchmarks share: comparison, timing, random tries, cases of each operator."""

from onesearch_fast.testing.closeness import assert_close
from onesearch_fast.testing.timing import Timing, time_alternating
from onesearch_fast.testing.tries import random_codes

__all__ = ["Timing", "assert_close", "random_codes", "time_alternating"]
