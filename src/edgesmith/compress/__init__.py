"""CHANGE: make a model smaller and teach it again what it lost; decide its precision."""
