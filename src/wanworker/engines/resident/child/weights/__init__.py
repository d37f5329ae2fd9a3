"""Load the parts of a pipeline from files of any layout, each into one slab of host memory."""
