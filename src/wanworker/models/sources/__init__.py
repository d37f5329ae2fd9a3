"""Know the weight files that people have from their headers alone: their layout, their model, what fits together."""
