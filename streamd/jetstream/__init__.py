"""Connections to NATS servers with JetStream: login, streams, and messages that hold many records.

Modules that import the package nats-py are imported only by a component that is configured.
"""
