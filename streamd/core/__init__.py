"""Contracts, and the values that pass between packages: frames, batches, acks, books, schemas, expressions.

Modules here import no other package of streamd.
"""
