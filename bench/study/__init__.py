"""What is asked for: protocols, studies, and the units of work they expand to."""
