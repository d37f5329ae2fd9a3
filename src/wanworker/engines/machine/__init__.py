"""What this machine can render: interpreters, weight folders, and the facts that health reports."""
