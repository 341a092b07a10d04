"""What a generated item is worth: behaviour, calibrated rates, relevance, and their sum."""
