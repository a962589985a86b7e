"""One predictor: examples in, arrays out; requests and answers for people."""
