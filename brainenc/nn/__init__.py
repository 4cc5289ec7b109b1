"""Small torch parts that several rooms share. Importing this package imports no torch."""
