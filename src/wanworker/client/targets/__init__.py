"""The two kinds of target: a REST server of ours and a RunPod endpoint, behind one interface."""
