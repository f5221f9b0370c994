"""The sizes of the scenarios, their folder, and the callback for progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes of all scenarios. The defaults are the benchmark. `quick` is for trial runs."""

    step: Callable[[str], None]
    """Called with a description of each step before it is measured."""
    parent: Path
    """The folder of the scenarios' temporary databases."""
    judge: bool = True
    """Whether goals are judged."""
    tcp_records: int = 1_000_000
    tcp_repeats: int = 3
    udp_rate: int = 100_000
    udp_steady_s: float = 10.0
    udp_step_s: float = 4.0
    udp_most_rate: int = 500_000
    latency_records: int = 100_000
    idle_records: int = 30
    memory_records: int = 1_000_000
    memory_buffer_bytes: int = 32 * MIB
    memory_hold_s: float = 8.0
    starts: int = 5
    fairness_datagrams: int = 1_000_000
    meter_batches: int = 200_000
    meter_records: int = 102_400
    parquet_records: int = 300_000
    chain_records: int = 1_000_000
    """Records from an edge through JetStream to workers."""
    chain_repeats: int = 3
    busy_records: int = 400_000
    """Records that take a worker 20 µs more."""
    step_turns: int = 5
    step_batches: int = 20
    """Batches in a turn of a step or codec."""
    retention_filled: int = 600_000
    """Records stored before the measurement, more than fit into `retention_bytes`."""
    retention_records: int = 50_000
    retention_repeats: int = 3
    retention_bytes: int = 32 * MIB
    attack_records: int = 600_000
    """The records of one minute."""
    attack_idle: int = 10_000
    window_records: int = 1_000_000
    observed_records: int = 750_000
    """Records of a part, as many as take some seconds, each with a scrape."""
    observed_turns: int = 9
    """Daemons, each with four parts, of which two are observed."""
    observed_idle_s: float = 5.0
    anomaly_parts: int = 40
    """Parts of the stream that fill the windows, and as many that are measured."""

    @classmethod
    def quick(cls, step: Callable[[str], None], parent: Path) -> "Plan":
        """The smallest possible scenarios, which take seconds. No goal is judged."""
        return cls(
            step=step, parent=parent, judge=False, tcp_records=20_000, tcp_repeats=1, udp_rate=5_000,
            udp_steady_s=1.0, udp_step_s=1.0, udp_most_rate=5_000, latency_records=5_000, idle_records=2,
            memory_records=200_000, memory_buffer_bytes=MIB, memory_hold_s=1.5, starts=1,
            fairness_datagrams=20_000, meter_batches=2_000, meter_records=5_120,
            parquet_records=10_000, step_turns=1, step_batches=4,
            chain_records=5_000, chain_repeats=1, busy_records=2_000,
            retention_filled=30_000, retention_records=10_000, retention_repeats=1, retention_bytes=MIB,
            attack_records=10_000, attack_idle=100, window_records=20_000,
            anomaly_parts=1, observed_records=20_000, observed_turns=1,
            observed_idle_s=0.5,
        )  # fmt: skip

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A new folder, which is deleted with its content at the end."""
        with TemporaryDirectory(prefix="streamd-bench-", dir=self.parent) as name:
            yield Path(name)
