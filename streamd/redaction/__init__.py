"""Redaction of personal data: detectors that find it in texts, actions on values, and rules."""
