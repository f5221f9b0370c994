"""Runs tests on a virtual clock.

`streamd test` runs the tests of a configuration here. For tests of your own Python there is `run_step`, which
runs one step on records.
"""

from streamd.testing.step_run import Rejected, StepRun, run_step

__all__ = ["Rejected", "StepRun", "run_step"]
