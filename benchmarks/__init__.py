"""Benchmarks of speed and size; the folder `results` has their latest tables."""
