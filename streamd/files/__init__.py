"""Files of lines: followed while others write them, rotated, dated, and mended where a line is torn."""
