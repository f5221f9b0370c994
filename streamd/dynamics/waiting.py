"""Waiting times: of records in a queue now, of a steady queue (Kingman), and the audit by Little's law."""


def wait_s(records: float, per_s: float) -> float | None:
    """Seconds until the last of `records` is taken at `per_s` records a second, first in, first out."""
    if records <= 0:
        return 0.0
    return records / per_s if per_s > 0 else None


def fair_wait_s(records_of_sender: float, active_senders: int, per_s: float) -> float | None:
    """As `wait_s`, for a sender whose records are taken in turn with those of the other active senders."""
    return wait_s(records_of_sender * active_senders, per_s)


def kingman_wait_s(
    utilization: float, arrival_cv2: float, service_cv2: float, service_s: float
) -> float | None:
    """The mean wait in a steady queue of one server: `u/(1-u) · (c_a² + c_s²)/2 · τ`. None for u ≥ 1.

    `arrival_cv2` and `service_cv2` are squared coefficients of variation; 1 for Poisson arrivals. It is exact
    for M/M/1 and good for a utilization u above 0.5. See Kingman, "The single server queue in heavy traffic",
    1961.
    """
    if utilization >= 1:
        return None
    return utilization / (1 - utilization) * (arrival_cv2 + service_cv2) / 2 * service_s


def little_error(mean_records: float, arrivals_per_s: float, mean_wait_s: float) -> float | None:
    """The relative difference of the mean queue from `λ·W` (Little, 1961); None for an empty queue.

    It is near 0 over a window much longer than the wait. A larger one shows that an instrument is wrong.
    """
    expected = arrivals_per_s * mean_wait_s
    largest = max(mean_records, expected)
    return (mean_records - expected) / largest if largest > 0 else None
