"""The codecs a source can name: each turns frames into records. One file, one type.

A new codec is a file here with one class of that name; `core/contracts/codec.py` says what it must offer.
"""
