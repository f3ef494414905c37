"""The report: one self-contained page for people, and a separate file of pictures."""
