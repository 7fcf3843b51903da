"""PREDICT: what a shape costs, and what that means on a device, before anything is built."""
