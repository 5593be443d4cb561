"""Values of the OCI specifications: pure, no input or output."""
