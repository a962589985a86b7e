"""What several benchmarks share: data, peers, timing. The scripts beside this folder run; these do not."""
