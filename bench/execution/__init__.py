"""From a study to results: planning, one unit of work, and what a process works with."""
