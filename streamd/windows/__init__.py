"""Windows over time: aggregates, panes, watermarks and the windows of each key.

`rows` reads the columns of a batch, `timelines` moves the watermarks, `panes` and `sessions` keep the open
windows, `aggregates` applies the functions of `exact`, `increase` and `sketches` to their rows, and `losses`
knows which windows are complete. The step `window` connects them. Times are integers, in microseconds since
1970.
"""
