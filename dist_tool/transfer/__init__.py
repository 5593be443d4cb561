"""What users ask for, as functions over the protocols of `api`: the library's front door."""
