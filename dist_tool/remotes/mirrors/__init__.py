"""Mirrors: several endpoints for one name, of any kind, tried in order with failover even midway."""
