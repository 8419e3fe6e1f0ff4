"""Configuration: strict YAML files and the models that say what they may hold."""
