"""Sphinx extensions that only the book uses."""
