"""WEIGH: parity, quality with its confidence interval, size, latency and memory; what stops an artifact; the verdict.

Everything here takes arrays, callables and files; nothing imports a training framework.
"""
