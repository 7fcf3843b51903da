"""PREDICT: what a shape costs, before anything is built."""
