"""From records to a manuscript: methods text, bibliography, and reporting checklists."""
