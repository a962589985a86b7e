"""The tasks, one file per family; `tasks.registry` lists them."""
