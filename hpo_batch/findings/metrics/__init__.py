"""What trials report beside their metric."""
