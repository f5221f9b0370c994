"""The framings that a source can name. Each file holds one framing, which cuts a stream of bytes into frames.

A new framing is a file here with one class of the same name; its contract is `core/contracts/framer.py`.
"""
