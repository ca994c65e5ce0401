"""Labels that people give for predictions, and the accuracy they show."""
