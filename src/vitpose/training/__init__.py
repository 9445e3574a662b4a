"""Training: recipes as data, one loop, objectives as modules, and runs that survive being killed."""
