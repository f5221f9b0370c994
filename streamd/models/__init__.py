"""Models of the format ONNX: records as tensors, results as fields, files that are read again.

The modules need the packages of the extra `onnx`, so the step imports them when it is made.
"""
