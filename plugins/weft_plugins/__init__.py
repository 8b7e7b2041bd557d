"""Built-in components; registered through entry points like anybody's."""
