"""DECIDE: which structure and which precision, under a budget. Sees costs and qualities as numbers and callables."""
