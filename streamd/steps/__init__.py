"""The steps that a pipeline can name. Each file holds one step, which changes, filters or adds records.

A new step is a file here with one class of the same name; its contract is `core/contracts/step.py`.
"""
