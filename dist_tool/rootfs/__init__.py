"""A directory that operations cannot leave."""
