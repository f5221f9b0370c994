"""The answer to a scenario: a sentence, the course and suggestions, for people and as a document."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from streamd.capacity.advice import Suggestion, suggestions
from streamd.capacity.figures import READ_S, Figures, UnknownCapacityError
from streamd.capacity.flows import Flows
from streamd.capacity.resizing import at_worst
from streamd.capacity.scenario import LONGEST_PAUSE_S, Scenario
from streamd.capacity.simulation import Course, Loss, simulate
from streamd.core.listed import listed
from streamd.core.plural import counted

_SHOWN_DELAY_S = 0.05


@dataclass(frozen=True, slots=True)
class CapacityPrediction:
    """The result of one scenario."""

    scenario: Scenario
    figures: Figures
    course: Course
    at_worst: Course
    """The course if a sink notices the end of its stall as late as it can, workers hold nothing, and reading
    that was not measured costs `READ_S`. The suggestions hold this one."""
    suggestions: list[Suggestion]

    @property
    def lost(self) -> float:
        """Frames and records that are lost."""
        return self.course.lost[-1]

    @property
    def holds(self) -> bool:
        """Whether nothing is lost."""
        return not self.course.losses

    @property
    def is_certain(self) -> bool:
        """Whether the figures that decide are known, and were measured under a load that shows them."""
        return not self.free and not self.guessed and not self.is_by_light_load

    @property
    def is_by_light_load(self) -> bool:
        """Whether costs that were measured on a light load decide, so that less may be lost."""
        if self.holds:
            return False
        full = {path.sink for path in self.course.paths if path.sink_buffer.share >= 1}
        if full:
            stalled = {one.sink for one in self.scenario.stalls}
            return any(self.figures.sinks[name].at_least for name in full - stalled)
        losing = {loss.name for loss in self.course.losses}
        return any(
            line.at_least and line.is_loop_bound
            for line in self.figures.lines
            if losing.intersection(source.name for source in line.sources)
        )

    @property
    def is_safe(self) -> bool:
        """Whether it is sure that nothing is lost, also at worst."""
        return self.holds and self.is_certain and not self.at_worst.losses

    @property
    def free(self) -> str:
        """The work whose cost is not known and not included, so that more may be lost; empty without any."""
        steps = () if self.scenario.step_cost_s > 0 else self.figures.free_steps
        return f"the steps {listed(steps)}" if steps else ""

    @property
    def guessed(self) -> str:
        """The codecs whose cost is not known and taken as that of `json`; empty without any."""
        codecs = () if self.scenario.step_cost_s > 0 else self.figures.guessed_codecs
        return f"the codec{'s' * (len(codecs) > 1)} {listed(codecs)}" if codecs else ""

    @property
    def overloaded(self) -> list[str]:
        """The sources whose load is more than the capacity, also when nothing stalls."""
        return list(Flows(self.figures, self.scenario).overloaded())

    @property
    def sentence(self) -> str:
        """The answer in a sentence or two."""
        said = [_lost(self) if not self.holds else _held(self)]
        waiting = [path for path in self.course.worst() if path.waits_from_s is not None]
        said += [
            f"Senders of {path.source} wait from second {path.waits_from_s:.4g}"
            f" (at most {counted(round(path.outside.peak), 'frame')})."
            for path in waiting
        ]
        if self.free:
            said.append(
                f"The cost of {self.free} is not known and not included: expect less. Ask a running daemon,"
                " or give it with --step-cost."
            )
        if self.guessed:
            said.append(
                f"The cost of {self.guessed} is not known and taken as that of json: ask a running daemon, or"
                " give the difference with --step-cost."
            )
        if overloaded := self.overloaded:
            names = listed(dict.fromkeys(overloaded))
            said.append(f"The load of {names} is more than the capacity, so no buffer holds it for good.")
        if self.holds and self.at_worst.losses:
            most = self.at_worst.lost[-1]
            said.append(f"But up to {most:,.0f} may be lost: {' and '.join(self._why)}.")
        if self.is_by_light_load:
            said.append(
                "The capacity is not known well enough to suggest settings: it was measured on a light load,"
                " so it may be much higher. Ask again under a higher load, or with --bench."
            )
        return " ".join(said)

    @property
    def _why(self) -> list[str]:
        """Why more may be lost than the course shows."""
        found = []
        if self.scenario.stalls:
            found.append(f"a stalled sink may try again up to {LONGEST_PAUSE_S:.2g} s after its stall")
        if any(line.in_hand for line in self.figures.lines):
            found.append("workers may hold fewer frames before a step that waits")
        if not self.figures.is_reading_known:
            found.append(
                f"reading was not measured and may cost {READ_S * 1e6:.0f} µs a frame (ask while records"
                " arrive, as the user of the daemon)"
            )
        stalled = [self.figures.sinks[one.sink] for one in self.scenario.stalls]
        if not found or any(one.most_written for one in stalled):
            found.append("a commit that has just begun may hold fewer records")
        return found

    def document(self) -> dict[str, Any]:
        """The whole answer, for JSON."""
        course = self.course
        return {
            "answer": self.sentence,
            "scenario": asdict(self.scenario) | {"words": self.scenario.words},
            "holds": self.holds,
            "certain": self.is_certain,
            "lost": round(self.lost, 3),
            "first_loss_s": min((loss.first_s for loss in course.losses), default=None),
            "lost_at_worst": round(self.at_worst.lost[-1], 3),
            "losses": [asdict(loss) for loss in course.losses],
            "senders_wait_from_s": {
                path.source: path.waits_from_s for path in course.worst() if path.waits_from_s is not None
            },
            "buffers": [
                {"kind": track.kind, "name": track.name, "most": track.most, "peak": track.peak,
                 "peak_s": track.peak_s, "held": track.held}
                for track in course.tracks
            ],
            "at_s": course.at_s,
            "lost_until": course.lost,
            "delay_s": course.delay_s,
            "suggestions": [asdict(one) for one in self.suggestions],
            "assumed": self.assumed,
        }  # fmt: skip

    @property
    def assumed(self) -> list[str]:
        """Where the figures came from, and what the model leaves out."""
        return [*self.figures.assumed, *_MODEL, *self._retries, _arrivals(self.figures)]

    @property
    def _retries(self) -> list[str]:
        """When each stalled sink goes on."""
        found = []
        for stall, retried in zip(
            self.scenario.stalls, self.scenario.with_retries(self.figures.attempts_s).stalls, strict=True
        ):
            attempt_s = self.figures.attempts_s.get(stall.sink)
            found.append(
                f"sink {stall.sink}: its write hangs in the stall, and goes on when that ends"
                if attempt_s is None
                else f"sink {stall.sink}: each attempt fails after {attempt_s:g} s in the stall; with the"
                f" usual pauses it goes on {retried.for_s - stall.for_s:.2g} s after the end"
            )
        return found


_MODEL = (
    "one process is one core: reading, decoding and steps share it",
    "several sources get fair shares of the core and of each sink; rates are constant between changes",
)


def predict(figures: Figures, scenario: Scenario) -> CapacityPrediction:
    """Compute the scenario. Raises `UnknownCapacityError` if the figures show no load or no sink."""
    arrives = scenario.bursts or any(one.per_s for one in scenario.rates)
    if not arrives and not sum(source.rate_per_s for source in figures.sources):
        raise UnknownCapacityError("nothing arrives in these figures: give the load, like --rate 50000/s")
    course = simulate(figures, scenario.with_retries(figures.attempts_s))
    late, with_less = scenario.with_late_retries(), at_worst(figures)
    worst = course if (late, with_less) == (scenario, figures) else simulate(with_less, late)
    if not course.paths:
        raise UnknownCapacityError(
            "no record has reached a sink since the start, so it is not known how fast they write: offer a"
            " load, or use --bench"
        )
    found = CapacityPrediction(scenario, figures, course, worst, [])
    if not found.is_certain:  # what would hold follows from costs that are not known
        return found
    return replace(found, suggestions=suggestions(with_less, late, worst))


def _lost(found: CapacityPrediction) -> str:
    losses = found.course.losses
    lost = sum(loss.lost for loss in losses)
    first = losses[0]
    by = " and then ".join(_place(loss) for loss in losses)
    if found.is_by_light_load:
        loses = "May lose about" if found.free else "May lose up to"
    else:
        loses = "Loses at least" if found.free else "Loses"
    return f"{loses} {counted(round(lost), 'record')} from second {first.first_s:.4g}: {by}."


def _place(loss: Loss) -> str:
    if loss.kind == "kernel":
        return f"the kernel's buffer of source {loss.name} is full, because its own buffer blocks"
    return f"the buffer of {loss.kind} {loss.name} is full ({loss.when_full})"


def _held(found: CapacityPrediction) -> str:
    tracks = found.course.tracks
    fullest = max(tracks, key=lambda track: track.share)
    late = ", and some records are not through at the end" if None in found.course.delay_s else ""
    longest = found.course.longest_delay_s
    delay = (
        f"the longest delay {longest:.3g} s{late}" if longest > _SHOWN_DELAY_S or late else "hardly a delay"
    )
    but = f" without the cost of {found.free}" if found.free else ""
    return (
        f"Holds{but}: nothing is lost; the fullest buffer is that of {fullest.kind} {fullest.name} with"
        f" {fullest.share:.0%} ({fullest.peak:,.0f}), {delay}."
    )


def _arrivals(figures: Figures) -> str:
    measured = [one for one in figures.sources if one.dispersion is not None]
    if not measured:
        return "arrivals vary as those of a Poisson process"
    shown = listed(f"{one.name} {one.dispersion:.3g}" for one in measured)
    return f"arrivals vary as measured (variance of a second by its mean; Poisson is 1): {shown}"
