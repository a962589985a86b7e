"""A person's question: titles linked, the task found, the slots filled, the answer told."""
