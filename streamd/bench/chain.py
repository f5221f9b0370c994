"""TCP into SQLite through a chain of steps, compared with the same path without steps."""

import statistics

from streamd.bench.daemon import Setup
from streamd.bench.plan import Plan
from streamd.bench.row import Row
from streamd.bench.tcp import sent

GOAL_RATIO = 1.8
STEPS = """
[[pipelines.bench.steps]]
type = "filter"
where = "value > 0 and ok"

[[pipelines.bench.steps]]
type = "set"
fields = { value = "value * 1.8 + 32", unit = "'F'" }

[[pipelines.bench.steps]]
type = "validate"
rules = [
  { field = "sensor", check = "not_null" },
  { field = "value", check = "range", ge = -40, le = 140 },
  { field = "unit", check = "one_of", values = ["C", "F"] },
]

[[pipelines.bench.steps]]
type = "dedupe"
key = ["sensor", "seq"]
within = "1m"
"""
"""Every record passes them, so that both runs store the same number of rows."""


def measure(plan: Plan) -> list[Row]:
    """The CPU of filter, set, validate and dedupe on the way into a typed table."""
    costs: list[float] = []
    plain_costs: list[float] = []
    millions = plan.tcp_records / 1e6
    for number in range(1, plan.tcp_repeats + 1):
        for steps, found in (("", plain_costs), (STEPS, costs)):
            plan.step(
                f"tcp_steps: run {number} of {plan.tcp_repeats}, {'with' if steps else 'without'} steps"
            )
            with plan.folder() as folder:
                _, used_s, _ = sent(folder, Setup(steps=steps), plan.tcp_records)
            found.append(used_s / millions)
    row = Row(
        name="tcp_steps",
        what=f"TCP, {plan.tcp_records:,} JSON lines → filter → set → validate → dedupe → typed table",
        value=statistics.median(costs),
        unit="CPU s/M",
        note=f"medians of {len(costs)} pairs in turn; the cheapest runs took {min(costs):.2f} and"
        f" {min(plain_costs):.2f} CPU s/M, {min(costs) / min(plain_costs):.2f} times",
        baseline=statistics.median(plain_costs),
        baseline_what="the same path without steps",
        goal=f"ratio ≤ {GOAL_RATIO}",
        details={"steps": costs, "plain": plain_costs},
    )
    if plan.judge:
        row.reached = (row.ratio or 0.0) <= GOAL_RATIO
    return [row]
