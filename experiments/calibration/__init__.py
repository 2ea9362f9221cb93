"""Compare forms of probability calibration, and measure how well they hold on other collections. See README.md here."""
