"""Arithmetic that keeps its digits, and the spectrum of data."""
