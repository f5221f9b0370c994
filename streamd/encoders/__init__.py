"""The encoders that a sink can name. Each file holds one encoder, which turns records into messages.

A new encoder is a file here with one class of the same name; its contract is `core/contracts/encoder.py`.
"""
