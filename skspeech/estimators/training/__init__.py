"""What the approaches that train networks on the clips share."""
