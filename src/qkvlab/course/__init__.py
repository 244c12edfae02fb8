"""The course: lessons as Markdown, and the figures in them, measured on the real models."""
