"""What tests are made with: content from seeds, servers that misbehave, programs of others."""
