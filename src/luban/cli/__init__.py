"""The command line: arguments to one stage function."""
