"""Make the report of a run: tables, figures and pages."""
