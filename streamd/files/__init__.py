"""Files of lines: followed while they grow, rotated, dated, and repaired after a crash."""
