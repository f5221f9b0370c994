"""The capacity of workers that share one core with the reading of the sources (receive livelock)."""


def shared_core_capacity(inflow_per_s: float, read_s: float, process_s: float) -> float:
    """Records that can be processed each second while `inflow_per_s` are read on the same core.

    `P(I) = (1 - c_r·I) / c_p`, at least 0: reading comes first and takes the time that processing needs. See
    Mogul and Ramakrishnan, "Eliminating receive livelock in an interrupt-driven kernel", 1997.
    """
    if process_s <= 0:
        return float("inf")
    return max(0.0, 1 - read_s * inflow_per_s) / process_s


def is_overloaded(inflow_per_s: float, read_s: float, process_s: float) -> bool:
    """Whether the queue grows at this inflow: `I·(c_r + c_p) > 1`."""
    return inflow_per_s * (read_s + process_s) > 1
