"""Ways to name items and users, one file per method; `identifiers.methods` lists them."""
