"""What a data set looks like: a data sheet as one page. See docs/data.md."""
