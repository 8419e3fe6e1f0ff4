"""The version of hwsim; results and files name it."""

__version__ = "0.1.0"
