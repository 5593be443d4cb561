"""The grammar of names: locators, references, hosts, hints. Pure, no input or output."""
