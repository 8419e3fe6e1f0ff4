"""The ``hwsim`` command: one module per subcommand, heavy imports inside the functions."""
