"""Columns to tensors and back: one file a kind of column."""
