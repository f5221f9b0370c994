// Which series make up the figures of the page. Lost is what the books call dropped, and what the kernel dropped.

export const received = (series) => series.kind === "source" && series.of === "received";
export const decoded = (series) => series.kind === "source" && series.of === "decoded";
export const stored = (series) => series.kind === "sink" && series.of === "stored";
export const filtered = (series) => series.kind === "pipeline" && series.of === "filtered";
export const rejected = (series) => series.of === "rejected";
export const overflowed = (series) => series.of === "dropped";
export const kernelDropped = (series) => series.kind === "source" && series.of === "kernel_dropped";
export const lost = (series) => overflowed(series) || kernelDropped(series);

/** A number of a book: the sum of its reasons if it has any. */
export function total(n) {
  if (n === undefined || n === null) return 0;
  return typeof n === "object" ? Object.values(n).reduce((sum, one) => sum + one, 0) : n;
}

/** How many records and frames were lost since the start of the run. */
export function lostSinceStart(status) {
  let sum = 0;
  for (const source of status.sources)
    sum += total(source.frames.dropped) + total(source.frames.kernel_dropped);
  for (const pipeline of status.pipelines) sum += total(pipeline.records.dropped);
  for (const sink of status.sinks) for (const one of sink.deliveries) sum += total(one.records.dropped);
  return sum;
}

/** The time of the newest loss that the history knows, or null. */
export function lastLossS(history) {
  const rates = history.rate(lost);
  for (let i = rates.length - 1; i > 0; i -= 1) if (rates[i] > 0) return history.atS[i];
  return null;
}

/** The buffers of a status, each with its owner, its fill (0 to 1), and its entry of the outlook if there is one. */
export function buffers(status) {
  const outlook = new Map((status.outlook ?? []).map((one) => [`${one.kind} ${one.name}`, one]));
  const owners = [
    ...status.sources.map((one) => ["source", one]),
    ...status.sinks.map((one) => ["sink", one]),
  ];
  return owners
    .filter(([, owner]) => owner.buffer)
    .map(([kind, owner]) => ({
      kind,
      name: owner.name,
      ...owner.buffer,
      fill: Math.max(
        owner.buffer.records / owner.buffer.max_records,
        owner.buffer.bytes / owner.buffer.max_bytes,
      ),
      outlook: outlook.get(`${kind} ${owner.name}`) ?? null,
    }));
}
