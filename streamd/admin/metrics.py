"""The books and queues as Prometheus metrics, read from the view at each scrape.

This module is imported at the first scrape, because the import of prometheus_client takes 50 to 70 ms. Labels
contain only names of the configuration and reason codes. Both are closed sets, so a sender cannot add labels.
"""

import math
import platform
import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from streamd.admin.outlook_metrics import families
from streamd.admin.view import View
from streamd.admin.watch import Watch
from streamd.core.counters import Counters

_OPENMETRICS = "application/openmetrics-text"
_NOT_OF_A_NAME = re.compile("[^a-z0-9_]")


class BooksCollector(Collector):
    """Makes every metric from the view at each scrape."""

    def __init__(self, view: View, watch: Watch, refused: dict[str, int]) -> None:
        self._view = view
        self._watch = watch
        self._refused = refused

    def collect(self) -> Iterable[Metric]:
        """Every metric with its current value."""
        self._view.refresh()
        yield from self._books()
        yield from self._counters()
        yield from self._queues()
        yield from self._sinks()
        yield from self._stages()
        yield from families(self._watch.outlooks)
        yield from self._taps()
        yield from self._process()
        yield from self._processes()

    def _books(self) -> Iterable[Metric]:
        """Each term of each book, with the labels and the meaning that the book declares."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for book in self._view.books.every():
            for term in book.terms:
                name = _name(book.unit, term.name)
                labels = [*book.keys, term.by] if term.by else [*book.keys]
                if name not in families:
                    kind = GaugeMetricFamily if term.side == "left" or term.gauge else CounterMetricFamily
                    families[name] = kind(name, term.meaning, labels=labels)
                for reason, n in getattr(book, term.attribute).items() if term.by else ():
                    families[name].add_metric([*book.place, reason], n)
                if not term.by:
                    families[name].add_metric(book.place, book.total(term))
        return families.values()

    def _counters(self) -> Iterable[Metric]:
        """The counters and gauges of sources, steps and sinks outside the sums, with their meanings."""
        books = self._view.books
        kinds: list[tuple[str, list[str], list[tuple[tuple[str, ...], Counters]]]] = [
            ("source", ["source"], [(book.place, book.counters) for book in books.frames.values()]),
            ("step", ["pipeline", "step"], list(books.steps.items())),
            ("sink", ["sink"], [((name,), counters) for name, counters in books.sinks.items()]),
        ]
        for kind, labels, counted in kinds:
            families: dict[str, CounterMetricFamily] = {}
            for place, counters in counted:
                for (counter, reason), n in list(counters.items()):
                    name = _name(kind, counter)
                    if name not in families:
                        meaning = (counters.meanings or {}).get(counter, f"{counter}: counted by the {kind}")
                        families[name] = CounterMetricFamily(name, meaning, labels=[*labels, "reason"])
                    families[name].add_metric([*place, reason], n)
            yield from families.values()
            gauges: dict[str, GaugeMetricFamily] = {}
            for place, counters in counted:
                for (gauge, of), value in list(counters.gauges.items()):
                    name = _name(kind, gauge)
                    if name not in gauges:
                        meaning = counters.gauge_meanings.get(gauge, f"{gauge}: set by the {kind}")
                        gauges[name] = GaugeMetricFamily(name, meaning, labels=[*labels, "name"])
                    gauges[name].add_metric([*place, of], value)
            yield from gauges.values()

    def _queues(self) -> Iterable[Metric]:
        labels = ["kind", "buffer"]
        records = GaugeMetricFamily(
            "streamd_buffer_records", "frames (kind source) or records (kind sink) in a buffer", labels=labels
        )
        size = GaugeMetricFamily("streamd_buffer_bytes", "memory used by a buffer's content", labels=labels)
        most_records = GaugeMetricFamily(
            "streamd_buffer_max_records", "limit of a buffer in frames or records", labels=labels
        )
        most_bytes = GaugeMetricFamily(
            "streamd_buffer_max_bytes", "limit of a buffer in bytes", labels=labels
        )
        for buffer in self._view.buffers():
            place = [buffer.kind, buffer.name]
            records.add_metric(place, buffer.records)
            size.add_metric(place, buffer.size_bytes)
            most_records.add_metric(place, buffer.max_records)
            most_bytes.add_metric(place, buffer.max_bytes)
        opened = GaugeMetricFamily(
            "streamd_source_open_connections", "connections open now", labels=["source"]
        )
        expiry = GaugeMetricFamily(
            "streamd_source_certificate_expiry_timestamp_seconds",
            "when the certificate of a source with TLS expires, seconds since 1970",
            labels=["source"],
        )
        for source in self._view.sources():
            opened.add_metric([source.name], source.connections)
            if source.certificate_expires_at_wall_s is not None:
                expiry.add_metric([source.name], source.certificate_expires_at_wall_s)
        return records, size, most_records, most_bytes, opened, expiry

    def _sinks(self) -> Iterable[Metric]:
        retrying = GaugeMetricFamily(
            "streamd_sink_retrying", "1 while a sink tries the same batch again", labels=["sink"]
        )
        age = GaugeMetricFamily(
            "streamd_sink_last_commit_age_seconds", "time since a sink's last commit", labels=["sink"]
        )
        writing = GaugeMetricFamily(
            "streamd_sink_writing_seconds",
            "age of the write under way of a sink, 0 if none is",
            labels=["sink"],
        )
        latency = HistogramMetricFamily(
            "streamd_commit_latency_seconds", "time from receive to commit of stored records", labels=["sink"]
        )
        now_s = self._view.clock().mono_s
        for sink in self._view.sinks():
            retrying.add_metric([sink.name], sink.trouble is not None)
            began_s = sink.writing_since_mono_s
            writing.add_metric([sink.name], 0.0 if began_s is None else max(0.0, now_s - began_s))
            if sink.last_commit_mono_s is not None:
                age.add_metric([sink.name], now_s - sink.last_commit_mono_s)
            buckets = [
                ("+Inf" if math.isinf(bound) else str(bound), float(n))
                for bound, n in sink.latency_s.buckets()
            ]
            latency.add_metric([sink.name], buckets, sink.latency_s.sum)
        return retrying, writing, age, latency

    def _stages(self) -> Iterable[Metric]:
        labels = ["kind", "stage"]
        entered = CounterMetricFamily(
            "streamd_stage_in", "records that entered a stage (source, workers: frames)", labels=labels
        )
        left = CounterMetricFamily(
            "streamd_stage_out", "records that left a stage for the next one (source: frames)", labels=labels
        )
        spent = CounterMetricFamily(
            "streamd_stage_seconds",
            "time of a stage by state: busy, blocked and idle sum to its elapsed time",
            labels=[*labels, "state"],
        )
        under_way = GaugeMetricFamily(
            "streamd_stage_batches", "batches under way in an offloaded step", labels=labels
        )
        for stage in self._view.stages():
            place = [stage.kind, stage.name]
            entered.add_metric(place, stage.entered)
            left.add_metric(place, stage.left)
            spent.add_metric([*place, "busy"], stage.busy_s)
            spent.add_metric([*place, "blocked"], stage.blocked_s)
            spent.add_metric([*place, "idle"], stage.idle_s)
            if stage.under_way is not None:
                under_way.add_metric(place, stage.under_way)
        return entered, left, spent, under_way

    def _taps(self) -> Iterable[Metric]:
        taps = self._view.taps
        open_now = GaugeMetricFamily("streamd_taps", "taps that are open now")
        open_now.add_metric([], len(taps))
        refused = CounterMetricFamily("streamd_taps_refused", "requests for a tap while too many were open")
        refused.add_metric([], taps.counts.refused)
        shown = CounterMetricFamily("streamd_tap_shown", "records that taps have shown")
        shown.add_metric([], taps.counts.shown)
        skipped = CounterMetricFamily(
            "streamd_tap_skipped", "records that passed a tap and were not shown", labels=["reason"]
        )
        for reason, n in taps.counts.skipped.items():
            skipped.add_metric([reason], n)
        return open_now, refused, shown, skipped

    def _process(self) -> Iterable[Metric]:
        letters = CounterMetricFamily("streamd_dead_letters", "dead letters by their fate", labels=["fate"])
        for fate, n in self._view.dead_letters.items():
            letters.add_metric([fate], n)
        refused = CounterMetricFamily(
            "streamd_admin_refused", "admin requests without a complete answer", labels=["reason"]
        )
        for reason, n in self._refused.items():
            refused.add_metric([reason], n)
        ready = GaugeMetricFamily("streamd_ready", "1 while /readyz answers ready")
        ready.add_metric([], not self._watch.readiness.reasons(self._view.clock()))
        failing = GaugeMetricFamily("streamd_ledger_failing", "1 while the ledger cannot be written")
        failing.add_metric([], self._view.ledger_trouble() is not None)
        unclean = GaugeMetricFamily("streamd_unclean_runs", "runs without an end, found at this run's start")
        unclean.add_metric([], self._view.unclean_runs())
        free = GaugeMetricFamily("streamd_state_free_bytes", "free space on the disk of the state folder")
        if (free_bytes := self._view.free_bytes()) is not None:
            free.add_metric([], free_bytes)
        lag = GaugeMetricFamily(
            "streamd_loop_lag_seconds", "longest delay of the event loop in the last ten seconds"
        )
        lag.add_metric([], self._watch.lag.worst_s)
        build = GaugeMetricFamily("streamd_build_info", "always 1", labels=["version", "python"])
        build.add_metric([self._view.version, platform.python_version()], 1)
        return letters, refused, ready, failing, unclean, free, lag, build

    def _processes(self) -> Iterable[Metric]:
        ended = CounterMetricFamily(
            "streamd_process_ended", "times one of several processes has ended", labels=["process"]
        )
        hung = CounterMetricFamily(
            "streamd_process_hung", "times one of several processes was killed as hung", labels=["process"]
        )
        for process in self._view.processes():
            ended.add_metric([str(process.number)], process.ended)
            hung.add_metric([str(process.number)], process.hung)
        return ended, hung


class Metrics:
    """The registry of one run: the metrics of `BooksCollector` and those of the process."""

    def __init__(self, view: View, watch: Watch, refused: dict[str, int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(BooksCollector(view, watch, refused))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics 1.0 if `accept` names it, else text format 0.0.4."""
        wanted = f"{_OPENMETRICS}; version=1.0.0" if _OPENMETRICS in accept else ""
        encode, content_type = exposition.choose_encoder(wanted)  # gets no text of the client
        return encode(self._registry), content_type


def _name(unit: str, counter: str) -> str:
    return f"streamd_{unit}_{_NOT_OF_A_NAME.sub('_', counter)}"
