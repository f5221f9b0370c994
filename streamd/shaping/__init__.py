"""How steps and codecs read values: text formats, patterns, binary layouts, times, and units."""
