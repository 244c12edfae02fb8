"""The course: lessons as Markdown, compiled beside the page; and the same as a folder of files that needs no server."""
