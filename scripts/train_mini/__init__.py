"""Train the miniature Wan 2.2 that the worker carries: from drawn clips to weights, on a CPU or on a GPU."""
