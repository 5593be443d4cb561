"""Images: selecting a platform, unpacking, exporting, reading files."""
