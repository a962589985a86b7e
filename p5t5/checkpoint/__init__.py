"""The checkpoint folder, and creating an untrained one."""
