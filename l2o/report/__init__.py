"""The stage `report`: everything that a run found, in one HTML file."""
