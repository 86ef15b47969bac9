"""Blocks of networks that two or more models use."""
