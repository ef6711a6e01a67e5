"""Debug switches and endpoints of the scheduler, with the paths and words that operators' scripts know."""
