"""One file per job: prepare the model, train, evaluate, recommend. Commands and `import p5t5` call these."""
