"""The RunPod door less the SDK: progress, answers, fitness, and the handler that joins them."""
