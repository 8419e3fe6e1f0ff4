"""hwsim: co-design of small CNNs and their hardware."""

__version__ = "0.1.0"
