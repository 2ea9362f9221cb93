"""A run's report: tables, figures and pages."""
