"""Contracts, and the values that pass between rooms: frames, batches, acks, books, schemas, expressions.

Nothing here imports another room.
"""
