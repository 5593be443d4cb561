"""The grammar of names: locators, references, hosts and hints. Pure functions, no I/O."""
