"""Several places for one name, of any kind: asked in order, left when they fail, even midway."""
