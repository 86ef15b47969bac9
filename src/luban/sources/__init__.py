"""Sources: bytes on disk to a Table. One kind of file a module, found by its name; `_text` is what the two text formats share."""
