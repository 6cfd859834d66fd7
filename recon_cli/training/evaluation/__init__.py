"""What is measured of a trained model: bounds, residuals, the mean alone beside it, and what it makes of samples."""
