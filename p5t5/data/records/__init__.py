"""Records: the tables of a data folder, how they are built, checked and read."""
