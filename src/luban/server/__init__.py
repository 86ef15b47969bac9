"""A trained bundle behind HTTP: the application that answers, and the process that serves it."""
