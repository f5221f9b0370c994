"""What the steps that shape records are made of: text formats, patterns, formats of times, and units."""
