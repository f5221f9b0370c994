"""Charts as text for a terminal and as PNG or SVG files."""
