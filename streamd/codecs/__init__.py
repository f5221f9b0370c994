"""The codecs that a source can name. Each file holds one codec, which turns frames into records.

A new codec is a file here with one class of the same name; its contract is `core/contracts/codec.py`.
"""
