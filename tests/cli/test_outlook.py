import pytest

from streamd.admin.status_answer import FullInStatus, OutlookStatus
from streamd.cli._outlook import lines


def test_nothing_is_said_of_buffers_that_are_well() -> None:
    calm = OutlookStatus(
        "source", "lab", capacity_per_s=50_000.0, utilization=0.3, wait_s=0.001, min_sojourn_s=0.0004,
        overflow_probability=0.0, horizon_s=60.0, loop_slack_s=2.5,
    )  # fmt: skip
    assert list(lines([calm, OutlookStatus("sink", "db")])) == []


@pytest.mark.parametrize(
    ("full_in", "probability", "said"),
    [
        (
            FullInStatus(9.04, 12.3, 20.4),
            0.873,
            "its buffer is full in about 12 s (9.0 s to 20 s) with a probability of 87% within 60 s",
        ),
        (
            FullInStatus(0.45, 3.0, None),
            0.5,
            "its buffer is full in about 3.0 s (450 ms to never) with a probability of 50% within 60 s",
        ),
        (FullInStatus(0.0, 0.0, 0.0), 1.0, "its buffer is full"),
        (None, None, "its buffer is likely to be full soon"),
    ],
)
def test_a_buffer_that_fills_has_its_band(
    full_in: FullInStatus | None, probability: float | None, said: str
) -> None:
    filling = OutlookStatus(
        "sink",
        "db",
        full_in_s=full_in,
        overflow_probability=probability,
        horizon_s=60.0,
        overflow_expected=True,
    )
    assert list(lines([filling])) == [f"sink db: {said}"]
    filling.overflow_expected = False
    assert list(lines([filling])) == []


def test_each_buffer_has_one_line_with_all_that_matters() -> None:
    lab = OutlookStatus(
        "source", "lab", capacity_per_s=52_340.0, min_sojourn_s=0.5, standing_queue=True, loop_slack_s=0.045,
        bottleneck=True,
    )  # fmt: skip
    db = OutlookStatus(
        "sink", "db", capacity_per_s=0.0, min_sojourn_s=12.4, standing_queue=True, bottleneck=True
    )
    of_lab, of_db = lines([lab, db])
    assert of_lab.removeprefix("source lab: ").split("; ") == [
        "a backlog stays: even the frame that waited least waited 500 ms",
        "the kernel drops datagrams if the event loop stands still for 45 ms",
        "its workers limit the flow to 52,340/s",
    ]
    assert of_db.removeprefix("sink db: ").split("; ") == [
        "a backlog stays: even the record that waited least waited 12 s",
        "it limits the flow",
    ]


def test_a_step_that_makes_the_workers_wait_is_named() -> None:
    slow = OutlookStatus("source", "lab", capacity_per_s=480.0, bottleneck=True)
    db = OutlookStatus("sink", "lab", bottleneck=True)
    assert list(lines([slow, db], {"lab": "main.python[2]"}.get)) == [
        "source lab: step main.python[2] limits the flow to 480/s",
        "sink lab: it limits the flow",
    ]
