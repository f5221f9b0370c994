"""Forecasts of a series by intervals of time, and how good they were."""
