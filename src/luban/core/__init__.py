"""The contract between rooms: what a field, a task and a model are, and the few things that all rooms share."""
