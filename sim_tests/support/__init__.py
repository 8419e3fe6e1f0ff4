"""Helpers shared by the tests; importable as ``support`` because conftest.py extends sys.path."""
